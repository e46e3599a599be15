// SPDX-License-Identifier: Apache-2.0
// What the doctor judges: plain facts of each network namespace, gathered from the stream. Used from one thread.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <tuple>
#include <vector>

#include <tcptrail/rows.h>

#include "report/histogram.h"
#include "report/look.h"
#include "report/snapshot.h"
#include "report/who.h"

namespace tcptrail::report {

/// Connections that ended: of one process towards one destination, or at one port of its own.
struct EndedGroup {
    Who who;
    Role role = Role::unknown;
    Family family = Family::ipv4;
    Address raddr{};          // active
    std::uint16_t rport = 0;  // active
    std::uint16_t lport = 0;  // passive
    std::uint64_t ended = 0;
    std::uint64_t time_wait = 0;  // of these: stood in TIME_WAIT afterwards
    std::map<CloseReason, std::uint64_t> reasons;
    Histogram lifetimes_ns;
    std::uint64_t lifetimes_sum_ns = 0;

    std::uint64_t count(CloseReason reason) const;
    double mean_lifetime_s() const;  // 0 where none is known
};

/// A listener that ended in the window.
struct FormerListener {
    Who who;
    Endpoints ends;
    MonoNs ended = 0;
};

/// Where connects went, whatever became of them.
using Target = std::tuple<Family, Address, std::uint16_t>;

struct NetnsEvidence {
    std::uint32_t netns = 0;
    std::uint64_t window_ns = 0;
    std::optional<Look> before;  // at the start of the window; nullopt: no snapshot was made
    Look now;
    std::vector<EndedGroup> ended;                    // the most first
    std::map<Target, std::uint64_t> connected;        // active opens that were established in the window
    std::map<std::uint16_t, std::uint64_t> accepted;  // passive ones, by local port
    std::map<std::uint16_t, FormerListener> former;   // whose port has no listener now
    std::uint64_t left_out = 0;                       // opens and ends that found no room above

    double window_s() const { return static_cast<double>(window_ns) / 1e9; }
    double per_s(std::uint64_t count) const { return window_ns != 0 ? static_cast<double>(count) / window_s() : 0; }
    /// By how much a counter grew in the window; 0 where that is not known.
    std::uint64_t grown(const std::string& counter) const;
    std::uint64_t connected_to(const EndedGroup& group) const;
};

/// Hears the stream. `table` outlives it and has taken each record before.
class EvidenceGatherer {
public:
    explicit EvidenceGatherer(const ConnectionTable& table) : table_(table), gatherer_(table) {}

    void on_record(const tt_head& record);
    void on_transition(const TransitionRow& row);
    void on_ended(const ConnectionRow& row);

    /// A window begins: what was heard before counts no more, and counters grow from the next snapshot on.
    void clear();

    /// Of the window from..to, each namespace that was seen, by its number.
    std::vector<NetnsEvidence> evidence(MonoNs from, MonoNs to) const;

private:
    // process, role, family, raddr, rport, lport
    using GroupKey = std::tuple<WhoKey, Role, Family, Address, std::uint16_t, std::uint16_t>;
    struct Heard {
        std::map<GroupKey, EndedGroup> ended;
        std::map<Target, std::uint64_t> connected;
        std::map<std::uint16_t, std::uint64_t> accepted;
        std::map<std::uint16_t, FormerListener> former;
        std::uint64_t left_out = 0;
    };
    // Of a namespace.
    static constexpr std::size_t most_groups = 10'000;  // of those that ended, and of where connects went
    static constexpr std::size_t most_former = 1'000;

    /// The count of active opens to there, 0 if it is new; nullptr, and left out, where there is no room for it.
    static std::uint64_t* opens_to(const Endpoints& ends, Heard& heard);
    static std::set<std::uint16_t> ports(const Heard* heard);

    const ConnectionTable& table_;
    SnapshotGatherer gatherer_;
    std::map<std::uint32_t, Look> before_;
    std::map<std::uint32_t, Heard> heard_;
    std::map<std::uint32_t, std::map<std::string, std::string>> settings_;  // as the last snapshot told
    std::size_t snapshots_ = 0;                                             // whole ones in this window
    bool last_ = false;                                                     // the last of them is of a report's moment
    bool gap_ = false;  // the recording has a hole since the last snapshot
};

}  // namespace tcptrail::report
