// SPDX-License-Identifier: Apache-2.0
// Whole outputs against the truth. Each function returns one line for each difference, none if all agrees.
#pragma once

#include <string>
#include <vector>

#include "harness.h"
#include "truth.h"

namespace tcptrail::live {

/// When and where the scene was; rows must lie inside.
struct Bounds {
    std::uint32_t netns = 0;
    std::int64_t begin_ns = 0;  // CLOCK_REALTIME
    std::int64_t end_ns = 0;
};

std::int64_t wall_clock_ns();
/// RFC 3339 UTC with nanoseconds to CLOCK_REALTIME ns; -1 if it is not that.
std::int64_t parse_time(const Json& text);

using Differences = std::vector<std::string>;

/// The `transition` rows, all of them, and trace_end's counts.
Differences compare_transitions(const Truth& truth, const std::vector<Json>& rows, const Bounds& bounds);
/// The `connection` rows, all of them, and trace_end's counts.
Differences compare_connections(const Truth& truth, const std::vector<Json>& rows, const Bounds& bounds);
/// The same rows of a run that has not ended yet.
Differences compare_transition_rows(const Truth& truth, const std::vector<Json>& rows, const Bounds& bounds);
Differences compare_connection_rows(const Truth& truth, const std::vector<Json>& rows, const Bounds& bounds);
/// trace_end alone: there, last, complete, and exact.
Differences compare_trace_end(const Truth& truth, const std::vector<Json>& rows);

/// The first few of them for a message.
std::string first_of(const Differences& differences, std::size_t most = 12);

}  // namespace tcptrail::live
