// SPDX-License-Identifier: Apache-2.0
// Scenes in which a connection fails: refused, unreachable, out of ports, cancelled, or given up by a timer because the
// peer no longer hears.
#include <netinet/in.h>
#include <netinet/ip.h>
#include <netinet/ip_icmp.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/socket.h>

#include <arpa/inet.h>
#include <cerrno>
#include <cstring>

#include "scene.h"
#include "stage.h"

namespace tcptrail::live {

namespace {

/// A listener that never answers a SYN, until `stage.to_server`.
Who deaf_listener(Arena& arena, const Stage& stage) {
    const Who server = arena.spawn("tt-server", [&] {
        const Fd listener = listen_on(Net::v4, kPort);
        make_deaf(listener.get(), Deaf::to_all);
        stage.listening.give();
        stage.to_server.take(60000);
    });
    stage.listening.take();
    return server;
}

void expect_error(int error, int expected) {
    if (error != expected) {
        throw std::runtime_error(std::string("connect ended with '") + std::strerror(error) + "', awaited was '" +
                                 std::strerror(expected) + "'");
    }
}

void note_connecting(const Stage& stage, int i, int fd) {
    stage.note(i, fd);
    Tuple& tuple = stage.tuples->client[static_cast<std::size_t>(i)];
    std::strcpy(tuple.raddr, "127.0.0.1");  // getpeername does not tell before it is connected
    tuple.rport = kPort;
}

Truth refused(Arena& arena, const TraceBegins& begin) {
    begin();
    Stage stage;
    const Who client = arena.spawn("tt-client", [&] {
        for (int i = 0; i < 3; ++i) {
            const Fd fd = start_dial(Net::v4, kPort);
            note_connecting(stage, i, fd.get());
            expect_error(connect_result(fd.get()), ECONNREFUSED);
        }
    });
    arena.join(client);
    arena.settle();
    Truth truth;
    for (int i = 0; i < 3; ++i) {
        truth.add(Side::connecting(stage.client(i), client)).ends("SYN_SENT", "refused");
    }
    return truth;
}

Truth connect_timeout(Arena& arena, const TraceBegins& begin) {
    begin();
    Stage stage;
    const Who server = deaf_listener(arena, stage);
    const Who client = arena.spawn("tt-client", [&] {
        Fd patient = fresh_socket(Net::v4);
        Fd hasty = fresh_socket(Net::v4);
        set_option(patient.get(), IPPROTO_TCP, TCP_SYNCNT, 1);
        set_option(hasty.get(), IPPROTO_TCP, TCP_USER_TIMEOUT, 500);
        int i = 0;
        for (const Fd* fd : {&patient, &hasty}) {
            set_nonblocking(fd->get());
            expect_error(try_connect(fd->get(), Net::v4, kPort), EINPROGRESS);
            note_connecting(stage, i++, fd->get());
        }
        expect_error(connect_result(hasty.get()), ETIMEDOUT);
        expect_error(connect_result(patient.get()), ETIMEDOUT);
    });
    arena.join(client);
    stage.to_server.give();
    arena.join(server);
    arena.settle();
    Truth truth;
    truth.add(listener_side(server, server));
    for (int i = 0; i < 2; ++i) {
        truth.add(Side::connecting(stage.client(i), client)).ends("SYN_SENT", "connect_timeout");
    }
    return truth;
}

Truth connect_cancelled(Arena& arena, const TraceBegins& begin) {
    begin();
    Stage stage;
    const Who server = deaf_listener(arena, stage);
    const Who client = arena.spawn("tt-client", [&] {
        const Fd fd = start_dial(Net::v4, kPort);
        note_connecting(stage, 0, fd.get());
        sleep_ms(20);
    });
    arena.join(client);
    stage.to_server.give();
    arena.join(server);
    arena.settle();
    Truth truth;
    truth.add(listener_side(server, server));
    truth.add(Side::connecting(stage.client(0), client))
        .ends("SYN_SENT", "connect_cancelled", Named{client})
        .closed_by(client, true);  // neither FIN nor RST was sent
    return truth;
}

std::uint16_t checksum(const void* data, std::size_t bytes) {
    std::uint32_t sum = 0;
    for (std::size_t i = 0; i + 1 < bytes; i += 2) {
        std::uint16_t word = 0;
        std::memcpy(&word, static_cast<const char*>(data) + i, 2);
        sum += word;
    }
    while (sum >> 16 != 0) {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    return static_cast<std::uint16_t>(~sum);
}

/// Answers the SYN to kPort that `raw` (SOCK_RAW, TCP) hears as a router would: host unreachable.
void answer_unreachable(int raw) {
    unsigned char packet[2048];
    for (;;) {
        pollfd wanted{raw, POLLIN, 0};
        if (poll(&wanted, 1, 10000) != 1 || recv(raw, packet, sizeof packet, 0) < 40) {
            throw std::runtime_error("no SYN was heard");
        }
        const auto* ip = reinterpret_cast<const iphdr*>(packet);
        const auto* tcp = reinterpret_cast<const tcphdr*>(packet + ip->ihl * 4);
        if (ntohs(tcp->th_dport) == kPort && (tcp->th_flags & TH_SYN) != 0) {
            break;
        }
    }
    struct {
        icmphdr icmp;
        unsigned char quoted[28];  // IP header and the first 8 bytes of TCP
    } answer{};
    answer.icmp.type = ICMP_DEST_UNREACH;
    answer.icmp.code = ICMP_HOST_UNREACH;
    std::memcpy(answer.quoted, packet, sizeof answer.quoted);
    answer.icmp.checksum = checksum(&answer, sizeof answer);
    const Fd icmp(socket(AF_INET, SOCK_RAW | SOCK_CLOEXEC, IPPROTO_ICMP));
    sockaddr_in to{};
    to.sin_family = AF_INET;
    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    if (sendto(icmp.get(), &answer, sizeof answer, 0, reinterpret_cast<sockaddr*>(&to), sizeof to) < 0) {
        raise("send ICMP");
    }
}

Truth unreachable(Arena& arena, const TraceBegins& begin) {
    begin();
    Stage stage;
    const Who server = deaf_listener(arena, stage);
    const Who router = arena.spawn("tt-router", [&] {
        const Fd raw(socket(AF_INET, SOCK_RAW | SOCK_CLOEXEC, IPPROTO_TCP));
        if (!raw) {
            raise("raw socket");
        }
        stage.to_client.give();
        answer_unreachable(raw.get());
    });
    const Who client = arena.spawn("tt-client", [&] {
        stage.to_client.take();
        const Fd fd = start_dial(Net::v4, kPort);
        note_connecting(stage, 0, fd.get());
        expect_error(connect_result(fd.get()), EHOSTUNREACH);
    });
    arena.join(client);
    arena.join(router);
    stage.to_server.give();
    arena.join(server);
    arena.settle();
    Truth truth;
    truth.add(listener_side(server, server));
    truth.add(Side::connecting(stage.client(0), client)).ends("SYN_SENT", "unreachable");
    return truth;
}

Truth no_local_port(Arena& arena, const TraceBegins& begin) {
    constexpr int kPorts = 10;
    arena.sysctl("net/ipv4/tcp_tw_reuse", "0");
    arena.sysctl("net/ipv4/ip_local_port_range", "45000 45009");
    begin();
    Stage stage;
    const Who server = arena.spawn("tt-server", [&] {
        const Fd listener = open_listener(stage);
        for (const Fd& fd : accept_and_greet(listener.get(), kPorts)) {
            await_eof(fd.get());
        }
    });
    stage.listening.take();
    const Who client = arena.spawn("tt-client", [&] {
        const std::vector<Fd> fds = dial_all(stage, kPorts);
        const Fd one_more = fresh_socket(Net::v4);
        expect_error(try_connect(one_more.get(), Net::v4, kPort), EADDRNOTAVAIL);
    });
    arena.join(client);
    arena.join(server);
    arena.settle();
    Truth truth;
    truth.add(listener_side(server, server));
    for (int i = 0; i < kPorts; ++i) {
        truth.add(Side::active(stage.client(i), client)).closes_first(client);
        truth.add(Side::passive(stage.server(i), server, server)).closes_second(server);
    }
    Tuple failed = stage.client(0);
    failed.lport = 0;
    truth.add(Side::connecting(failed, client)).ends("SYN_SENT", "no_local_port", Named{client});
    return truth;
}

/// One greeted connection whose server is deaf while the client does `act` and is given up by a timer; the server hears
/// again afterwards, and its FIN meets a socket that is gone: RST.
Truth peer_gone(Arena& arena, const TraceBegins& begin, const std::function<void(int)>& prepare,
                const std::function<void(Fd&)>& act, const std::function<void(Side&, const Who&)>& end_client) {
    begin();
    Stage stage;
    const Who server = arena.spawn("tt-server", [&] {
        const Fd listener = open_listener(stage);
        const std::vector<Fd> fds = accept_and_greet(listener.get(), 1);
        stage.to_server.take();
        make_deaf(fds[0].get(), Deaf::to_all);
        stage.to_client.give();
        stage.to_server.take(60000);
        make_hear(fds[0].get());
        shutdown_write(fds[0].get());
        await_state(fds[0].get(), TCP_CLOSE);
    });
    stage.listening.take();
    const Who client = arena.spawn("tt-client", [&] {
        Fd fd = dial_and_note(stage, 0);
        prepare(fd.get());
        sleep_ms(50);  // no ACK of ours is on its way any more
        stage.to_server.give();
        stage.to_client.take();
        act(fd);
    });
    arena.join(client);
    arena.settle(2, 20000);  // the listener and the server's end are left
    stage.to_server.give();
    arena.join(server);
    arena.settle();
    Truth truth;
    truth.add(listener_side(server, server));
    end_client(truth.add(Side::active(stage.client(0), client)), client);
    truth.add(Side::passive(stage.server(0), server, server))
        .step("ESTABLISHED", "FIN_WAIT1", Named{server})
        .ends("FIN_WAIT1", "rst_received")
        .closed_by(server);
    return truth;
}

Truth keepalive_timeout(Arena& arena, const TraceBegins& begin) {
    return peer_gone(
        arena, begin,
        [](int fd) {
            set_option(fd, IPPROTO_TCP, TCP_KEEPIDLE, 1);
            set_option(fd, IPPROTO_TCP, TCP_KEEPINTVL, 1);
            set_option(fd, IPPROTO_TCP, TCP_KEEPCNT, 1);
            set_option(fd, SOL_SOCKET, SO_KEEPALIVE, 1);
        },
        [](Fd& fd) { await_state(fd.get(), TCP_CLOSE); },
        [](Side& side, const Who&) { side.ends("ESTABLISHED", "keepalive_timeout"); });
}

Truth retransmit_timeout(Arena& arena, const TraceBegins& begin) {
    return peer_gone(
        arena, begin, [](int fd) { set_option(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, 700); },
        [](Fd& fd) {
            put(fd.get(), 10);
            await_state(fd.get(), TCP_CLOSE);
        },
        [](Side& side, const Who&) { side.ends("ESTABLISHED", "retransmit_timeout"); });
}

Truth fin_wait1_timeout(Arena& arena, const TraceBegins& begin) {
    return peer_gone(
        arena, begin, [](int fd) { set_option(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, 700); }, [](Fd& fd) { fd.close(); },
        [](Side& side, const Who& client) {
            side.step("ESTABLISHED", "FIN_WAIT1", Named{client})
                .ends("FIN_WAIT1", "fin_wait1_timeout")
                .closed_by(client);
        });
}

Truth last_ack_timeout(Arena& arena, const TraceBegins& begin) {
    begin();
    Stage stage;
    const Who server = arena.spawn("tt-server", [&] {
        const Fd listener = open_listener(stage);
        std::vector<Fd> fds = accept_and_greet(listener.get(), 1);
        await_eof(fds[0].get());
        set_option(fds[0].get(), IPPROTO_TCP, TCP_USER_TIMEOUT, 700);
        stage.to_server.take();
        fds.clear();
    });
    stage.listening.take();
    const Who client = arena.spawn("tt-client", [&] {
        const Fd fd = dial_and_note(stage, 0);
        shutdown_write(fd.get());
        await_state(fd.get(), TCP_FIN_WAIT2);
        make_deaf(fd.get(), Deaf::to_all);
        stage.to_server.give();
        stage.to_client.take(60000);
    });
    arena.join(server);
    arena.settle(1);  // the client's end is left
    stage.to_client.give();
    arena.join(client);
    arena.settle();
    Truth truth;
    truth.add(listener_side(server, server));
    truth.add(Side::active(stage.client(0), client))
        .step("ESTABLISHED", "FIN_WAIT1", Named{client})
        .step("FIN_WAIT1", "FIN_WAIT2")
        .step("FIN_WAIT2", "TIME_WAIT", Named{client, true}, Mini::yes)  // inside its close()
        .because("local_fin")
        .closed_by(client)
        .time_wait = true;
    truth.add(Side::passive(stage.server(0), server, server))
        .step("ESTABLISHED", "CLOSE_WAIT")
        .step("CLOSE_WAIT", "LAST_ACK", Named{server})
        .ends("LAST_ACK", "last_ack_timeout")
        .closed_by(server);
    return truth;
}

}  // namespace

std::vector<Scene> timeout_scenes() {
    return {
        {"Refused", refused},
        {"ConnectTimeout", connect_timeout},
        {"ConnectCancelled", connect_cancelled},
        {"Unreachable", unreachable},
        {"NoLocalPort", no_local_port},
        {"KeepaliveTimeout", keepalive_timeout},
        {"RetransmitTimeout", retransmit_timeout},
        {"FinWait1Timeout", fin_wait1_timeout},
        {"LastAckTimeout", last_ack_timeout},
    };
}

}  // namespace tcptrail::live
