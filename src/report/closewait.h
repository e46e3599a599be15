// SPDX-License-Identifier: Apache-2.0
// Connections whose peer has closed and whose process has not: since when, what was left unread, who holds them, and
// which process only gathers more of them. Ages and growth come from transitions, what is unread and who holds it from
// the report's snapshot. Pure; used from one thread.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include <tcptrail/rows.h>
#include <tcptrail/wire.h>

#include "report/filter.h"
#include "report/who.h"
#include "track/table.h"

namespace tcptrail::report {

/// What the process left in the socket. Three different bugs.
enum class Unread : std::uint8_t {
    data,      // bytes came that it never read
    fin_only,  // it read all bytes and never looked again: it cannot know of the end
    eof_read,  // nothing is left: it read the end (or the last bytes and the FIN in one read), and did not close
};
std::string_view name(Unread unread);

struct CloseWaitHolder {
    std::uint32_t pid = 0;
    std::string comm;
    std::uint32_t fd = 0;
};

struct CloseWaitRow {
    std::uint64_t cookie = 0;
    Endpoints ends;
    std::uint64_t age_ns = 0;         // since the peer's FIN
    bool age_is_lower_bound = false;  // the FIN came before the trace, or was lost
    // nullopt: no snapshot of the report's moment shows it.
    std::optional<std::uint32_t> unread_bytes;  // without the FIN
    std::optional<Unread> unread;
    std::optional<bool> accepted;  // false: it waits in its listener's queue
    std::optional<std::vector<CloseWaitHolder>> holders;
};

struct CloseWaitProcess {
    Who who;
    std::uint64_t now = 0;               // all
    std::uint64_t older = 0;             // those of the age asked for, which are the rows
    std::optional<double> growth_per_s;  // of `now`, over the window
    bool leak = false;
    std::uint64_t oldest_ns = 0;
    std::vector<CloseWaitRow> rows;  // oldest first
};

struct CloseWaitSummary {
    MonoNs time = 0;
    std::uint64_t window_ns = 0;
    std::uint64_t older_than_ns = 0;
    std::uint64_t now = 0;  // of all processes, those that the filter hides included
    std::uint64_t older = 0;
    std::vector<CloseWaitProcess> processes;  // leaks first, then those with the most old ones
};

/// A leak gathers sockets that stay, and lets none go. At least this many...
inline constexpr std::uint64_t leak_least = 3;
/// ...that stay for the age that tells a leak from a moment, which is never shorter than this...
inline constexpr std::uint64_t leak_stays(std::uint64_t older_than_ns) {
    return std::max<std::uint64_t>(older_than_ns, 1'000'000'000);
}
/// ...and whose FINs came over at least half that time: one burst (a server that restarts and closes a pool) is none.
inline constexpr std::uint64_t leak_spread(std::uint64_t older_than_ns) {
    return leak_stays(older_than_ns) / 2;
}

/// A window no longer than this shows no leak.
inline constexpr std::uint64_t watch_at_least(std::uint64_t older_than_ns) {
    return leak_stays(older_than_ns) + leak_spread(older_than_ns);
}

class CloseWaitReport {
public:
    /// `table` and `filter` outlive the report.
    CloseWaitReport(const ConnectionTable& table, const Filter& filter, std::uint64_t older_than_ns)
        : table_(table), filter_(filter), older_than_ns_(older_than_ns) {}

    /// Each record, after the table has taken it.
    void take(const tt_head& record);
    /// Each transition and each ended connection that the table tells.
    void heard(const TransitionRow& row);
    void heard(const ConnectionRow& row);

    /// The window from..to is over; the next begins.
    CloseWaitSummary cut(MonoNs from, MonoNs to);

private:
    struct Hold {
        ProcessId process = 0;
        std::uint32_t fd = 0;
    };
    struct Facts {
        std::uint32_t unread = 0;  // the FIN counts one
        bool accepted = false;
        MonoNs since = 0;  // it stands in CLOSE_WAIT since then, or longer
        std::vector<Hold> holders;
    };
    using FactsByCookie = std::unordered_map<std::uint64_t, Facts>;
    struct Left {
        MonoNs last = 0;                // when one that had stayed was last let go
        std::uint64_t from_before = 0;  // this window let go so many that stood when it began
    };
    struct Gathered;
    static constexpr std::size_t most_left = std::size_t{1} << 16;

    /// Lets go of those that have no socket in CLOSE_WAIT now.
    void forget_left();
    void let_go(const Owner& owner, MonoNs time, std::optional<MonoNs> since);
    void gather(const track::Connection& connection, MonoNs from, MonoNs to, std::map<WhoKey, Gathered>& by,
                CloseWaitSummary& summary) const;
    CloseWaitRow row_of(const track::Connection& connection, std::uint64_t age, const Facts* facts, MonoNs to) const;
    bool matches(const track::Connection& connection, const Facts* facts) const;

    const ConnectionTable& table_;
    const Filter& filter_;
    std::uint64_t older_than_ns_;
    FactsByCookie gathering_;
    FactsByCookie facts_;  // of the last whole snapshot
    MonoNs facts_time_ = 0;
    bool gathering_open_ = false;
    MonoNs window_from_ = 0;
    std::map<WhoKey, Left> left_;  // processes that let some go; copies, because the tracker forgets
    std::size_t left_crowded_at_ = most_left;
};

}  // namespace tcptrail::report
