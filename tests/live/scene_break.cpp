// SPDX-License-Identifier: Apache-2.0
// Scenes in which a connection is broken at once: by RST, by a killer, by its listener, or before it is one.
#include <linux/inet_diag.h>
#include <linux/netlink.h>
#include <linux/sock_diag.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

#include <arpa/inet.h>
#include <cerrno>

#include "scene.h"
#include "stage.h"

namespace tcptrail::live {

namespace {

constexpr int kFew = 5;

/// A server that greets `connections` and keeps them until the client has done what `break_it` does to each.
template <typename BreakIt>
Truth broken(Arena& arena, const TraceBegins& begin, int connections, int greeting, BreakIt break_it,
             void (*end_client)(Side&, const Who&), void (*end_server)(Side&, const Who&)) {
    begin();
    Stage stage;
    const Who server = arena.spawn("tt-server", [&] {
        const Fd listener = open_listener(stage);
        std::vector<Fd> fds;
        for (int i = 0; i < connections; ++i) {
            fds.push_back(accept_from(listener.get()));
            put(fds.back().get(), static_cast<std::size_t>(greeting));
        }
        stage.to_server.take();
    });
    stage.listening.take();
    const Who client = arena.spawn("tt-client", [&] {
        for (int i = 0; i < connections; ++i) {
            Fd fd = dial_and_note(stage, i);
            break_it(fd);
        }
    });
    arena.join(client);
    stage.to_server.give();
    arena.join(server);
    arena.settle();
    Truth truth;
    truth.add(listener_side(server, server));
    for (int i = 0; i < connections; ++i) {
        end_client(truth.add(Side::active(stage.client(i), client)), client);
        end_server(truth.add(Side::passive(stage.server(i), server, server)), server);
    }
    return truth;
}

void hears_reset(Side& side, const Who&) {
    side.ends("ESTABLISHED", "rst_received");
}

Truth unread_data(Arena& arena, const TraceBegins& begin) {
    return broken(
        arena, begin, kFew, 8,  // one byte of which is read
        [](Fd& fd) {
            await_readable(fd.get(), 7);
            fd.close();
        },
        [](Side& side, const Who& who) { side.ends("ESTABLISHED", "unread_data_rst", Named{who}).closed_by(who); },
        hears_reset);
}

Truth reconnect_after_disconnect(Arena& arena, const TraceBegins& begin) {
    begin();
    Stage stage;
    const Who server = arena.spawn("tt-server", [&] {
        const Fd listener = open_listener(stage);
        std::vector<Fd> fds = accept_and_greet(listener.get(), 2);
        await_eof(fds[1].get());
    });
    stage.listening.take();
    const Who client = arena.spawn("tt-client", [&] {
        const Fd fd = dial_and_note(stage, 0);
        sockaddr nowhere{};
        nowhere.sa_family = AF_UNSPEC;
        if (connect(fd.get(), &nowhere, sizeof nowhere) != 0 || try_connect(fd.get(), Net::v4, kPort) != 0) {
            raise("disconnect and connect again");
        }
        get(fd.get(), 1);
        stage.note(1, fd.get());
    });
    arena.join(client);
    arena.join(server);
    arena.settle();
    Truth truth;
    truth.add(listener_side(server, server));
    truth.add(Side::active(stage.client(0), client)).ends("ESTABLISHED", "disconnect", Named{client}).closed_by(client);
    truth.add(Side::passive(stage.server(0), server, server)).ends("ESTABLISHED", "rst_received");
    truth.add(Side::active(stage.client(1), client)).closes_first(client).is_generation(1);
    truth.add(Side::passive(stage.server(1), server, server)).closes_second(server);
    return truth;
}

/// What `ss -K` asks the kernel for.
void destroy_socket(const Tuple& tuple) {
    struct {
        nlmsghdr head;
        inet_diag_req_v2 request;
    } message{};
    message.head.nlmsg_len = sizeof message;
    message.head.nlmsg_type = SOCK_DESTROY;
    message.head.nlmsg_flags = NLM_F_REQUEST | NLM_F_ACK;
    message.request.sdiag_family = AF_INET;
    message.request.sdiag_protocol = IPPROTO_TCP;
    message.request.idiag_states = ~0U;
    message.request.id.idiag_sport = htons(tuple.lport);
    message.request.id.idiag_dport = htons(tuple.rport);
    inet_pton(AF_INET, tuple.laddr, message.request.id.idiag_src);
    inet_pton(AF_INET, tuple.raddr, message.request.id.idiag_dst);
    message.request.id.idiag_cookie[0] = INET_DIAG_NOCOOKIE;
    message.request.id.idiag_cookie[1] = INET_DIAG_NOCOOKIE;
    const Fd fd(socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_SOCK_DIAG));
    struct {
        nlmsghdr head;
        nlmsgerr error;
        char more[256];
    } answer{};
    if (send(fd.get(), &message, sizeof message, 0) < 0 || recv(fd.get(), &answer, sizeof answer, 0) < 0) {
        raise("SOCK_DESTROY");
    }
    if ((errno = -answer.error.error) != 0) {
        raise("SOCK_DESTROY");
    }
}

Truth destroyed_by_another(Arena& arena, const TraceBegins& begin) {
    begin();
    Stage stage;
    const Cue connected;
    const Who server = arena.spawn("tt-server", [&] {
        const Fd listener = open_listener(stage);
        const std::vector<Fd> fds = accept_and_greet(listener.get(), 1);
        stage.to_server.take();
    });
    stage.listening.take();
    const Who client = arena.spawn("tt-client", [&] {
        const Fd fd = dial_and_note(stage, 0);
        connected.give();
        stage.to_client.take();
    });
    connected.take();
    const Who killer = arena.spawn("tt-killer", [&] { destroy_socket(stage.client(0)); });
    arena.join(killer);
    stage.to_client.give();
    arena.join(client);
    stage.to_server.give();
    arena.join(server);
    arena.settle();
    Truth truth;
    truth.add(listener_side(server, server));
    truth.add(Side::active(stage.client(0), client))
        .ends("ESTABLISHED", "sock_destroyed", Named{killer})
        .closed_by(killer);
    truth.add(Side::passive(stage.server(0), server, server)).ends("ESTABLISHED", "rst_received");
    return truth;
}

Truth listener_closed_with_queue(Arena& arena, const TraceBegins& begin) {
    begin();
    Stage stage;
    const Who server = arena.spawn("tt-server", [&] {
        const Fd listener = open_listener(stage);
        stage.to_server.take();
    });
    stage.listening.take();
    const Who client = arena.spawn("tt-client", [&] {
        std::vector<Fd> fds;
        for (int i = 0; i < kFew; ++i) {
            fds.push_back(dial(Net::v4, kPort));
            stage.note(i, fds.back().get());
        }
        stage.to_server.give();
        for (const Fd& fd : fds) {
            await_state(fd.get(), TCP_CLOSE);
        }
    });
    arena.join(client);
    arena.join(server);
    arena.settle();
    Truth truth;
    truth.add(listener_side(server, server));
    for (int i = 0; i < kFew; ++i) {
        truth.add(Side::active(stage.client(i), client)).ends("ESTABLISHED", "rst_received");
        // Nobody holds the child's lock when its listener dies (kernel.md 0.3): who did it need not be known.
        truth.add(Side::queued(stage.server(i), server))
            .ends("ESTABLISHED", "listener_closed", Named{server, true})
            .closed_by(server, true);
    }
    return truth;
}

Truth reset_before_accept(Arena& arena, const TraceBegins& begin) {
    begin();
    Stage stage;
    const Who server = arena.spawn("tt-server", [&] {
        const Fd listener = open_listener(stage);
        stage.to_server.take();
    });
    stage.listening.take();
    const Who client = arena.spawn("tt-client", [&] {
        for (int i = 0; i < kFew; ++i) {
            const Fd fd = dial(Net::v4, kPort);
            stage.note(i, fd.get());
            linger_zero(fd.get());
        }
    });
    arena.join(client);
    arena.settle(1);
    stage.to_server.give();
    arena.join(server);
    arena.settle();
    Truth truth;
    truth.add(listener_side(server, server));
    for (int i = 0; i < kFew; ++i) {
        truth.add(Side::active(stage.client(i), client))
            .ends("ESTABLISHED", "linger_rst", Named{client})
            .closed_by(client);
        truth.add(Side::queued(stage.server(i), server)).ends("ESTABLISHED", "rst_received");
    }
    return truth;
}

/// The server writes to a connection whose client is closed and gone: RST out of the client's mini-socket.
Truth data_for_a_mini(Arena& arena, const TraceBegins& begin) {
    begin();
    Stage stage;
    const Who server = arena.spawn("tt-server", [&] {
        const Fd listener = open_listener(stage);
        const std::vector<Fd> fds = accept_and_greet(listener.get(), 1);
        stage.to_server.take();
        put(fds[0].get(), 1);
        await_state(fds[0].get(), TCP_CLOSE);
    });
    stage.listening.take();
    const Who client = arena.spawn("tt-client", [&] { dial_and_note(stage, 0); });
    arena.join(client);
    arena.settle(2);
    stage.to_server.give();
    arena.join(server);
    arena.settle();
    Truth truth;
    truth.add(listener_side(server, server));
    truth.add(Side::active(stage.client(0), client)).closes_first(client, Mini::yes).time_wait_may_end = true;
    truth.add(Side::passive(stage.server(0), server, server))
        .step("ESTABLISHED", "CLOSE_WAIT")
        .ends("CLOSE_WAIT", "rst_received");
    return truth;
}

/// The client is closed and its FIN is lost; data that meets it in FIN_WAIT1 is answered by RST.
Truth late_data(Arena& arena, const TraceBegins& begin) {
    begin();
    Stage stage;
    const Who server = arena.spawn("tt-server", [&] {
        const Fd listener = open_listener(stage);
        const std::vector<Fd> fds = accept_and_greet(listener.get(), 1);
        make_deaf(fds[0].get(), Deaf::to_fin);
        stage.to_client.give();
        stage.to_server.take();
        put(fds[0].get(), 1);
        await_state(fds[0].get(), TCP_CLOSE);
    });
    stage.listening.take();
    const Who client = arena.spawn("tt-client", [&] {
        const Fd fd = dial_and_note(stage, 0);
        stage.to_client.take();
    });
    arena.join(client);
    stage.to_server.give();
    arena.join(server);
    arena.settle();
    Truth truth;
    truth.add(listener_side(server, server));
    truth.add(Side::active(stage.client(0), client))
        .step("ESTABLISHED", "FIN_WAIT1", Named{client})
        .ends("FIN_WAIT1", "late_data_rst")
        .closed_by(client);
    truth.add(Side::passive(stage.server(0), server, server)).ends("ESTABLISHED", "rst_received");
    return truth;
}

}  // namespace

Truth linger_reset(Arena& arena, const TraceBegins& begin, int connections) {
    return broken(
        arena, begin, connections, 1,
        [](Fd& fd) {
            linger_zero(fd.get());
            fd.close();
        },
        [](Side& side, const Who& who) { side.ends("ESTABLISHED", "linger_rst", Named{who}).closed_by(who); },
        hears_reset);
}

std::vector<Scene> break_scenes() {
    return {
        {"LingerZero", [](Arena& a, const TraceBegins& b) { return linger_reset(a, b, kFew); }},
        {"UnreadData", unread_data},
        {"DisconnectAndReconnect", reconnect_after_disconnect},
        {"SockDestroy", destroyed_by_another},
        {"ListenerClosedWithQueuedChild", listener_closed_with_queue},
        {"ResetBeforeAccept", reset_before_accept},
        {"DataForAMini", data_for_a_mini},
        {"LateData", late_data},
    };
}

}  // namespace tcptrail::live
