// SPDX-License-Identifier: Apache-2.0
#include "crowd.h"

#include <netinet/tcp.h>
#include <unistd.h>

#include "harness.h"

namespace tcptrail::live {

namespace {

const int kEstablished = part_of(2500);  // connections; each has two ends
const int kShut = part_of(500);          // the client has shut down its side and keeps it: FIN_WAIT2, CLOSE_WAIT
const int kLeft = part_of(500);          // the client has closed: a dead FIN_WAIT2, CLOSE_WAIT
const int kOver = part_of(1000);         // both have closed, the client first: TIME_WAIT
const int kUnheard = part_of(300);  // the server shut down first and is deaf to the client's FIN: FIN_WAIT2, LAST_ACK
constexpr int kHalfOpen = 200;      // the client is deaf to the SYN-ACK: SYN_SENT, SYN_RECV

const int kFew = part_of(50);  // of kLeft that may stay full sockets
constexpr int kStill_ms = 200;
constexpr int kPatience_ms = 10000;

const int kShutFrom = kEstablished;
const int kLeftFrom = kShutFrom + kShut;
const int kOverFrom = kLeftFrom + kLeft;
const int kUnheardFrom = kOverFrom + kOver;
const int kAccepted = kUnheardFrom + kUnheard;

std::uint16_t port_of(int i) {
    return static_cast<std::uint16_t>(Crowd::first_port + i % Crowd::listeners);
}

void serve(const Stage& stage) {
    std::vector<Fd> listening;
    for (int i = 0; i < Crowd::listeners; ++i) {
        listening.push_back(listen_on(Net::v4, port_of(i)));
    }
    stage.listening.give();
    std::vector<Fd> fds;
    for (int i = 0; i < kAccepted; ++i) {
        fds.push_back(accept_from(listening[static_cast<std::size_t>(i % Crowd::listeners)].get()));
    }
    const auto fd = [&](int i) -> Fd& { return fds[static_cast<std::size_t>(i)]; };
    stage.to_client.give();
    stage.to_server.take();
    for (int i = kShutFrom; i < kUnheardFrom; ++i) {
        await_state(fd(i).get(), TCP_CLOSE_WAIT);
    }
    for (int i = kOverFrom; i < kUnheardFrom; ++i) {
        fd(i).close();
    }
    for (int i = kUnheardFrom; i < kAccepted; ++i) {
        shutdown_write(fd(i).get());
        await_state(fd(i).get(), TCP_FIN_WAIT2);
        make_deaf(fd(i).get(), Deaf::to_fin);
    }
    stage.to_client.give();
    stage.to_server.take(60000);
}

void call(const Stage& stage, const Cue& stands) {
    std::vector<Fd> fds;
    for (int i = 0; i < kAccepted; ++i) {
        fds.push_back(dial(Net::v4, port_of(i)));
    }
    stage.to_client.take(60000);
    const auto fd = [&](int i) -> Fd& { return fds[static_cast<std::size_t>(i)]; };
    for (int i = kShutFrom; i < kLeftFrom; ++i) {
        shutdown_write(fd(i).get());
    }
    for (int i = kLeftFrom; i < kUnheardFrom; ++i) {
        fd(i).close();
    }
    stage.to_server.give();
    stage.to_client.take(60000);
    for (int i = kUnheardFrom; i < kAccepted; ++i) {
        fd(i).close();
    }
    for (int i = 0; i < kHalfOpen; ++i) {
        fds.push_back(fresh_socket(Net::v4));
        make_deaf(fds.back().get(), Deaf::to_all);
        set_nonblocking(fds.back().get());
        (void)!try_connect(fds.back().get(), Net::v4, port_of(i));
    }
    fork_named("tt-heir", [] { sleep_ms(60000); });  // holds all that the client holds
    stands.give();
    sleep_ms(60000);
}

}  // namespace

Crowd::Crowd(Arena& arena) {
    arena.sysctl("net/ipv4/tcp_tw_reuse", "0");
    server = arena.spawn("tt-server", [this] { serve(stage_); });
    stage_.listening.take();
    client = arena.spawn("tt-client", [this] { call(stage_, stands_); });
    stands_.take(60000);
    // A FIN_WAIT2 whose ACK came within the close stays a full socket, though nobody has it: a few may.
    int standing = 0;
    int still_ms = 0;
    for (int waited_ms = 0; still_ms < kStill_ms; ++waited_ms) {
        const int now = arena.sockstat("tw");
        still_ms = now == standing && now >= kOver + kLeft - kFew ? still_ms + 1 : 0;
        standing = now;
        if (waited_ms == kPatience_ms) {
            throw std::runtime_error("the crowd does not come to rest: " + std::to_string(now) + " time-wait sockets");
        }
        sleep_ms(1);
    }
    dead_fin_wait2_ = standing - kOver;
}

Population Crowd::of_server() const {
    return {{"LISTEN", listeners},
            {"SYN_RECV", kHalfOpen},
            {"ESTABLISHED", kEstablished},
            {"CLOSE_WAIT", kShut + kLeft},
            {"FIN_WAIT2", kUnheard}};
}

Population Crowd::of_client() const {
    return {{"SYN_SENT", kHalfOpen}, {"ESTABLISHED", kEstablished}, {"FIN_WAIT2", kShut}};
}

Population Crowd::of_nobody() const {
    return {{"FIN_WAIT2", kLeft}, {"TIME_WAIT", kOver}, {"LAST_ACK", kUnheard}};
}

Population Crowd::total() const {
    Population sum;
    for (const Population& part : {of_server(), of_client(), of_nobody()}) {
        for (const auto& [state, count] : part) {
            sum[state] += count;
        }
    }
    return sum;
}

int Crowd::shared() const {
    return kHalfOpen + kEstablished + kShut;
}

}  // namespace tcptrail::live
