// SPDX-License-Identifier: Apache-2.0
#include "report/listen.h"

#include <algorithm>

#include "report/owning.h"
#include "report/syn_flood.h"

#include <tcptrail/record_text.h>

namespace tcptrail::report {
namespace {

constexpr std::uint32_t never = ~0U;
constexpr std::uint64_t cookie_stamp_ms = 2000;  // the kernel keeps the time of the last SYN cookie to a second or so

State state_of(const tt_socket& row) {
    return static_cast<State>(row.head.new_state);
}

bool is_half_open(const tt_socket& row) {
    return state_of(row) == State::new_syn_recv && (row.close_flags & TT_C_ACKED) == 0;
}

std::pair<Address, std::uint16_t> peer_of(const tt_socket& row) {
    return {ends_of(row).raddr, row.rport};
}

std::uint64_t counter(const NetnsFacts& facts, const std::string& name) {
    const auto found = facts.counters.find(name);
    return found != facts.counters.end() && found->second > 0 ? static_cast<std::uint64_t>(found->second) : 0;
}

std::optional<std::int64_t> setting(const NetnsFacts& facts, const std::string& name) {
    const auto found = facts.settings.find(name);
    return found != facts.settings.end() ? number_in(found->second) : std::nullopt;
}

/// Whose number sk_max_ack_backlog is.
std::optional<LimitBy> accept_limit_by(std::uint32_t limit, const NetnsFacts& facts) {
    const auto most = setting(facts, "net.core.somaxconn");
    if (!most || limit > *most) {
        return std::nullopt;  // it was another one when listen() was called
    }
    return limit < *most ? LimitBy::listen : LimitBy::somaxconn;
}

/// Without cookies the kernel keeps a quarter of tcp_max_syn_backlog for peers it knows.
std::optional<std::uint32_t> without_cookies(const NetnsFacts& facts) {
    const auto cookies = setting(facts, "net.ipv4.tcp_syncookies");
    const auto backlog = setting(facts, "net.ipv4.tcp_max_syn_backlog");
    if (cookies != 0 || !backlog) {
        return std::nullopt;
    }
    return static_cast<std::uint32_t>(*backlog - (*backlog >> 2));
}

/// The listeners of the namespace that sent a SYN cookie within so long.
std::size_t cookie_senders(const std::vector<const tt_socket*>& listeners, std::uint32_t netns,
                           std::uint64_t within_ms) {
    return static_cast<std::size_t>(std::count_if(listeners.begin(), listeners.end(), [&](const tt_socket* row) {
        return row->netns == netns && row->last_recv_ms != never && row->last_recv_ms <= within_ms;
    }));
}

int trouble(const ListenerRow& row) {
    return row.syn_flood ? 3 : row.window.drops.value_or(0) > 0 ? 2 : row.accept_full() ? 1 : 0;
}

bool comes_first(const ListenerRow& a, const ListenerRow& b) {
    const auto key = [](const ListenerRow& row) {
        return std::tuple(trouble(row), row.since_start.drops.value_or(0), row.established, row.accept_high,
                          row.syn_now);
    };
    if (key(a) != key(b)) {
        return key(a) > key(b);
    }
    return std::tuple(a.ends.netns, a.ends.lport, a.ends.laddr, a.cookie) <
           std::tuple(b.ends.netns, b.ends.lport, b.ends.laddr, b.cookie);
}

std::vector<SynSource> biggest(const std::map<Address, std::uint64_t>& sources) {
    std::vector<SynSource> sorted;
    sorted.reserve(sources.size());
    for (const auto& [raddr, half_open] : sources) {
        sorted.push_back({raddr, half_open});
    }
    std::stable_sort(sorted.begin(), sorted.end(),
                     [](const SynSource& a, const SynSource& b) { return a.half_open > b.half_open; });
    sorted.resize(std::min(sorted.size(), most_sources));
    return sorted;
}

}  // namespace

std::string_view name(LimitBy limit) {
    switch (limit) {
        case LimitBy::listen: return "listen";
        case LimitBy::somaxconn: return "somaxconn";
        case LimitBy::tcp_max_syn_backlog: return "tcp_max_syn_backlog";
    }
    return "unknown";
}

void ListenReport::take(const tt_head& record) {
    queues_.take(record);
    if (snapshots_.take(record)) {
        fresh_ = true;
        if (!base_) {
            base_ = base_of(*snapshots_.latest());
        }
    }
}

ListenReport::Part ListenReport::part_of(const Snapshot& snapshot) {
    Part part;
    part.time = snapshot.ended;
    std::set<std::uint64_t> seen;
    for (const tt_socket& row : snapshot.sockets) {
        if (state_of(row) == State::listen && seen.insert(row.cookie).second) {
            part.listeners.push_back(&row);
        } else if (is_half_open(row)) {
            part.half_open[row.listener].push_back(&row);
        }
    }
    return part;
}

ListenReport::Base ListenReport::base_of(const Snapshot& snapshot) {
    Base base;
    base.time = snapshot.ended;
    for (const tt_socket& row : snapshot.sockets) {
        if (state_of(row) == State::listen) {
            base.drops[row.cookie] = row.drops;
        } else if (is_half_open(row)) {
            base.half_open[row.listener].insert(peer_of(row));
        }
    }
    for (const auto& [netns, facts] : snapshot.namespaces) {
        base.counters[netns] = facts.counters;
    }
    return base;
}

std::uint64_t ListenReport::grown(const NetnsFacts& facts, std::uint32_t netns, const std::string& counter_name) const {
    const auto before = base_->counters.find(netns);
    std::int64_t then = 0;  // a namespace that is new began at 0
    if (before != base_->counters.end()) {
        const auto found = before->second.find(counter_name);
        then = found != before->second.end() ? found->second : 0;
    }
    const std::uint64_t now = counter(facts, counter_name);
    return now > static_cast<std::uint64_t>(then) ? now - static_cast<std::uint64_t>(then) : 0;
}

void ListenReport::count(const tt_socket& socket, const Part& part, const NetnsFacts& facts, ListenerRow& row) const {
    const auto drops_since = [&](const tt_socket& other) -> std::uint64_t {
        const auto before = base_->drops.find(other.cookie);
        return before != base_->drops.end() ? other.drops - before->second : other.drops;
    };
    const bool sees_all = table_.start_setting("filter").empty();
    row.netns = {counter(facts, "TcpExt.ListenDrops"), counter(facts, "TcpExt.ListenOverflows"),
                 counter(facts, "TcpExt.SyncookiesSent")};
    row.netns_window = {grown(facts, socket.netns, "TcpExt.ListenDrops"),
                        grown(facts, socket.netns, "TcpExt.ListenOverflows"),
                        grown(facts, socket.netns, "TcpExt.SyncookiesSent")};
    row.sk_drops = socket.drops;
    DropFacts ever{socket.drops, 0, sees_all, *row.netns.drops, *row.netns.overflows};
    DropFacts lately{drops_since(socket), 0, sees_all, *row.netns_window.drops, *row.netns_window.overflows};
    for (const tt_socket* const other : part.listeners) {
        if (other->netns == socket.netns && other->cookie != socket.cookie) {
            ever.sk_drops_others += other->drops;
            lately.sk_drops_others += drops_since(*other);
        }
    }
    row.since_start = {drops_of(ever), overflows_of(ever), std::nullopt};
    row.window = {drops_of(lately), overflows_of(lately), std::nullopt};

    // Cookies: nobody but the namespace counts them, but each listener knows whether and when it sent one.
    const auto cookies = [&](std::uint64_t all, std::uint64_t within_ms) -> std::optional<std::uint64_t> {
        if (all == 0 || socket.last_recv_ms == never || socket.last_recv_ms > within_ms) {
            return 0;
        }
        return sees_all && cookie_senders(part.listeners, socket.netns, within_ms) == 1 ? std::optional(all)
                                                                                        : std::nullopt;
    };
    row.since_start.syn_cookies = cookies(*row.netns.syn_cookies, never - 1);
    row.window.syn_cookies = cookies(*row.netns_window.syn_cookies, row.window_ns / 1'000'000 + cookie_stamp_ms);
}

void ListenReport::judge(const tt_socket& socket, const Part& part, const NetnsFacts& facts, ListenerRow& row) const {
    static const std::set<Peer> none;
    const auto known = base_->half_open.find(socket.cookie);
    const std::set<Peer>& before = known != base_->half_open.end() ? known->second : none;
    HalfOpen seen;
    seen.window_ns = row.window_ns;
    seen.open_before = before.size();
    seen.limit = row.syn_limit.value_or(row.accept_limit);
    seen.completed = row.established;
    seen.always_cookies = setting(facts, "net.ipv4.tcp_syncookies") == 2;
    std::map<Address, std::uint64_t> sources;
    if (const auto requests = part.half_open.find(socket.cookie); requests != part.half_open.end()) {
        for (const tt_socket* const request : requests->second) {
            ++seen.open;
            seen.stale += request->total_retrans > 0 ? 1 : 0;
            seen.fresh += before.contains(peer_of(*request)) ? 0 : 1;
            ++sources[ends_of(*request).raddr];
        }
    }
    if (!row.window.syn_cookies || *row.window.syn_cookies > 0) {
        const std::uint64_t sent = *row.netns_window.syn_cookies;
        seen.cookies = sent - std::min(sent, grown(facts, socket.netns, "TcpExt.SyncookiesRecv"));
    }
    if (*row.window.drops > 0) {
        seen.dropped = std::min(*row.window.drops, grown(facts, socket.netns, "TcpExt.TCPReqQFullDrop"));
    }
    if (!is_syn_flood(seen)) {
        return;
    }
    SynFlood flood;
    if (row.window.syn_cookies) {
        flood.rate_per_s = static_cast<double>(seen.unanswered()) * 1e9 / static_cast<double>(seen.window_ns);
    }
    flood.half_open = seen.open;
    flood.completed = seen.completed;
    flood.addresses = sources.size();
    flood.sources = biggest(sources);
    row.syn_flood = std::move(flood);
}

ListenerRow ListenReport::row_of(const tt_socket& socket, const Part& part, const NetnsFacts& facts) {
    ListenerRow row;
    row.time = part.time;
    row.window_ns = part.time > base_->time ? part.time - base_->time : 0;
    row.cookie = socket.cookie;
    row.ends = ends_of(socket);
    row.accept_now = socket.ack_backlog;
    row.accept_limit = socket.max_ack_backlog;
    row.accept_high = socket.ack_backlog;
    row.syn_now = socket.syn_qlen;
    if (setting(facts, "net.ipv4.tcp_syncookies")) {
        row.syn_limit = std::min(socket.max_ack_backlog, without_cookies(facts).value_or(socket.max_ack_backlog));
    }
    if (socket.reuseport != 0) {
        const GroupKey key(socket.netns, row.ends.family == Family::ipv6, row.ends.laddr, row.ends.lport, socket.uid);
        Group& group = groups_[key];
        group.number = group.number != 0 ? group.number : ++last_group_;
        group.shown = part.time;
        row.reuseport_group = group.number;
    }
    const std::string_view hook = table_.start_setting("hook.accept");
    if (const AcceptQueue* const queue = queues_.find(socket.cookie)) {
        row.high_exact = queue->exact && !hook.empty() && hook != "none";
        row.accept_high = std::max(row.accept_now, row.high_exact ? queue->high() : queue->high_seen);
        row.established = queue->established;
        row.accepted = queue->accepted;
        row.waits_ns = queue->waits_ns;
    }
    count(socket, part, facts, row);
    judge(socket, part, facts, row);
    const std::optional<LimitBy> accept_by = accept_limit_by(row.accept_limit, facts);
    const bool by_backlog = row.syn_limit && *row.syn_limit < row.accept_limit;
    const bool overflowed = row.accept_full() || row.since_start.overflows.value_or(0) > 0;
    row.limit_by = by_backlog && !overflowed ? LimitBy::tcp_max_syn_backlog : accept_by;
    return row;
}

std::optional<ListenSummary> ListenReport::cut() {
    if (!fresh_) {
        return std::nullopt;
    }
    fresh_ = false;
    const Snapshot& snapshot = *snapshots_.latest();
    const Ownership ownership(snapshot, table_, filter_);
    static const NetnsFacts unknown;
    ListenSummary summary;
    summary.time = snapshot.ended;
    summary.window_ns = snapshot.ended > base_->time ? snapshot.ended - base_->time : 0;
    const Part part = part_of(snapshot);
    for (const tt_socket* const listener : part.listeners) {
        const tt_socket& socket = *listener;
        const auto facts = snapshot.namespaces.find(socket.netns);
        ListenerRow row = row_of(socket, part, facts != snapshot.namespaces.end() ? facts->second : unknown);
        row.who = ownership.of(socket);
        std::set<std::uint32_t> listed;
        for (const Holder& holder : holders_of(socket.cookie, snapshot)) {
            const Process* const process = table_.find(holder.process);
            if (process != nullptr && listed.insert(process->pid).second) {
                row.holders.push_back(*process);
            }
        }
        if (filter_.matches_ends(row.ends) && (!filter_.asks_for_processes() || row.who.process)) {
            summary.rows.push_back(std::move(row));
        }
    }
    std::erase_if(groups_, [&](const auto& group) { return group.second.shown != part.time; });
    std::stable_sort(summary.rows.begin(), summary.rows.end(), comes_first);
    base_ = base_of(snapshot);
    queues_.clear();
    return summary;
}

}  // namespace tcptrail::report
