// SPDX-License-Identifier: Apache-2.0
// The report on TIME_WAIT: an exact ledger of who creates it, beside the kernel's own count and the ports it costs.
//
// What stands comes from the report's snapshot: the tracker lets go of what the snapshot does not show, and here each
// time-wait socket of the table counts that had been entered when the kernel's count (sockstat) was read. Without a
// snapshot of the moment it is the tracker's model, and the kernel's count is not known. Pure; used from one thread.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <unordered_set>
#include <vector>

#include <tcptrail/rows.h>
#include <tcptrail/wire.h>
#include <tsl/robin_map.h>

#include "report/filter.h"
#include "report/port_use.h"
#include "report/timewait_ledger.h"
#include "report/timewait_overflow.h"
#include "report/timewait_rows.h"
#include "track/table.h"

namespace tcptrail::report {

class TimeWaitReport {
public:
    /// Both outlive the report.
    TimeWaitReport(const ConnectionTable& table, const Filter& filter)
        : table_(table), filter_(filter), ledger_(table), ports_(table) {}

    /// What on_transition() counts.
    static TransitionSet heard() {
        return TransitionSet().into(State::time_wait).out_of(State::time_wait).out_of(State::syn_sent);
    }
    void on_transition(const TransitionRow& row);
    /// A row where a connect() failed for want of a port; at most one a second of one process to one destination, the
    /// failures between are counted in the next.
    std::optional<ConnectFailedRow> on_ended(const ConnectionRow& row);
    /// Each record, after the table has taken it.
    void on_record(const tt_head& record);

    /// Failures that no row has told yet.
    std::vector<ConnectFailedRow> untold_failures();
    /// The window from..to is over.
    TimeWaitSummary summary(MonoNs from, MonoNs to);
    /// The window begins anew.
    void clear(MonoNs now);

private:
    /// A time-wait socket that was in doubt until a snapshot showed it; the table has not got it.
    struct Proven {
        TimeWaitEntry entry;
        MonoNs entered = 0;
        std::uint32_t seen = 0;  // number of the last snapshot that showed it
    };
    /// The kernel's count of one namespace, in the snapshot under way or the last.
    struct Count {
        MonoNs time = 0;  // when it was read
        std::uint64_t tw = 0;
    };
    /// A time-wait socket that has gone. Whether it stood when the kernel's count was read is known once the count is here.
    struct Ended {
        TimeWaitEntry entry;
        MonoNs entered = 0;
        MonoNs time = 0;
    };
    struct Failures {
        MonoNs told = 0;
        std::uint64_t untold = 0;
        ConnectionRow last;
    };

    bool shows(const Endpoints& ends, ProcessId owner, ProcessId closer) const;
    void created(const TimeWaitEntry& entry, bool fin_wait2);
    ConnectFailedRow failure(const ConnectionRow& row, std::uint64_t count);
    void on_snapshot(const tt_snapshot& record);
    void on_socket(const tt_socket& row);
    void on_netns(const tt_netns& record);
    void settle(std::uint32_t netns, MonoNs time, std::int64_t refused);
    void end_snapshot(const tt_snapshot& mark);
    bool counted(std::uint32_t netns, MonoNs entered, MonoNs ended) const;
    void count_standing(TimeWaitSummary& summary, bool by_snapshot);

    const ConnectionTable& table_;
    const Filter& filter_;
    TimeWaitLedger ledger_;
    TimeWaitOverflow overflow_;
    PortUse ports_;

    // The window's totals: of all, whatever the filter says.
    std::uint64_t created_ = 0;
    std::uint64_t fin_wait2_ = 0;
    std::uint64_t ended_ = 0;
    std::uint64_t refused_ = 0;
    std::uint64_t undecided_ = 0;
    std::uint64_t left_ = 0;  // in doubt, and not to be settled any more

    // The snapshot under way or the last.
    std::uint32_t snapshot_ = 0;
    std::uint32_t what_ = 0;
    bool open_ = false;
    bool whole_ = false;  // it was a report's, and no window has ended since
    MonoNs mark_ = 0;
    MonoNs began_ = 0;
    bool gap_ = false;                       // the recording has a hole since
    std::set<std::uint32_t> told_;           // namespaces
    std::map<std::uint32_t, Count> counts_;  // by namespace
    std::uint64_t before_trace_ = 0;
    std::vector<OtherTimeWait> others_;
    std::vector<Ended> ended_lately_;          // since the snapshot began; once it is over: since the kernel's count
    std::unordered_set<std::uint64_t> older_;  // time-wait sockets that stood before the trace: hashes of their ends
    tsl::robin_map<std::uint64_t, Proven> proven_;  // by cookie
    std::map<std::pair<WhoKey, std::tuple<std::uint32_t, Address, std::uint16_t>>, Failures> failures_;
};

}  // namespace tcptrail::report
