// SPDX-License-Identifier: Apache-2.0
#include "report/timewait.h"

#include <array>
#include <cstring>

#include "report/hash.h"
#include "report/timewait_advice.h"

namespace tcptrail::report {
namespace {

constexpr std::uint64_t failure_every_ns = 1'000'000'000;
constexpr std::size_t most_failing = 10'000;    // processes and destinations whose rows are held back
constexpr std::uint64_t time_wait_ms = 60'000;  // TCP_TIMEWAIT_LEN
constexpr std::uint16_t inet6 = 10;             // AF_INET6
constexpr MonoNs stands = ~MonoNs{0};           // when one ends that has not ended

TimeWaitEntry entry_of(const ConnectionRow& row) {
    return {row.ends, row.owner, row.closer, row.role, row.lifetime_ns};
}

TimeWaitEntry entry_of(const track::Connection& connection) {
    return {connection.ends, connection.owner, connection.closer, connection.role, std::nullopt};
}

Endpoints ends_of(const tt_socket& row) {
    Endpoints ends;
    ends.netns = row.netns;
    ends.family = row.family == inet6 ? Family::ipv6 : Family::ipv4;
    ends.lport = row.head.lport;
    ends.rport = row.rport;
    std::memcpy(ends.laddr.data(), row.laddr, sizeof(row.laddr));
    std::memcpy(ends.raddr.data(), row.raddr, sizeof(row.raddr));
    return ends;
}

/// When a time-wait socket that `row` shows began to wait.
MonoNs entered(const tt_socket& row) {
    const std::uint64_t waited_ms = row.remaining_ms < time_wait_ms ? time_wait_ms - row.remaining_ms : 0;
    const std::uint64_t waited = waited_ms * 1'000'000;
    return row.head.time > waited ? row.head.time - waited : 0;
}

bool has_owner(const Owner& owner) {
    return owner.evidence != Evidence::unknown;
}

}  // namespace

bool TimeWaitReport::shows(const Endpoints& ends, ProcessId owner, ProcessId closer) const {
    return filter_.matches(ends, std::array{owner, closer}, table_);
}

void TimeWaitReport::on_transition(const TransitionRow& row) {
    if (row.new_state == State::time_wait) {
        if (row.tw_substate && filter_.matches_netns(row.ends.netns)) {
            ++fin_wait2_;
        }
    } else if (row.old_state == State::syn_sent) {
        if (row.new_state == State::established && filter_.matches_netns(row.ends.netns)) {
            ports_.opened(row);
        }
    } else if (row.old_state == State::time_wait && filter_.matches_netns(row.ends.netns)) {
        ++ended_;
        const track::Connection* connection = open_ || whole_ ? table_.connection(row.cookie) : nullptr;
        const bool to_be_counted = open_ && !gap_ && !counts_.contains(row.ends.netns);
        if (connection != nullptr && (to_be_counted || counted(row.ends.netns, connection->last_time, row.time))) {
            ended_lately_.push_back({entry_of(*connection), connection->last_time, row.time});
        }
    }
}

void TimeWaitReport::created(const TimeWaitEntry& entry, bool fin_wait2) {
    ++created_;
    fin_wait2_ += fin_wait2 ? 1 : 0;
    if (shows(entry.ends, entry.owner.process, entry.closer)) {
        ledger_.add(entry);
    }
}

std::optional<ConnectFailedRow> TimeWaitReport::on_ended(const ConnectionRow& row) {
    if (!filter_.matches_netns(row.ends.netns)) {
        return std::nullopt;
    }
    if (row.tw_substate) {
        if (!row.time_wait) {
            overflow_.add(row.ends.netns, {row.cookie, row.time, *row.tw_substate == State::fin_wait2, entry_of(row)});
        } else if (*row.time_wait) {
            created(entry_of(row), false);  // the transition told the kind
        } else {
            ++refused_;
        }
    }
    switch (row.role) {
        case Role::passive: return std::nullopt;
        case Role::active: break;
        case Role::unknown: {
            const PortSettings* settings = ports_.settings(row.ends.netns);
            if (settings != nullptr && settings->in_range(row.ends.lport)) {
                ports_.ended(row);
            }
            return std::nullopt;
        }
    }
    if (row.reason != CloseReason::no_local_port) {
        if (row.before_trace || row.established_ns) {  // else it never counted as opened
            ports_.ended(row);
        }
        return std::nullopt;
    }
    ports_.failed(row);
    if (!filter_.matches(row, table_)) {
        return std::nullopt;
    }
    const auto key =
        std::pair(key_of(known_process(row.owner, table_)), std::tuple(row.ends.netns, row.ends.raddr, row.ends.rport));
    if (failures_.size() >= most_failing && !failures_.contains(key)) {
        return failure(row, 1);
    }
    Failures& failures = failures_[key];
    if (failures.told != 0 && row.time < failures.told + failure_every_ns) {
        ++failures.untold;
        failures.last = row;
        return std::nullopt;
    }
    failures.told = row.time;
    return failure(row, std::exchange(failures.untold, 0) + 1);
}

ConnectFailedRow TimeWaitReport::failure(const ConnectionRow& row, std::uint64_t count) {
    return {row.time, row.cookie, row.ends, row.owner, count, ports_.holders(row.ends, row.time)};
}

std::vector<ConnectFailedRow> TimeWaitReport::untold_failures() {
    std::vector<ConnectFailedRow> rows;
    for (auto& [key, failures] : failures_) {
        if (failures.untold != 0) {
            rows.push_back(failure(failures.last, std::exchange(failures.untold, 0)));
        }
    }
    return rows;
}

void TimeWaitReport::on_record(const tt_head& record) {
    switch (record.type) {
        case TT_SNAPSHOT:
            if (record.size >= sizeof(tt_snapshot)) {
                on_snapshot(reinterpret_cast<const tt_snapshot&>(record));
            }
            break;
        case TT_SOCKET:
            if (open_ && record.size >= sizeof(tt_socket)) {
                on_socket(reinterpret_cast<const tt_socket&>(record));
            }
            break;
        case TT_NETNS:
            if (record.size >= sizeof(tt_netns)) {
                on_netns(reinterpret_cast<const tt_netns&>(record));
            }
            break;
        case TT_GAP:  // its counts and its end may have been in there
            gap_ = true;
            ended_lately_.clear();
            break;
        default: break;
    }
}

void TimeWaitReport::on_snapshot(const tt_snapshot& record) {
    if (!open_) {
        open_ = true;
        whole_ = false;
        ++snapshot_;
        what_ = 0;
        gap_ = false;
        began_ = record.head.time;
        counts_.clear();
        before_trace_ = 0;
        others_.clear();
        ended_lately_.clear();
    }
    what_ |= record.what;
    if ((record.what & TT_SNAP_SOCKETS) != 0 && (record.what & TT_SNAP_MARK) == 0) {
        told_.insert(record.netns);
    }
    if ((record.what & TT_SNAP_MARK) != 0 && (record.head.flags & TT_F_END) != 0) {
        end_snapshot(record);
    }
}

void TimeWaitReport::on_socket(const tt_socket& row) {
    if (static_cast<State>(row.head.new_state) != State::time_wait || !filter_.matches_netns(row.netns)) {
        return;
    }
    if (row.cookie != 0) {
        if (table_.connection(row.cookie) != nullptr || overflow_.shows(row.netns, row.cookie)) {
            return;
        }
        if (const auto proven = proven_.find(row.cookie); proven != proven_.end()) {
            proven.value().seen = snapshot_;
            return;
        }
    }
    // One without a cookie had its last transition before the trace, which gives one to each socket it sees. It may get
    // one later: iter/tcp itself gives one to the socket at which a read stopped (6.18). So the ends say who it is.
    const Endpoints ends = ends_of(row);
    const std::uint64_t hash = hash_of(ends);
    if ((what_ & TT_SNAP_FIRST) != 0) {
        older_.insert(hash);
    }
    if (row.cookie == 0 || older_.contains(hash)) {
        ++before_trace_;
    }
    others_.push_back({ends, Role::unknown, {}, entered(row)});
}

void TimeWaitReport::on_netns(const tt_netns& record) {
    if (!filter_.matches_netns(record.netns)) {
        return;
    }
    told_.insert(record.netns);
    NetnsFacts facts;
    read_facts(record, facts);
    if ((record.head.flags & TT_F_COUNTERS) == 0) {
        ports_.settings(record.netns, facts);
        return;
    }
    if (!open_) {
        return;
    }
    const auto counter = [&](const char* name) -> std::optional<std::int64_t> {
        const auto found = facts.counters.find(name);
        return found != facts.counters.end() ? std::optional(found->second) : std::nullopt;
    };
    const auto moment = [&](const char* name) {
        return static_cast<MonoNs>(counter(name).value_or(static_cast<std::int64_t>(record.head.time)));
    };
    if (const auto tw = counter("sockstat.TCP.tw")) {
        counts_[record.netns] = {moment("sockstat.read_ns"), static_cast<std::uint64_t>(*tw)};
    }
    if (const auto refused = counter("TcpExt.TCPTimeWaitOverflow")) {
        settle(record.netns, moment("netstat.read_ns"), *refused);
    }
}

void TimeWaitReport::settle(std::uint32_t netns, MonoNs time, std::int64_t refused) {
    const OverflowSettled settled = overflow_.settle(netns, time, refused);
    for (const DoubtfulEntry& standing : settled.standing) {
        created(standing.entry, standing.fin_wait2);
        proven_[standing.cookie] = {standing.entry, standing.time, snapshot_};
    }
    for (const DoubtfulEntry& gone : settled.gone) {
        created(gone.entry, gone.fin_wait2);
    }
    created_ += settled.anonymous;
    ended_ += settled.gone.size() + settled.anonymous;
    refused_ += settled.refused;
    undecided_ += settled.undecided;
    left_ += settled.left;
}

void TimeWaitReport::end_snapshot(const tt_snapshot& mark) {
    open_ = false;
    mark_ = mark.head.time;
    whole_ = (what_ & TT_SNAP_REPORT) != 0;
    std::erase_if(ended_lately_,
                  [&](const Ended& ended) { return !counted(ended.entry.ends.netns, ended.entered, ended.time); });
    if ((what_ & TT_SNAP_SOCKETS) != 0 && !gap_) {
        ports_.keep_settings(told_);
        left_ += overflow_.keep(told_, began_);
    }
    told_.clear();
    for (auto at = proven_.begin(); at != proven_.end();) {
        const Proven& proven = at->second;
        if (proven.seen == snapshot_) {
            others_.push_back({proven.entry.ends, proven.entry.role, proven.entry.owner, proven.entered});
            ++at;
        } else {
            ++ended_;
            at = proven_.erase(at);
        }
    }
    ports_.others(others_);
}

/// Whether it stood when the kernel's count of its namespace was read; not where the namespace was gone by then.
bool TimeWaitReport::counted(std::uint32_t netns, MonoNs entered, MonoNs ended) const {
    const auto kernel = counts_.find(netns);
    return kernel != counts_.end() && entered <= kernel->second.time && ended > kernel->second.time;
}

void TimeWaitReport::count_standing(TimeWaitSummary& summary, bool by_snapshot) {
    ledger_.forget_standing();
    std::uint64_t explained = 0;
    std::uint64_t ownerless = 0;
    const auto count = [&](const TimeWaitEntry& entry) {
        ++(has_owner(entry.owner) ? explained : ownerless);
        if (shows(entry.ends, entry.owner.process, entry.closer)) {
            ledger_.stands(entry);
        }
    };
    table_.for_each([&](const track::Connection& connection) {
        if (connection.state != State::time_wait || !filter_.matches_netns(connection.ends.netns)) {
            return;
        }
        if (!by_snapshot || counted(connection.ends.netns, connection.last_time, stands)) {
            count(entry_of(connection));
        }
    });
    for (const auto& [cookie, proven] : proven_) {
        count(proven.entry);
    }
    if (!by_snapshot) {
        return;
    }
    for (const Ended& ended : ended_lately_) {
        count(ended.entry);
    }
    std::uint64_t kernel = 0;
    for (const auto& [netns, of_netns] : counts_) {
        kernel += of_netns.tw;
    }
    summary.kernel_now = kernel;
    summary.explained_now = explained;
    summary.ownerless_now = ownerless;
    summary.before_trace_now = before_trace_;
}

TimeWaitSummary TimeWaitReport::summary(MonoNs from, MonoNs to) {
    TimeWaitSummary summary;
    summary.time = to;
    summary.window_ns = to > from ? to - from : 0;
    const bool by_snapshot = whole_ && ((what_ & TT_SNAP_LAST) != 0 || to == mark_);
    count_standing(summary, by_snapshot);
    summary.created = created_;
    summary.entered_as_fin_wait2 = fin_wait2_;
    summary.ended = ended_;
    summary.undecided = undecided_ + left_ + overflow_.pending();
    if (left_ + overflow_.pending() == 0) {
        summary.overflow = refused_;
    }
    summary.left_out = ledger_.left_out();
    summary.origins = ledger_.origins(summary.window_ns);
    summary.ports = ports_.rows(to, filter_);
    summary.advice = timewait_advice(summary, ports_);
    return summary;
}

void TimeWaitReport::clear(MonoNs now) {
    ledger_.clear();
    ports_.clear(now);
    created_ = fin_wait2_ = ended_ = refused_ = undecided_ = left_ = 0;
    whole_ = false;
    std::erase_if(failures_, [&](const auto& failures) { return failures.second.told + failure_every_ns < now; });
}

}  // namespace tcptrail::report
