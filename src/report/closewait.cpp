// SPDX-License-Identifier: Apache-2.0
#include "report/closewait.h"

#include <algorithm>
#include <limits>
#include <set>
#include <tuple>
#include <utility>

namespace tcptrail::report {
namespace {

constexpr std::uint64_t ms = 1'000'000;  // ns
/// A snapshot speaks of a report's moment if it ended no longer before.
constexpr std::uint64_t fresh = 1000 * ms;
/// What the kernel tells in jiffies may be too large by one of them: HZ is 100 at least.
constexpr std::uint64_t jiffy_at_most = 10 * ms;
constexpr std::uint32_t not_known = ~std::uint32_t{0};

/// Since when, at the latest, a socket that `row` shows in CLOSE_WAIT has been there.
///
/// rcv_tstamp is the time of the last segment whose ACK the socket took. The FIN's own segment is one, so the FIN had
/// come by then; what came later (ACKs of data sent since, keepalive) makes the bound weaker, never false. A FIN that
/// the network brought late, behind an ACK sent after it, does not count: then the bound is too early by that delay.
MonoNs since_at_latest(const tt_socket& row) {
    const std::uint64_t quiet = row.last_recv_ms != not_known ? row.last_recv_ms * ms : 0;
    return quiet > jiffy_at_most && quiet < row.head.time ? row.head.time - quiet + jiffy_at_most : row.head.time;
}

Unread kind_of(std::uint32_t unread) {
    return unread == 0 ? Unread::eof_read : unread == 1 ? Unread::fin_only : Unread::data;
}

}  // namespace

std::string_view name(Unread unread) {
    switch (unread) {
        case Unread::data: return "data";
        case Unread::fin_only: return "fin_only";
        case Unread::eof_read: return "eof_read";
    }
    return "";
}

struct CloseWaitReport::Gathered {
    CloseWaitProcess row;
    std::uint64_t entered = 0;   // in the window, and still there
    std::uint64_t gathered = 0;  // those that stay and came since one was let go
    MonoNs first = std::numeric_limits<MonoNs>::max();
    MonoNs last = 0;
    Left left;
};

void CloseWaitReport::take(const tt_head& record) {
    switch (record.type) {
        case TT_SNAPSHOT: {
            if (record.size < sizeof(tt_snapshot)) {
                return;
            }
            const auto& mark = reinterpret_cast<const tt_snapshot&>(record);
            gathering_open_ = true;
            if ((mark.what & TT_SNAP_MARK) != 0 && (record.flags & TT_F_END) != 0) {
                facts_ = std::exchange(gathering_, {});
                facts_time_ = record.time;
                gathering_open_ = false;
            }
            return;
        }
        case TT_SOCKET: {
            const auto& row = reinterpret_cast<const tt_socket&>(record);
            if (!gathering_open_ || record.size < sizeof(tt_socket) ||
                static_cast<State>(record.new_state) != State::close_wait) {
                return;
            }
            Facts& facts = gathering_[row.cookie];
            facts.unread = row.unread;
            facts.accepted = (record.flags & TT_F_HAS_SOCKET) != 0;
            facts.since = since_at_latest(row);
            if (const auto before = facts_.find(row.cookie); before != facts_.end()) {
                facts.since = std::min(facts.since, before->second.since);
            }
            return;
        }
        case TT_HOLDER: {
            const auto& row = reinterpret_cast<const tt_holder&>(record);
            if (record.size < sizeof(tt_holder)) {
                return;
            }
            if (const auto found = gathering_.find(row.cookie); found != gathering_.end()) {
                found->second.holders.push_back({table_.process_of(row.process.id), row.fd});
            }
            return;
        }
        default: return;
    }
}

void CloseWaitReport::heard(const TransitionRow& row) {
    if (row.old_state == State::close_wait &&
        (!row.in_old_ns || *row.in_old_ns >= leak_stays(older_than_ns_) || row.time - *row.in_old_ns < window_from_)) {
        if (filter_.matches(row, table_)) {
            let_go(row.owner, row.time, row.in_old_ns ? std::optional(row.time - *row.in_old_ns) : std::nullopt);
        }
    }
}

void CloseWaitReport::heard(const ConnectionRow& row) {
    // Nobody saw it leave the state; it did so between its last transition and now.
    const track::Connection* connection = row.complete ? nullptr : table_.connection(row.cookie);
    if (connection != nullptr && connection->state == State::close_wait && filter_.matches(row, table_)) {
        let_go(row.owner, row.time, connection->in_state_known ? std::optional(connection->last_time) : std::nullopt);
    }
}

void CloseWaitReport::let_go(const Owner& owner, MonoNs time, std::optional<MonoNs> since) {
    if (left_.size() >= left_crowded_at_) {
        forget_left();
    }
    Left& left = left_[key_of(known_process(owner, table_))];
    if (!since || time - *since >= leak_stays(older_than_ns_)) {
        left.last = time;
    }
    if (!since || *since < window_from_) {
        ++left.from_before;
    }
}

void CloseWaitReport::forget_left() {
    std::set<WhoKey> standing;
    table_.for_each([&](const track::Connection& connection) {
        if (connection.state == State::close_wait) {
            standing.insert(key_of(known_process(connection.owner, table_)));
        }
    });
    std::erase_if(left_, [&](const auto& left) { return !standing.contains(left.first); });
    left_crowded_at_ = std::max(most_left, 2 * left_.size());
}

bool CloseWaitReport::matches(const track::Connection& connection, const Facts* facts) const {
    std::vector<ProcessId> processes = {connection.owner.process};
    if (facts != nullptr) {
        for (const Hold& hold : facts->holders) {
            processes.push_back(hold.process);
        }
    }
    return filter_.matches(connection.ends, processes, table_);
}

void CloseWaitReport::gather(const track::Connection& connection, MonoNs from, MonoNs to,
                             std::map<WhoKey, Gathered>& by, CloseWaitSummary& summary) const {
    const auto found = facts_.find(connection.cookie);
    const Facts* facts = found != facts_.end() ? &found->second : nullptr;
    MonoNs since = connection.last_time;
    if (!connection.in_state_known && facts != nullptr) {
        since = std::min(since, facts->since);
    }
    const std::uint64_t age = to > since ? to - since : 0;
    const bool old = age >= older_than_ns_;
    ++summary.now;
    summary.older += old ? 1 : 0;
    if (!matches(connection, facts)) {
        return;
    }
    const Process* owner = known_process(connection.owner, table_);
    Gathered& group = by[key_of(owner)];
    if (group.row.now == 0) {
        group.row.who = who_of(owner, connection.owner.evidence);
    }
    ++group.row.now;
    group.entered += connection.in_state_known && since >= from ? 1 : 0;
    group.row.oldest_ns = std::max(group.row.oldest_ns, age);
    if (!old) {
        return;
    }
    ++group.row.older;
    if (connection.in_state_known && age >= leak_stays(older_than_ns_) && since > group.left.last) {
        ++group.gathered;
        group.first = std::min(group.first, since);
        group.last = std::max(group.last, since);
    }
    group.row.rows.push_back(row_of(connection, age, facts, to));
}

CloseWaitRow CloseWaitReport::row_of(const track::Connection& connection, std::uint64_t age, const Facts* facts,
                                     MonoNs to) const {
    CloseWaitRow row;
    row.cookie = connection.cookie;
    row.ends = connection.ends;
    row.age_ns = age;
    row.age_is_lower_bound = !connection.in_state_known;
    if (facts == nullptr || to > facts_time_ + fresh) {
        return row;
    }
    row.unread = kind_of(facts->unread);
    row.unread_bytes = facts->unread > 0 ? facts->unread - 1 : 0;
    row.accepted = facts->accepted;
    row.holders.emplace();
    for (const Hold& hold : facts->holders) {
        const Process* process = table_.find(hold.process);
        row.holders->push_back(process != nullptr ? CloseWaitHolder{process->pid, process->comm, hold.fd}
                                                  : CloseWaitHolder{0, "", hold.fd});
    }
    std::sort(row.holders->begin(), row.holders->end(), [](const CloseWaitHolder& a, const CloseWaitHolder& b) {
        return std::pair(a.pid, a.fd) < std::pair(b.pid, b.fd);
    });
    return row;
}

CloseWaitSummary CloseWaitReport::cut(MonoNs from, MonoNs to) {
    CloseWaitSummary summary;
    summary.time = to;
    summary.window_ns = to > from ? to - from : 0;
    summary.older_than_ns = older_than_ns_;
    std::map<WhoKey, Gathered> by;
    for (const auto& [key, left] : left_) {
        by[key].left = left;
    }
    table_.for_each([&](const track::Connection& connection) {
        if (connection.state == State::close_wait) {
            gather(connection, from, to, by, summary);
        }
    });
    for (auto& [key, group] : by) {
        CloseWaitProcess& row = group.row;
        if (row.now == 0) {
            continue;
        }
        const std::uint64_t gone = group.left.from_before;
        if (summary.window_ns != 0) {
            row.growth_per_s = (static_cast<double>(group.entered) - static_cast<double>(gone)) * 1e9 /
                               static_cast<double>(summary.window_ns);
        }
        const bool let_go_now = group.left.last != 0 && group.left.last >= from;
        row.leak = group.gathered >= leak_least && group.last - group.first >= leak_spread(older_than_ns_) &&
                   group.entered >= gone && !let_go_now;
        std::sort(row.rows.begin(), row.rows.end(), [](const CloseWaitRow& a, const CloseWaitRow& b) {
            return a.age_ns != b.age_ns ? a.age_ns > b.age_ns : a.cookie < b.cookie;
        });
        summary.processes.push_back(std::move(row));
    }
    std::stable_sort(
        summary.processes.begin(), summary.processes.end(), [](const CloseWaitProcess& a, const CloseWaitProcess& b) {
            return std::tuple(b.leak, b.older, b.now, b.oldest_ns) < std::tuple(a.leak, a.older, a.now, a.oldest_ns);
        });
    for (auto left = left_.begin(); left != left_.end();) {
        if (by.at(left->first).row.now == 0) {
            left = left_.erase(left);  // it holds none any more
        } else {
            left->second.from_before = 0;
            ++left;
        }
    }
    window_from_ = to;
    return summary;
}

}  // namespace tcptrail::report
