// SPDX-License-Identifier: Apache-2.0
// Every listener: its two queues and their limits, what was dropped, how long connections wait for accept, and whether it
// is flooded with SYNs. Pure; used from one thread.
//
// The kernel keeps drops for each socket (sk_drops) and overflows, cookies for the namespace. What follows from these for
// one listener is said; a namespace's count is never passed for a listener's that others may share.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include <tcptrail/rows.h>

#include "report/accept_queue.h"
#include "report/filter.h"
#include "report/listen_counts.h"
#include "report/snapshot.h"
#include "report/who.h"

namespace tcptrail::report {

enum class LimitBy : std::uint8_t { listen, somaxconn, tcp_max_syn_backlog };
std::string_view name(LimitBy limit);

struct SynSource {
    Address raddr{};
    std::uint64_t half_open = 0;
};

struct SynFlood {
    std::optional<double>
        rate_per_s;  // SYNs that nobody completes; nullopt: cookies are not known to be this listener's
    std::uint64_t half_open = 0;
    std::uint64_t completed = 0;     // in the window
    std::uint64_t addresses = 0;     // that the half-open ones come from
    std::vector<SynSource> sources;  // the biggest first, at most `most_sources`
};
inline constexpr std::size_t most_sources = 5;

struct ListenerRow {
    MonoNs time = 0;
    std::uint64_t window_ns = 0;  // of `window`, `established` and the waits
    std::uint64_t cookie = 0;
    Endpoints ends;
    Who who;
    std::vector<Process> holders;                  // each once
    std::optional<std::uint64_t> reuseport_group;  // numbered as they are met; anew after a report without it
    std::uint32_t accept_now = 0;
    std::uint32_t accept_high = 0;
    bool high_exact = false;  // followed by events; else the most that a snapshot showed
    std::uint32_t accept_limit = 0;
    std::uint32_t syn_now = 0;
    std::optional<std::uint32_t> syn_limit;
    ListenCounts since_start;  // of the listener; of the namespace, where it alone can be meant
    ListenCounts window;
    ListenCounts netns;          // of all listeners of the namespace, since that began
    ListenCounts netns_window;   // the same, in the window
    std::uint64_t sk_drops = 0;  // raw: the socket's own count
    std::uint64_t established = 0;
    std::uint64_t accepted = 0;
    Histogram waits_ns;  // empty where no accept was seen
    std::optional<LimitBy> limit_by;
    std::optional<SynFlood> syn_flood;

    bool accept_full() const { return accept_high > accept_limit; }
};

struct ListenSummary {
    MonoNs time = 0;
    std::uint64_t window_ns = 0;
    std::vector<ListenerRow> rows;  // those in trouble first, then the busiest
};

class ListenReport {
public:
    /// Both outlive it; `table` has taken each record before.
    ListenReport(const ConnectionTable& table, const Filter& filter)
        : table_(table), filter_(filter), snapshots_(table), queues_(table) {}

    void take(const tt_head& record);

    /// What the last snapshot shows against the one of the cut before, or the first; nullopt: no new one has come.
    std::optional<ListenSummary> cut();

private:
    using Peer = std::pair<Address, std::uint16_t>;
    /// What the window's beginning left to compare with.
    struct Base {
        MonoNs time = 0;
        std::map<std::uint64_t, std::uint32_t> drops;                           // by cookie
        std::map<std::uint64_t, std::set<Peer>> half_open;                      // by listener
        std::map<std::uint32_t, std::map<std::string, std::int64_t>> counters;  // by namespace
    };
    using GroupKey = std::tuple<std::uint32_t, bool, Address, std::uint16_t, std::uint32_t>;

    static Base base_of(const Snapshot& snapshot);
    /// The rows of a snapshot that concern listeners.
    struct Part {
        MonoNs time = 0;
        std::vector<const tt_socket*> listeners;
        std::map<std::uint64_t, std::vector<const tt_socket*>> half_open;  // by listener
    };

    static Part part_of(const Snapshot& snapshot);
    ListenerRow row_of(const tt_socket& socket, const Part& part, const NetnsFacts& facts);
    void count(const tt_socket& socket, const Part& part, const NetnsFacts& facts, ListenerRow& row) const;
    void judge(const tt_socket& socket, const Part& part, const NetnsFacts& facts, ListenerRow& row) const;
    /// How much the namespace's counter has grown in the window.
    std::uint64_t grown(const NetnsFacts& facts, std::uint32_t netns, const std::string& counter) const;

    const ConnectionTable& table_;
    const Filter& filter_;
    SnapshotGatherer snapshots_;
    AcceptQueues queues_;
    std::optional<Base> base_;
    struct Group {
        std::uint64_t number = 0;
        MonoNs shown = 0;
    };
    std::map<GroupKey, Group> groups_;  // those of the last report
    std::uint64_t last_group_ = 0;
    bool fresh_ = false;  // a snapshot that no report has shown
};

}  // namespace tcptrail::report
