// SPDX-License-Identifier: Apache-2.0
#include "trail.h"

#include <gtest/gtest.h>

#include <cerrno>
#include <cstring>
#include <deque>
#include <stdexcept>

namespace tcptrail::test {

namespace {

std::uint8_t number(State state) {
    return static_cast<std::uint8_t>(state);
}

void put(std::uint8_t (&address)[16], End end) {
    if (end.host != 0) {
        const std::uint8_t bytes[] = {10, 0, 0, end.host};
        std::memcpy(address, bytes, sizeof(bytes));
    }
}

void fill(tt_process& record, const Actor& actor) {
    record.id = actor.id;
    record.tgid = actor.pid;
    record.start_ns = actor.start_ns;
    record.netns = kNetns;
    std::strncpy(record.comm, actor.comm, TT_COMM - 1);
}

}  // namespace

Trail& trail(const char* hooks, TableLimits limits) {
    static std::deque<Trail> trails;
    return trails.emplace_back(hooks, limits);
}

tt_close close_record(State old, const Facts& facts) {
    tt_close close{};
    close.step.head.size = sizeof(close);
    close.step.head.type = TT_CLOSE;
    close.step.head.flags = static_cast<tt_u8>(facts.flags);
    close.step.head.old_state = number(old);
    close.step.head.new_state = number(State::close);
    close.netns = kNetns;
    close.step.head.lport = facts.lport;
    close.sk_err = facts.sk_err;
    close.sk_err_soft = facts.sk_err_soft;
    close.shutdown = static_cast<tt_u8>(facts.shutdown);
    close.close_flags = static_cast<tt_u8>(facts.close_flags);
    close.unread = facts.unread;
    close.retransmits = static_cast<tt_u8>(facts.retransmits);
    close.total_retrans = facts.retransmits;
    close.probes_out = static_cast<tt_u8>(facts.probes_out);
    close.segs_out = facts.segs_out;
    close.bytes_acked = facts.bytes_acked;
    close.bytes_received = facts.bytes_received;
    close.tw_count = facts.tw_count;
    close.tw_max = facts.tw_max;
    close.fin_timeout_s = facts.fin_timeout_s;
    return close;
}

template <typename T>
T Trail::make(tt_type type) const {
    T record{};
    auto& head = reinterpret_cast<tt_head&>(record);
    head.size = sizeof(T);
    head.type = static_cast<tt_u8>(type);
    return record;
}

template <typename T>
void Trail::send(T& record, Gap gap, const std::string& text) {
    auto& head = reinterpret_cast<tt_head&>(record);
    const MonoNs time = now_ + static_cast<MonoNs>(gap.count());
    now_ = gap.count() > 0 ? time : now_;
    if (std::exchange(lose_, false)) {
        return;
    }
    head.time = time;
    head.size = static_cast<tt_u16>((sizeof(T) + text.size() + 7) / 8 * 8);
    before_.assign(head.size / 8, 0);
    std::memcpy(before_.data(), &record, sizeof(T));
    std::memcpy(reinterpret_cast<char*>(before_.data()) + sizeof(T), text.data(), text.size());
    apply(*reinterpret_cast<const tt_head*>(before_.data()));
}

void Trail::apply(const tt_head& record) {
    table_->expect(record);  // a hint, which changes nothing
    table_->apply(record);
    without_rows_->apply(record);
    const TraceEnd end = table_->trace_end();
    const TraceEnd without = without_rows_->trace_end();
    EXPECT_EQ(without.transitions, end.transitions);
    EXPECT_EQ(without.missed, end.missed);
    EXPECT_EQ(without.incomplete_connections, end.incomplete_connections);
    EXPECT_EQ(without.hooks, end.hooks);
    if (on_record) on_record(record);
}

void Trail::on_transition(const TransitionRow& row) {
    transitions.push_back(row);
    if (also != nullptr) also->on_transition(row);
}

void Trail::on_ended(const ConnectionRow& row) {
    endings.push_back(row);
    if (also != nullptr) also->on_ended(row);
}

Trail::Trail(const char* hooks, TableLimits limits) : table_(std::make_unique<ConnectionTable>(*this, limits)) {
    limits.rows = false;
    without_rows_ = std::make_unique<ConnectionTable>(nobody_, limits);
    auto start = make<tt_start>(TT_START);
    send(start, 0ms, hooks);
    describe(kApp).describe(kServer).describe(kWorker);
}

Trail& Trail::as(const Actor& actor) {
    actor_ = actor.id;
    return *this;
}

Trail& Trail::unknown_actor() {
    actor_ = 999;
    return *this;
}

Trail& Trail::describe(const Actor& actor) {
    auto record = make<tt_process>(TT_PROCESS);
    fill(record, actor);
    std::strncpy(record.thread, actor.comm, TT_COMM - 1);
    send(record, 0ms);
    return *this;
}

Trail& Trail::add(End local, End remote) {
    cookie_ = ++last_cookie_;
    sockets_[cookie_] = {local, remote, State::close, 0};
    return *this;
}

Trail& Trail::socket(std::uint64_t cookie) {
    cookie_ = cookie;
    return *this;
}

tt_step Trail::step_to(tt_type type, State fresh, unsigned flags) {
    auto record = make<tt_step>(type);
    if (type != TT_ENDPOINT) {
        record.head.old_state = number(here().state);
        record.head.new_state = number(fresh);
    }
    record.head.lport = here().local.port;
    record.head.flags = static_cast<tt_u8>(flags);
    record.cookie = cookie_;
    record.actor = (flags & TT_F_OWNED) != 0 ? actor_ : 0;
    if (type != TT_ENDPOINT) here().state = fresh;
    return record;
}

void Trail::open_to(tt_type type, State fresh, Gap gap, unsigned flags, std::uint16_t lport) {
    auto record = make<tt_open>(type);
    const auto size = record.step.head.size;
    record.step = step_to(type, fresh, flags);
    record.step.head.size = size;
    record.step.head.lport = lport;
    record.netns = kNetns;
    record.family = 2;
    record.rport = here().remote.port;
    put(record.laddr, here().local);
    put(record.raddr, here().remote);
    record.listener = here().listener;
    send(record, gap);
}

Trail& Trail::listen(End local) {
    add(local, {});
    listener_ = cookie_;
    open_to(TT_OPEN, State::listen, 1ms, kProcess, local.port);
    return *this;
}

Trail& Trail::connect(End local, End remote, Gap gap) {
    add(local, remote);
    open_to(TT_OPEN, State::syn_sent, gap, kProcess, 0);  // no port yet
    return *this;
}

Trail& Trail::reconnect(Gap gap) {
    open_to(TT_OPEN, State::syn_sent, gap, kProcess, 0);
    return *this;
}

Trail& Trail::child(End local, End remote, Gap gap) {
    add(local, remote);
    here().state = State::syn_recv;
    here().listener = listener_;
    open_to(TT_OPEN, State::established, gap, 0, local.port);
    return *this;
}

Trail& Trail::child_of(std::uint64_t listener, End local, End remote) {
    listener_ = listener;
    return child(local, remote);
}

Trail& Trail::older(State state, End local, End remote) {
    add(local, remote);
    here().state = state;
    return *this;
}

Trail& Trail::step(State fresh, Gap gap, unsigned flags) {
    auto record = step_to(TT_STEP, fresh, flags);
    send(record, gap);
    return *this;
}

Trail& Trail::established(Gap gap) {
    return step(State::established, gap);  // carries the port that connect() has chosen
}

Trail& Trail::fin_sent(Gap gap) {
    return step(here().state == State::close_wait ? State::last_ack : State::fin_wait1, gap, kProcess);
}

Trail& Trail::fin_acked(Gap gap) {
    return step(State::fin_wait2, gap);
}

Trail& Trail::fin_received(Gap gap) {
    return step(here().state == State::fin_wait1 ? State::closing : State::close_wait, gap);
}

Trail& Trail::closed(Gap gap, const Facts& facts) {
    tt_close record = close_record(here().state, facts);
    record.step = step_to(TT_CLOSE, State::close, facts.flags);
    record.step.head.lport = facts.lport;
    send(record, gap);
    return *this;
}

Trail& Trail::rst_received(Gap gap) {
    auto record = make<tt_reset>(TT_RESET);
    record.cookie = cookie_;
    record.head.old_state = number(here().state);
    send(record, gap);
    return closed(0ms, {.flags = TT_F_HAS_SOCKET, .sk_err = ECONNRESET, .close_flags = 0});
}

Trail& Trail::twice() {
    auto* head = reinterpret_cast<tt_head*>(before_.data());
    head->flags |= TT_F_BACKUP;
    apply(*head);
    return *this;
}

Trail& Trail::lose() {
    lose_ = true;
    return *this;
}

Trail& Trail::endpoint(Gap gap) {
    open_to(TT_ENDPOINT, State::none, gap, 0, here().local.port);
    return *this;
}

Trail& Trail::accept(Gap gap) {
    auto record = make<tt_step>(TT_ACCEPT);
    record.cookie = cookie_;
    record.actor = actor_;
    send(record, gap);
    return *this;
}

Trail& Trail::destroy(Gap gap) {
    auto record = make<tt_step>(TT_DESTROY);
    record.cookie = cookie_;
    send(record, gap);
    return *this;
}

Trail& Trail::reset_sent(Gap gap, std::uint32_t reason, State by) {
    auto record = make<tt_reset>(TT_RESET);
    record.head.flags = TT_F_SENT;
    record.head.old_state = number(by != State::none ? by : here().state);
    record.cookie = cookie_;
    record.reason = reason;
    send(record, gap);
    return *this;
}

Trail& Trail::timewait(tt_timewait_event event, Gap gap) {
    auto record = make<tt_timewait>(TT_TIMEWAIT);
    record.cookie = cookie_;
    record.event = event;
    record.netns = kNetns;
    send(record, gap);
    return *this;
}

Trail& Trail::tick(Gap gap) {
    auto record = make<tt_head>(TT_TICK);
    send(record, gap);
    return *this;
}

Trail& Trail::hole() {
    auto record = make<tt_head>(TT_GAP);
    send(record, 0ms);
    return *this;
}

Trail& Trail::end(Gap gap) {
    auto record = make<tt_head>(TT_END);
    send(record, gap);
    return *this;
}

Trail& Trail::counters(std::uint64_t lost, std::uint64_t missed, std::uint64_t counted) {
    auto record = make<tt_counters>(TT_COUNTERS);
    record.lost = lost;
    record.missed = missed;
    record.counted = counted;
    send(record, 0ms);
    return *this;
}

Trail& Trail::others_lost(std::uint64_t lost_other, Gap gap, unsigned flags) {
    auto record = make<tt_counters>(TT_COUNTERS);
    record.head.flags = static_cast<tt_u8>(flags);
    record.lost_other = lost_other;
    send(record, gap);
    return *this;
}

Trail& Trail::snapshot(unsigned what, std::uint32_t netns) {
    what_ = what;
    snapshot_netns_ = netns;
    auto record = make<tt_snapshot>(TT_SNAPSHOT);
    record.what = what;
    record.netns = netns;
    send(record, 1ms);
    return *this;
}

Trail& Trail::netns(const std::string& text, unsigned flags) {
    auto record = make<tt_netns>(TT_NETNS);
    record.head.flags = static_cast<tt_u8>(flags);
    record.netns = kNetns;
    send(record, 0ms, text);
    return *this;
}

Trail& Trail::sockets_end() {
    auto record = make<tt_snapshot>(TT_SNAPSHOT);
    record.head.flags = TT_F_END;
    record.what = what_;
    record.netns = snapshot_netns_;
    send(record, 1ms);
    return *this;
}

Trail& Trail::mark() {
    auto record = make<tt_snapshot>(TT_SNAPSHOT);
    record.head.flags = TT_F_END;
    record.what = TT_SNAP_MARK;
    record.netns = kNetns;
    send(record, 0ms);
    return *this;
}

Trail& Trail::shows(State state, Gap gap, const Shown& shown) {
    auto record = make<tt_socket>(TT_SOCKET);
    record.head.new_state = number(state);
    record.head.lport = here().local.port;
    record.cookie = cookie_;
    record.netns = kNetns;
    record.family = 2;
    record.rport = here().remote.port;
    put(record.laddr, here().local);
    put(record.raddr, here().remote);
    record.listener = here().listener;
    record.head.flags = static_cast<tt_u8>(shown.flags);
    record.unread = shown.unread;
    record.last_recv_ms = shown.last_recv_ms;
    send(record, gap);
    return *this;
}

Trail& Trail::holder(const Actor& actor, unsigned flags, std::uint32_t fd) {
    auto record = make<tt_holder>(TT_HOLDER);
    fill(record.process, actor);
    record.process.head.flags = static_cast<tt_u8>(flags);
    record.cookie = cookie_;
    record.fd = fd;
    send(record, 0ms);
    return *this;
}

std::vector<std::string> Trail::lines() const {
    std::vector<std::string> lines;
    for (const TransitionRow& row : transitions) {
        std::string line = std::to_string(row.cookie) + "." + std::to_string(row.generation) + " " +
                           std::string(name(row.old_state)) + ">" + std::string(name(row.new_state)) + " " +
                           (row.in_old_ns ? std::to_string(*row.in_old_ns / 1000) + "us" : "-") + " " + who(row.actor);
        if (row.tw_substate) line += " (" + std::string(name(*row.tw_substate)) + ")";
        if (row.inferred) line += " inferred";
        lines.push_back(line);
    }
    return lines;
}

std::string Trail::who(ProcessId id) const {
    if (id == 0) return "-";
    const Process* process = table_->find(id);
    return process != nullptr ? process->comm : "?";
}

std::string Trail::who(const Owner& owner) const {
    return who(owner.process) + "/" + std::string(name(owner.evidence));
}

const ConnectionRow& Trail::ended() const {
    if (endings.size() != 1) throw std::logic_error(std::to_string(endings.size()) + " connections ended");
    return endings.front();
}

std::vector<std::string> Trail::states(const ConnectionRow& row) const {
    std::vector<std::string> text;
    for (const StateSpan& span : row.states) {
        text.push_back(std::string(name(span.state)) + " " + std::to_string(span.ns / 1000) + "us");
    }
    return text;
}

}  // namespace tcptrail::test
