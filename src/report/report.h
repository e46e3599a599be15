// SPDX-License-Identifier: Apache-2.0
// The postmortem: what one window of a run shows, all reports together, and what two of them differ in. Pure.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "report/closewait.h"
#include "report/life.h"
#include "report/populations.h"
#include "report/timewait_rows.h"

namespace tcptrail::report {

/// What an ended connection's reason is a case of. Each reason is of one kind.
enum class Trouble { none, failed_connect, reset, timeout };
Trouble trouble_of(CloseReason reason);

/// So many ended for this reason, by process and destination.
struct TroubleRow {
    const LifeRow* of = nullptr;  // in the summary's life.rows
    CloseReason reason = CloseReason::unknown;
    std::uint64_t count = 0;
};

struct ReportSummary {
    MonoNs from = 0;
    MonoNs time = 0;
    TraceEnd coverage;  // of the run until `time`
    LifeSummary life;
    TimeWaitSummary timewait;
    CloseWaitSummary closewait;
    std::vector<Population> populations;

    std::uint64_t window_ns() const { return time > from ? time - from : 0; }
    /// The most frequent first.
    std::vector<TroubleRow> troubles(Trouble trouble) const;
    /// By the median of what their connects took, failed ones included; the slowest first.
    std::vector<const LifeRow*> slowest() const;
};

/// What two recordings say of connections of one name towards one destination. Names, not pids: a deploy changes these.
struct DiffRow {
    std::string comm;  // empty: owner not known
    std::string destination;
    std::uint64_t before = 0;  // ended
    std::uint64_t after = 0;
};

struct DiffReason {
    CloseReason reason = CloseReason::unknown;
    std::uint64_t before = 0;
    std::uint64_t after = 0;
};

struct ReportDiff {
    std::uint64_t before_window_ns = 0;
    std::uint64_t after_window_ns = 0;
    std::uint64_t before_ended = 0;
    std::uint64_t after_ended = 0;
    bool complete = true;             // nothing was lost or missed, and no recording is truncated
    std::vector<DiffRow> rows;        // by the change of the rate, the greatest first
    std::vector<DiffReason> reasons;  // as rows
};

/// Each recording may be several runs.
ReportDiff diff(const std::vector<ReportSummary>& before, const std::vector<ReportSummary>& after);

/// ">10.0.0.1:443" of what we connected to, ":80 <10.0.0.9" of what connected to our port, "(others)".
std::string destination_of(const LifeRow& row);

}  // namespace tcptrail::report
