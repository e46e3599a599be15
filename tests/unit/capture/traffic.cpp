// SPDX-License-Identifier: Apache-2.0
#include "traffic.h"

#include <algorithm>
#include <cstring>

namespace tcptrail::test {
namespace {

enum State {
    ESTABLISHED = 1,
    SYN_SENT,
    SYN_RECV,
    FIN_WAIT1,
    FIN_WAIT2,
    TIME_WAIT,
    CLOSE,
    CLOSE_WAIT,
    LAST_ACK,
    LISTEN
};

constexpr std::uint64_t actor_id(unsigned process) {
    return (0x123'4567'89abull + process * 77'777) << 22 | (4000 + process);
}

}  // namespace

void Traffic::begin(Pair& pair) {
    pair.client = cookie_++;
    pair.server = cookie_++;
    const auto server = static_cast<unsigned>(below(world_.servers));
    pair.client_actor = actor_id(static_cast<unsigned>(below(world_.clients)));
    pair.server_actor = actor_id(1000 + server);
    pair.listener = 0x1001 + server;
    pair.service = static_cast<std::uint16_t>(8080 + server);
    port_ = static_cast<std::uint16_t>(port_ + 2 * (1 + below(8)));
    if (port_ < 32768 || port_ > 60999) port_ = static_cast<std::uint16_t>(32768 + 2 * below(64));
    pair.port = port_;
    pair.bytes_out = 80 + below(400);
    pair.bytes_in = 200 + below(20'000);
    pair.next_ns = now_ + 20'000 + below(60'000);
    pair.step = 0;
}

void Traffic::transitions(std::uint64_t count, const Sink& sink) {
    const std::uint64_t until = made_ + count;
    while (made_ < until) {
        const auto pair = std::min_element(pairs_.begin(), pairs_.end(),
                                           [](const Pair& a, const Pair& b) { return a.next_ns < b.next_ns; });
        now_ = std::max(now_, pair->next_ns);
        step(*pair, sink);
        pair->next_ns += 20'000 + below(60'000);
    }
}

void Traffic::step(Pair& pair, const Sink& sink) {
    switch (pair.step++) {
        case 0: return open(pair, true, sink);
        case 1: return open(pair, false, sink);
        case 2: return move(pair, true, SYN_SENT, ESTABLISHED, true, sink);
        case 3: return move(pair, false, SYN_RECV, ESTABLISHED, false, sink);
        case 4: {
            const tt_step accept = head(pair, false, TT_ACCEPT, sizeof(tt_step), 0, 0, true);
            return sink(accept.head);
        }
        case 5: return move(pair, true, ESTABLISHED, FIN_WAIT1, true, sink);
        case 6: return move(pair, false, ESTABLISHED, CLOSE_WAIT, false, sink);
        case 7: return move(pair, true, FIN_WAIT1, FIN_WAIT2, false, sink);
        case 8: return move(pair, false, CLOSE_WAIT, LAST_ACK, true, sink);
        case 9:
            if (world_.time_wait) time_wait(pair, TT_TW_ENTER, sink);
            return;
        case 10:
            if (world_.time_wait) time_wait(pair, TT_TW_HASHED, sink);
            return;
        case 11: return close(pair, true, FIN_WAIT2, sink);
        case 12: return close(pair, false, LAST_ACK, sink);
        default:
            if (world_.time_wait) time_wait(pair, TT_TW_KILLED, sink);
            begin(pair);
    }
}

tt_step Traffic::head(const Pair& pair, bool client, tt_type type, std::size_t size, int from, int to, bool acted) {
    tt_step step{};
    step.head.size = static_cast<tt_u16>(size);
    step.head.type = type;
    step.head.flags = static_cast<tt_u8>((acted ? TT_F_OWNED : 0) | TT_F_HAS_SOCKET);
    step.head.old_state = static_cast<tt_u8>(from);
    step.head.new_state = static_cast<tt_u8>(to);
    step.head.lport = client ? pair.port : pair.service;
    step.head.time = now_;
    step.cookie = client ? pair.client : pair.server;
    if (acted) step.actor = client ? pair.client_actor : pair.server_actor;
    return step;
}

void Traffic::open(const Pair& pair, bool client, const Sink& sink) {
    tt_open open{};
    open.step = client ? head(pair, true, TT_OPEN, sizeof open, CLOSE, SYN_SENT, true)
                       : head(pair, false, TT_OPEN, sizeof open, LISTEN, SYN_RECV, false);
    open.netns = 4'026'531'840u;
    open.family = 2;
    open.rport = client ? pair.service : pair.port;
    open.laddr[0] = open.raddr[0] = 127;
    open.laddr[3] = open.raddr[3] = 1;
    open.listener = client ? 0 : pair.listener;
    ++made_;
    sink(open.step.head);
}

void Traffic::move(const Pair& pair, bool client, int from, int to, bool acted, const Sink& sink) {
    const tt_step step = head(pair, client, TT_STEP, sizeof step, from, to, acted);
    ++made_;
    sink(step.head);
}

void Traffic::close(const Pair& pair, bool client, int from, const Sink& sink) {
    tt_close close{};
    close.step = head(pair, client, TT_CLOSE, sizeof close, from, CLOSE, false);
    close.bytes_acked = (client ? pair.bytes_out : pair.bytes_in) + 2;
    close.bytes_received = (client ? pair.bytes_in : pair.bytes_out) + 1;
    close.netns = 4'026'531'840u;
    close.srtt_us = static_cast<tt_u32>(15 + below(60));
    close.tw_count = static_cast<tt_u32>(made_ / 11 % 28'000);
    close.tw_max = 131'072;
    close.segs_out = static_cast<tt_u16>(4 + below(4));
    close.fin_timeout_s = 60;
    close.shutdown = 3;
    close.close_flags = TT_C_DEAD | TT_C_DONE;
    ++made_;
    sink(close.step.head);
}

void Traffic::time_wait(const Pair& pair, unsigned event, const Sink& sink) {
    tt_timewait record{};
    record.head = head(pair, true, TT_TIMEWAIT, sizeof record, event == TT_TW_ENTER ? TIME_WAIT : 0, 0, false).head;
    record.head.flags = 0;
    record.cookie = pair.client;
    record.event = event;
    record.netns = 4'026'531'840u;
    sink(record.head);
}

}  // namespace tcptrail::test
