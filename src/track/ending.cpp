// SPDX-License-Identifier: Apache-2.0
// How connections end: the verdict, TIME_WAIT, and what still waits for one more fact.
#include <algorithm>
#include <utility>

#include "table.h"

namespace tcptrail {

using track::Connection;

namespace {

constexpr std::uint64_t kSecond = 1'000'000'000;
/// TCP_TIMEWAIT_LEN is 60 s; the timer wheel lets go up to 2 s later.
constexpr std::uint64_t kTimeWaitAtMost = 62 * kSecond;
/// How late a busy machine may be with it, where a hook tells and the model is only for what the hook lost.
constexpr std::uint64_t kTimerLate = 8 * kSecond;
/// tt_close.tw_max of a kernel whose table of time-wait sockets we cannot read.
constexpr std::uint32_t kNotKnown = ~std::uint32_t{0};
/// A RST that belongs to a close follows it within the same system call or softirq.
constexpr std::uint64_t kResetFollows = 2'000'000;
/// The same where a hook tells of time-wait sockets and has told of none: then a RST it is, and only a virtual processor that
/// its host takes away in between can part the two.
constexpr std::uint64_t kResetSurelyFollows = 50'000'000;
/// A process that was held up between taking a connection and its accept's return.
constexpr std::uint64_t kAcceptReturns = 100'000'000;
/// The time-wait socket can be found before its full socket makes its last step, in the same softirq or system call.
constexpr std::uint64_t kLastStepFollows = 10'000'000;

track::Resets resets_of(const Connection& connection, bool all_seen) {
    return {.sent = connection.reset_sent,
            .received = connection.reset_received,
            .sent_reason = connection.reset_reason,
            .sent_last = connection.reset_last,
            .complete = all_seen};
}

/// The namespace's table of time-wait sockets was not full, as far as we can read that.
bool has_room(const tt_close& close) {
    return close.tw_max == kNotKnown || close.tw_count < close.tw_max;
}

/// Our FIN was acknowledged, so bytes_acked counts it.
bool fin_acknowledged(const tt_close& close) {
    switch (static_cast<State>(close.step.head.old_state)) {
        case State::fin_wait2: return true;
        case State::closing:
        case State::last_ack: return close.sk_err == 0;
        default: return false;
    }
}

}  // namespace

void ConnectionTable::end(Connection& connection, const tt_close& close) {
    if (limits_.rows && !connection.hashed && !connection.reset_sent && sent_resets_seen_ &&
        track::may_abort_late(close)) {
        connection.held = true;
        connection.state = State::close;
        undecided_[connection.cookie] = close;
        const bool surely = time_wait_hook_ == HookHeard::yes;
        const std::uint64_t patience = surely ? kResetSurelyFollows : kResetFollows;
        undecided_due_.push_back({close.step.head.time + patience, connection.cookie});
        return;
    }
    decide(connection, close);
}

/// Into TIME_WAIT or not; then why, unless that waits for one more fact.
void ConnectionTable::decide(Connection& connection, const tt_close& close) {
    const std::optional<bool> time_wait = enters_time_wait(connection, close);
    const bool enters = time_wait.value_or(false);
    const bool dead_fin_wait2 = enters && (close.close_flags & TT_C_DONE) == 0;
    const State substate = State::fin_wait2;
    const auto old = static_cast<State>(close.step.head.old_state);
    if (const State fresh = enters ? State::time_wait : State::close; tells(old, fresh)) {
        report(connection, close.step.head.time, old, fresh, actor_of(connection, close.step, &close), false,
               dead_fin_wait2 ? &substate : nullptr);
    }
    connection.state = State::close;
    connection.last_time = close.step.head.time;
    connection.in_state_known = true;

    if (const auto wait = limits_.rows ? wait_of(connection, close) : std::nullopt; wait && !enters) {
        connection.held = true;
        held_[connection.cookie] = {close, *wait};
        switch (*wait) {
            case Wait::reset: holds_.push_back({close.step.head.time + kResetFollows, connection.cookie}); break;
            case Wait::acceptor:
                accepts_due_.push_back({close.step.head.time + kAcceptReturns, connection.cookie});
                break;
            case Wait::queue_leaves: break;
        }
        return;
    }
    leave(connection, close, time_wait);
}

std::optional<ConnectionTable::Wait> ConnectionTable::wait_of(const Connection& connection,
                                                              const tt_close& close) const {
    const bool dead = (close.close_flags & TT_C_DEAD) != 0;
    const Evidence evidence = connection.owner.evidence;
    if (accepts_seen_ && connection.role == Role::passive && !connection.accepted && !dead &&
        (evidence == Evidence::inherited || evidence == Evidence::unknown)) {
        if ((close.step.head.flags & TT_F_HAS_SOCKET) != 0) {
            return Wait::acceptor;
        }
        if (destroys_seen_) {  // else nothing would end the wait
            return Wait::queue_leaves;
        }
    }
    return sent_resets_seen_ && track::awaits_reset(close) ? std::optional(Wait::reset) : std::nullopt;
}

/// Whether the full socket leaves a time-wait socket behind; nullopt: not decided.
std::optional<bool> ConnectionTable::enters_time_wait(const Connection& connection, const tt_close& close) {
    if (!track::enters_time_wait(close)) {
        return false;
    }
    if (connection.hashed) {
        return true;
    }
    const bool may_abort = track::may_abort_late(close);
    if (may_abort && connection.reset_sent) {
        return false;
    }
    const bool room = has_room(close);
    if (time_wait_hook_ != HookHeard::yes) {
        if (time_wait_hook_ == HookHeard::not_yet) {
            time_wait_hook_ = HookHeard::no;
        }
        // Where the table is full: the last one that found room, or one that found none.
        return room && (!may_abort || sent_resets_seen_) ? std::optional(true) : std::nullopt;
    }
    // The hook works and did not see it. With room in the table that cannot be, so its record was lost.
    return room || !all_told(connection) ? std::nullopt : std::optional(false);
}

/// The hook works and saw no time-wait socket, there was room for one, and no RST says why: one of the records is missing.
bool ConnectionTable::is_contradicted(const Connection& connection, const tt_close& close) const {
    return time_wait_hook_ == HookHeard::yes && has_room(close) && track::may_abort_late(close) && !connection.hashed &&
           !connection.reset_sent;
}

/// No record about it that is no transition can have been lost: all such losses were told before it was opened.
bool ConnectionTable::all_told(const Connection& connection) const {
    return !others_lost_at_ || connection.opened > *others_lost_at_;
}

/// The row is told, and the connection leaves the table or stands in TIME_WAIT.
void ConnectionTable::leave(Connection& connection, const tt_close& close, const std::optional<bool>& time_wait) {
    const std::uint64_t cookie = connection.cookie;
    if (snapshot_open_) {
        ended_[cookie] = close.step.head.time;
    }
    if (static_cast<State>(close.step.head.old_state) != State::listen) {
        row_.time_wait = time_wait;
        finish(connection, close);
    }
    if (time_wait.value_or(false) && limits_.rows) {
        enter_time_wait(connection, close);
        return;
    }
    const bool dead = (close.close_flags & TT_C_DEAD) != 0;
    const bool keeps = !dead && (close.step.head.flags & TT_F_HAS_SOCKET) != 0;
    just_ended_[just_ended_count_++ % just_ended_.size()] = cookie;
    if (keeps) {
        remember(cookie, {close.step.head.time, connection.generation, connection.before_trace});
    }
    erase(cookie);
}

/// The order keeps what a socket that connected again has left in it, so an entry of it counts only if it is the last.
void ConnectionTable::remember(std::uint64_t cookie, const Dormant& dormant) {
    const auto counts = [&](const Deadline& closed) {
        const auto found = dormant_.find(closed.cookie);
        return found != dormant_.end() && found->second.closed == closed.at;
    };
    while (!dormant_order_.empty() && dormant_.size() >= limits_.dormant) {
        if (counts(dormant_order_.front())) {
            dormant_.erase(dormant_order_.front().cookie);
        }
        dormant_order_.pop_front();
    }
    dormant_[cookie] = dormant;
    dormant_order_.push_back({dormant.closed, cookie});
    if (dormant_order_.size() > 2 * limits_.dormant) {
        std::erase_if(dormant_order_, [&](const Deadline& closed) { return !counts(closed); });
    }
}

void ConnectionTable::finish(Connection& connection, const tt_close& close) {
    if (!limits_.rows) {
        return;
    }
    const auto old = static_cast<State>(close.step.head.old_state);
    const bool facts = close.step.head.type == TT_CLOSE;
    ConnectionRow& row = row_;
    row.time = close.step.head.time;
    row.cookie = connection.cookie;
    row.generation = connection.generation;
    row.ends = connection.ends;
    row.role = connection.role;
    row.before_trace = connection.before_trace;
    row.owner = connection.owner;
    row.closer = connection.closer;
    row.reason = facts ? track::reason_of(close, resets_of(connection, sent_resets_seen_ && all_told(connection)))
                       : CloseReason::unknown;
    if (facts && is_contradicted(connection, close)) {
        row.reason = CloseReason::unknown;
    }
    row.complete = connection.complete;
    row.bound = connection.bound;
    row.tw_substate = std::nullopt;
    const bool aborts = connection.reset_sent && track::may_abort_late(close);
    if (facts && track::enters_time_wait(close) && !aborts) {
        row.tw_substate = (close.close_flags & TT_C_DONE) != 0 ? State::time_wait : State::fin_wait2;
    }
    row.opened = connection.opened != 0 ? std::optional<MonoNs>(connection.opened) : std::nullopt;
    row.lifetime_ns = connection.opened != 0 && row.time >= connection.opened
                          ? std::optional<std::uint64_t>(row.time - connection.opened)
                          : std::nullopt;
    row.established_ns = std::nullopt;
    row.states.clear();
    for (std::size_t i = 0; i < connection.span_count; ++i) {
        const auto span = connection.spans[i];
        row.states.push_back({span.state(), span.ns()});
        if (span.state() == State::established) {
            row.established_ns = span.ns();
        }
    }
    row.bytes_sent = row.bytes_received = std::nullopt;
    row.retransmits = row.srtt_us = std::nullopt;
    if (facts) {
        // bytes_acked counts our SYN (of an active open) and our FIN, bytes_received the peer's FIN.
        const bool connected = old != State::syn_sent;
        const std::uint64_t syn = connection.role == Role::active && connected ? 1 : 0;
        const std::uint64_t sent_extra = syn + (fin_acknowledged(close) ? 1 : 0);
        const std::uint64_t received_extra = (close.close_flags & TT_C_DONE) != 0 ? 1 : 0;
        if (connection.role != Role::unknown) {
            row.bytes_sent = close.bytes_acked > sent_extra ? close.bytes_acked - sent_extra : 0;
        }
        row.bytes_received = close.bytes_received > received_extra ? close.bytes_received - received_extra : 0;
        row.retransmits = close.total_retrans;
        row.srtt_us = close.srtt_us != 0 ? std::optional<std::uint32_t>(close.srtt_us) : std::nullopt;
    } else {
        row.time_wait = std::nullopt;
    }
    observer_.on_ended(row);
}

void ConnectionTable::enter_time_wait(Connection& connection, const tt_close& close) {
    const MonoNs time = close.step.head.time;
    const bool dead_fin_wait2 = (close.close_flags & TT_C_DONE) == 0;
    connection.state = State::time_wait;
    connection.last_time = time;
    connection.in_state_known = true;
    connection.deadline = time + kTimeWaitAtMost + (dead_fin_wait2 ? close.fin_timeout_s * kSecond : 0);
    if (time_wait_hook_ == HookHeard::yes) {
        connection.deadline += kTimerLate;
    }
    if (dead_fin_wait2) {
        slow_expiries_.emplace(connection.deadline, connection.cookie);
    } else {
        expiries_.push_back({connection.deadline, connection.cookie});
    }
    connections_.wait(connection);
}

void ConnectionTable::end_time_wait(std::uint64_t cookie, MonoNs time, bool inferred) {
    Connection* connection = find_connection(cookie);
    if (connection == nullptr || connection->state != State::time_wait) {
        return;
    }
    if (tells(State::time_wait, State::close)) {
        report(*connection, time, State::time_wait, State::close, 0, inferred, nullptr);
    }
    erase(cookie);
}

/// A new connection between the same two ends: the kernel has let go of the old one's time-wait socket.
void ConnectionTable::end_reused(const Connection& connection, MonoNs time) {
    if (connections_.none_waiting()) {
        return;
    }
    if (const Connection* const old = connections_.waiting_between(connection.ends)) {
        end_time_wait(old->cookie, time, true);
    }
}

void ConnectionTable::release(std::uint64_t cookie) {
    Connection* connection = find_connection(cookie);
    if (const auto found = undecided_.find(cookie); found != undecided_.end() && connection != nullptr) {
        const tt_close close = found->second;
        undecided_.erase(found);
        connection->held = false;
        decide(*connection, close);
        return;
    }
    const auto held = held_.find(cookie);
    if (held == held_.end() || connection == nullptr) {
        return;
    }
    const tt_close close = held->second.close;
    held_.erase(held);
    connection->held = false;
    leave(*connection, close, false);
}

void ConnectionTable::advance(MonoNs now) {
    now_ = now;
    while (!unseen_due_.empty() && unseen_due_.front().head.time + kLastStepFollows <= now) {
        const tt_socket row = unseen_due_.front();
        unseen_due_.pop_front();
        end_unseen(row);
    }
    while (!undecided_due_.empty() && undecided_due_.front().at <= now) {
        const std::uint64_t cookie = undecided_due_.front().cookie;
        undecided_due_.pop_front();
        if (undecided_.contains(cookie)) {
            release(cookie);
        }
    }
    const auto let_go = [this, now](std::deque<Deadline>& queue, Wait wait) {
        while (!queue.empty() && queue.front().at <= now) {
            const std::uint64_t cookie = queue.front().cookie;
            queue.pop_front();
            if (const auto held = held_.find(cookie); held != held_.end() && held->second.wait == wait) {
                release(cookie);
            }
        }
    };
    let_go(holds_, Wait::reset);
    let_go(accepts_due_, Wait::acceptor);
    const auto expire = [this](const Deadline& due) {
        const Connection* connection = find_connection(due.cookie);
        if (connection != nullptr && connection->deadline == due.at) {
            end_time_wait(due.cookie, due.at, true);
        }
    };
    while (!expiries_.empty() && expiries_.front().at <= now) {
        const Deadline due = expiries_.front();
        expiries_.pop_front();
        expire(due);
    }
    while (!slow_expiries_.empty() && slow_expiries_.begin()->first <= now) {
        const Deadline due{slow_expiries_.begin()->first, slow_expiries_.begin()->second};
        slow_expiries_.erase(slow_expiries_.begin());
        expire(due);
    }
}

void ConnectionTable::on_timewait(const tt_timewait& record) {
    time_wait_hook_ = HookHeard::yes;
    Connection* connection = limits_.rows ? find_connection(record.cookie) : nullptr;
    if (connection == nullptr) {
        return;
    }
    switch (record.event) {
        case TT_TW_HASHED:
            connection->hashed = true;  // its full socket's last transition follows
            break;
        case TT_TW_KILLED: end_time_wait(record.cookie, record.head.time, false); break;
        default: break;
    }
}

void ConnectionTable::on_end() {
    for (const tt_socket& row : std::exchange(unseen_due_, {})) {
        end_unseen(row);
    }
    std::vector<std::uint64_t> cookies;
    cookies.reserve(held_.size() + undecided_.size());
    for (const auto& entry : undecided_) {
        cookies.push_back(entry.first);
    }
    for (const auto& entry : held_) {
        cookies.push_back(entry.first);
    }
    std::sort(cookies.begin(), cookies.end());
    for (const std::uint64_t cookie : cookies) {
        release(cookie);
    }
}

}  // namespace tcptrail
