// SPDX-License-Identifier: Apache-2.0
#include "table.h"

#include <algorithm>
#include <cstring>
#include <string_view>

#include <tcptrail/record_text.h>

namespace tcptrail {

using track::Connection;

namespace {

constexpr std::uint16_t kInet6 = 10;

/// The record as its type, or nothing if it is shorter than this program knows it.
template <typename T>
const T* as(const tt_head& head) {
    return head.size >= sizeof(T) ? reinterpret_cast<const T*>(&head) : nullptr;
}

/// The kernel's fast clock, which most records carry, and the one that a packet brings may differ by a few ns.
std::uint64_t elapsed(MonoNs from, MonoNs to) {
    return to > from ? to - from : 0;
}

Endpoints ends_of(const tt_open& open) {
    Endpoints ends;
    ends.netns = open.netns;
    ends.family = open.family == kInet6 ? Family::ipv6 : Family::ipv4;
    ends.lport = open.step.head.lport;
    ends.rport = open.rport;
    std::memcpy(ends.laddr.data(), open.laddr, sizeof(open.laddr));
    std::memcpy(ends.raddr.data(), open.raddr, sizeof(open.raddr));
    return ends;
}

}  // namespace

ConnectionTable::ConnectionTable(TrackObserver& observer, TableLimits limits)
    : observer_(observer), limits_(limits), processes_(limits.processes) {}

void ConnectionTable::apply(const tt_head& head) {
    if (head.time > now_) {
        advance(head.time);
    }
    if (processes_.crowded()) {
        forget_processes();
    }
    switch (head.type) {
        case TT_STEP:
            if (const auto* step = as<tt_step>(head)) {
                on_step(*step, nullptr, nullptr);
            }
            break;
        case TT_OPEN:
            if (const auto* open = as<tt_open>(head)) {
                on_step(open->step, open, nullptr);
            }
            break;
        case TT_CLOSE:
            if (const auto* close = as<tt_close>(head)) {
                on_step(close->step, nullptr, close);
            }
            break;
        case TT_ENDPOINT:
            if (const auto* open = as<tt_open>(head)) {
                on_endpoint(*open);
            }
            break;
        case TT_PROCESS:
            if (const auto* process = as<tt_process>(head)) {
                processes_.describe(*process);
            }
            break;
        case TT_ACCEPT:
            if (const auto* step = as<tt_step>(head)) {
                on_accept(*step);
            }
            break;
        case TT_RESET:
            if (const auto* reset = as<tt_reset>(head)) {
                on_reset(*reset);
            }
            break;
        case TT_DESTROY:
            if (const auto* step = as<tt_step>(head)) {
                on_destroy(*step);
            }
            break;
        case TT_TIMEWAIT:
            if (const auto* timewait = as<tt_timewait>(head)) {
                on_timewait(*timewait);
            }
            break;
        case TT_SOCKET:
            if (const auto* row = as<tt_socket>(head)) {
                on_socket(*row);
            }
            break;
        case TT_HOLDER:
            if (const auto* row = as<tt_holder>(head)) {
                on_holder(*row);
            }
            break;
        case TT_START:
            if (const auto* start = as<tt_start>(head)) {
                on_start(*start);
            }
            break;
        case TT_SNAPSHOT:
            if (const auto* snapshot = as<tt_snapshot>(head)) {
                on_snapshot(*snapshot);
            }
            break;
        case TT_COUNTERS:
            if (const auto* counters = as<tt_counters>(head)) {
                on_counters(*counters);
            }
            break;
        case TT_CGROUP:
            if (const auto* cgroup = as<tt_cgroup>(head)) {
                processes_.name_cgroup(*cgroup, text_after(*cgroup));
            }
            break;
        case TT_END:
            on_end();
            end_ = head.time;
            break;
        case TT_GAP: gaps_ = true; break;
        default:  // ticks, namespaces, and what a newer recorder writes
            break;
    }
}

void ConnectionTable::expect(const tt_head& head) {
    if (!limits_.rows) {
        return;
    }
    // A connection's two ends are looked up when it is established, among all that stand in TIME_WAIT.
    if (head.type == TT_OPEN) {
        if (const auto* open = as<tt_open>(head)) {
            if (head.old_state == static_cast<std::uint8_t>(State::close)) {
                connecting_[open->step.cookie % connecting_.size()] = {open->step.cookie, ends_of(*open)};
            } else {
                connections_.fetch_waiting(ends_of(*open));
            }
        }
    } else if (head.type == TT_STEP && head.old_state == static_cast<std::uint8_t>(State::syn_sent)) {
        if (const auto* step = as<tt_step>(head)) {
            Connecting& known = connecting_[step->cookie % connecting_.size()];
            if (known.cookie == step->cookie) {
                known.ends.lport = head.lport;  // connect() has chosen it meanwhile
                connections_.fetch_waiting(known.ends);
            }
        }
    }
}

void ConnectionTable::forget_processes() {
    processes_.forget([this](const auto& mark) {
        connections_.each([&mark](const Connection& connection) {
            mark(connection.owner.process);
            mark(connection.closer);
        });
    });
}

void ConnectionTable::on_start(const tt_start& record) {
    clock_ = {record.realtime_offset_ns, record.boottime_offset_ns};
    const bool first = start_ == 0;
    for_each_setting(text_after(record), [this](std::string_view key, std::string_view value) {
        start_settings_[std::string(key)] = value;
    });
    if (first) {
        start_ = run_start_ = record.head.time;
        if (const auto began = number_in(start_setting(std::string(run_start_key))); began && *began >= 0) {
            run_start_ = static_cast<MonoNs>(*began);
            counters_repeated_ = counted_open_ = true;
        }
    }
    if (first) {
        time_wait_hook_ = start_setting("hook.time_wait").starts_with("fentry") ? HookHeard::not_yet : HookHeard::none;
        accept_hook_ = start_setting("hook.accept").starts_with("fentry") ? HookHeard::not_yet : HookHeard::none;
    }
    accepts_seen_ = serves("accept");
    destroys_seen_ = serves("destroy");
    sent_resets_seen_ = serves("reset_sent");
}

/// The kernel counts from the run's start; a reader of its last files tells what was lost in these.
void ConnectionTable::on_counters(const tt_counters& record) {
    if (record.lost_other > counters_.lost_other && (record.head.flags & TT_F_OWNERS) == 0) {
        others_lost_at_ = record.head.time;
    }
    counters_ = record;
    if (counters_repeated_) {
        before_ = record;
        counters_repeated_ = false;
    } else if (counted_open_) {
        before_.counted = record.counted;
        counted_open_ = false;
    }
}

std::string_view ConnectionTable::start_setting(const std::string& key) const {
    const auto found = start_settings_.find(key);
    return found != start_settings_.end() ? std::string_view(found->second) : std::string_view();
}

Connection& ConnectionTable::create(std::uint64_t cookie) {
    if (connections_.size() >= limits_.connections) {
        evict();
    }
    return connections_.create(cookie);
}

void ConnectionTable::erase(std::uint64_t cookie) {
    if (Connection* const connection = find_connection(cookie)) {
        connections_.erase(*connection);
    }
}

void ConnectionTable::evict() {
    if (Connection* const victim = connections_.next_victim()) {
        ++evicted_;
        held_.erase(victim->cookie);
        undecided_.erase(victim->cookie);
        connections_.erase(*victim);
    }
}

void ConnectionTable::adopt(Connection& connection, const tt_open& open) {
    connection.ends = ends_of(open);
    connection.addresses = true;
    if (open.listener != 0 && open.listener != connection.cookie) {
        connection.role = Role::passive;
        connection.listener = open.listener;
        inherit(connection);
    }
}

void ConnectionTable::mark_incomplete(Connection& connection) {
    if (connection.complete) {
        connection.complete = false;
        ++incomplete_;
    }
}

/// A connection of which nothing is known yet: its first event.
Connection& ConnectionTable::begin(const tt_step& step, State old, State fresh) {
    Connection& connection = create(step.cookie);
    const bool birth = (old == State::close && (fresh == State::syn_sent || fresh == State::listen)) ||
                       (old == State::listen && fresh == State::syn_recv) || old == State::syn_recv;
    connection.state = old;
    if (birth) {
        connection.opened = step.head.time;
        if (fresh == State::syn_sent) {
            connection.role = Role::active;
        } else if (fresh != State::listen) {
            connection.role = Role::passive;
        }
        if (const auto before = dormant_.find(step.cookie); before != dormant_.end()) {
            if (old == State::close) {
                connection.generation = before->second.generation + 1;
                connection.in_state_known = true;
                connection.last_time = before->second.closed;
            }
            dormant_.erase(step.cookie);
        }
        return connection;
    }
    connection.before_trace = true;
    if (snapshot_done_) {
        mark_incomplete(connection);  // it stood neither in the snapshot nor in the stream
    }
    return connection;
}

void ConnectionTable::on_step(const tt_step& step, const tt_open* open, const tt_close* close) {
    const auto old = static_cast<State>(step.head.old_state);
    const auto fresh = static_cast<State>(step.head.new_state);
    if (old == fresh) {
        return;
    }
    Connection* connection = find_connection(step.cookie);
    if ((step.head.flags & TT_F_BACKUP) != 0) {
        const bool again =
            connection != nullptr && connection->last_old == old &&
            (connection->state == fresh || (fresh == State::close && connection->state == State::time_wait));
        const bool gone = connection == nullptr && fresh == State::close &&
                          std::find(just_ended_.begin(), just_ended_.end(), step.cookie) != just_ended_.end();
        if (again || gone) {
            ++duplicates_;  // both programs saw it
            return;
        }
    }
    ++transitions_;
    if (connection != nullptr && (connection->state == State::time_wait || connection->held)) {  // another life of it
        const std::uint32_t generation = connection->generation;
        const MonoNs closed = connection->last_time;
        if (connection->held) {
            release(step.cookie);
        }
        erase(step.cookie);
        if (old == State::close) {  // and its first step was not lost
            dormant_[step.cookie] = {closed, generation, false};
        }
        connection = nullptr;
    }
    if (connection == nullptr) {
        connection = &begin(step, old, fresh);
    } else if (connection->state != old) {
        if (connection->state != State::none) {  // none: only its addresses have come so far
            mark_incomplete(*connection);
        }
        connection->in_state_known = false;
    }
    if (follows_only()) {
        follow(*connection, step, open, close);
        return;
    }
    connections_.stop_waiting(*connection);
    if (open != nullptr) {
        adopt(*connection, *open);
        if (fresh == State::syn_sent) {
            connection->bound = step.head.lport != 0;  // connect() has chosen none yet
        }
    } else if (step.head.lport != 0) {
        connection->ends.lport = step.head.lport;
    }
    if (close != nullptr && connection->ends.netns == 0) {
        connection->ends.netns = close->netns;
    }
    name_owner(*connection, step, close);
    const bool sends_fin = fresh == State::fin_wait1 || fresh == State::last_ack;
    const bool sends_rst = fresh == State::close && old != State::listen && old != State::syn_sent;
    if (connection->closer == 0 && (sends_fin || sends_rst)) {
        connection->closer = actor_of(*connection, step, close);
    }
    if (connection->in_state_known && connection->span_count < Connection::kSpans && old != State::close &&
        old != State::listen) {
        connection->spans[connection->span_count++] = {old, elapsed(connection->last_time, step.head.time)};
    }
    if (close != nullptr && old != State::listen) {
        connection->last_old = old;
        end(*connection, *close);
        return;
    }
    if (old == State::syn_sent || (open != nullptr && (fresh == State::syn_recv || old == State::syn_recv))) {
        end_reused(*connection, step.head.time);
    }
    if (tells(old, fresh)) {
        report(*connection, step.head.time, old, fresh, actor_of(*connection, step, close), false, nullptr);
    }
    connection->last_old = old;
    connection->state = fresh;
    connection->last_time = step.head.time;
    connection->in_state_known = true;
    if (fresh == State::close) {
        if (close != nullptr) {  // a listener
            leave(*connection, *close, false);
        } else {
            erase(step.cookie);  // no program writes this: a damaged recording
        }
    }
}

/// What the next step and the next snapshot are held against.
void ConnectionTable::follow(Connection& connection, const tt_step& step, const tt_open* open, const tt_close* close) {
    if (open != nullptr) {
        connection.ends.netns = open->netns;
        connection.addresses = true;
    }
    connection.last_old = static_cast<State>(step.head.old_state);
    connection.state = static_cast<State>(step.head.new_state);
    connection.last_time = step.head.time;
    connection.in_state_known = true;
    if (connection.state != State::close) {
        return;
    }
    if (close != nullptr) {
        leave(connection, *close, false);
    } else {
        erase(step.cookie);  // no program writes this: a damaged recording
    }
}

void ConnectionTable::report(const Connection& connection, MonoNs time, State old, State fresh, ProcessId actor,
                             bool inferred, const State* substate) {
    TransitionRow& row = transition_;
    row.time = time;
    row.cookie = connection.cookie;
    row.generation = connection.generation;
    row.ends = connection.ends;
    row.old_state = old;
    row.new_state = fresh;
    row.in_old_ns =
        connection.in_state_known ? std::optional<std::uint64_t>(elapsed(connection.last_time, time)) : std::nullopt;
    row.owner = connection.owner;
    row.actor = actor;
    row.closer = connection.closer;
    row.tw_substate = substate != nullptr ? std::optional<State>(*substate) : std::nullopt;
    row.inferred = inferred;
    row.bound = connection.bound;
    observer_.on_transition(row);
}

void ConnectionTable::on_endpoint(const tt_open& open) {
    Connection* connection = find_connection(open.step.cookie);
    if (connection == nullptr) {
        connection = &create(open.step.cookie);
        connection->before_trace = true;
        if (snapshot_done_) {
            mark_incomplete(*connection);
        }
    }
    const Endpoints known = connection->ends;
    if (!connection->addresses) {
        adopt(*connection, open);
    }
    if (known.lport != 0 && connection->ends.lport == 0) {
        connection->ends.lport = known.lport;
    }
}

void ConnectionTable::on_destroy(const tt_step& step) {
    Connection* connection = find_connection(step.cookie);
    if (connection == nullptr) {
        dormant_.erase(step.cookie);
        return;
    }
    if (connection->held) {
        // A RST that is waited for follows the destruction too.
        if (const auto held = held_.find(step.cookie); held != held_.end() && held->second.wait != Wait::reset) {
            release(step.cookie);
        }
        return;
    }
    if (connection->state == State::time_wait || connection->state == State::listen) {
        return;
    }
    // The full socket is gone and nobody saw it close.
    mark_incomplete(*connection);
    tt_close close{};
    close.step = step;
    close.step.head.old_state = static_cast<std::uint8_t>(connection->state);
    finish(*connection, close);
    erase(step.cookie);
}

void ConnectionTable::on_reset(const tt_reset& reset) {
    if (!limits_.rows) {
        return;
    }
    Connection* connection = find_connection(reset.cookie);
    if (connection == nullptr || connection->state == State::time_wait || connection->state == State::listen) {
        return;
    }
    if (connection->state == State::syn_sent || connection->state == State::syn_recv) {
        return;  // answers a segment that does not belong here, and the handshake goes on
    }
    if ((reset.head.flags & TT_F_SENT) == 0) {
        connection->reset_received = true;
        return;
    }
    const auto state = static_cast<State>(reset.head.old_state);
    if (state == State::time_wait || state == State::syn_sent) {
        return;  // by its time-wait socket; or to a stranger, and the connect goes on
    }
    connection->reset_sent = true;
    connection->reset_last = state == State::close;
    connection->reset_reason = static_cast<std::uint8_t>(reset.reason);
    const auto held = held_.find(reset.cookie);
    if (undecided_.contains(reset.cookie) || (held != held_.end() && held->second.wait == Wait::reset)) {
        release(reset.cookie);
    }
}

TraceEnd ConnectionTable::trace_end() const {
    TraceEnd end;
    end.truncated = end_ == 0 || gaps_;
    end.gaps = gaps_;
    end.time = end_ != 0 ? end_ : now_;
    const auto since = [](std::uint64_t now, std::uint64_t before) { return now > before ? now - before : 0; };
    end.transitions = transitions_ + since(counters_.counted, before_.counted);
    // What both programs wrote counts as caught twice; where its second record found no room, it counts as lost as well.
    const std::uint64_t lost = since(counters_.lost, before_.lost);
    const auto missed = static_cast<std::int64_t>(counters_.missed - before_.missed + duplicates_);
    end.lost = lost - (missed < 0 ? std::min<std::uint64_t>(lost, -static_cast<std::uint64_t>(missed)) : 0);
    end.missed = missed < 0 ? 0 : static_cast<std::uint64_t>(missed);
    end.lost_other = since(counters_.lost_other, before_.lost_other);
    end.incomplete_connections = incomplete_;
    end.evicted = evicted_;
    end.window_ns = end.time > start_ ? end.time - start_ : 0;
    constexpr std::string_view kHook = "hook.";
    for (const auto& [key, value] : start_settings_) {
        if (key.starts_with(kHook)) {
            end.hooks[key.substr(kHook.size())] = value;
        }
    }
    constexpr const char* kMute = " (never fired, and should have)";
    if (time_wait_hook_ == HookHeard::no) {
        end.hooks["time_wait"] += kMute;
    }
    if (accept_hook_ == HookHeard::no) {
        end.hooks["accept"] += kMute;
    }
    return end;
}

}  // namespace tcptrail
