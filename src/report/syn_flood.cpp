// SPDX-License-Identifier: Apache-2.0
#include "report/syn_flood.h"

namespace tcptrail::report {
namespace {

constexpr std::uint64_t many = 100;    // half-open, or cookies where these replace the queue
constexpr std::uint64_t several = 10;  // SYNs in a window that are no chance
constexpr double least_per_s = 10;     // what does no harm is no flood
constexpr std::uint64_t completed_each = 4;

}  // namespace

bool is_syn_flood(const HalfOpen& seen) {
    const std::uint64_t unanswered = seen.unanswered();
    const double per_s =
        seen.window_ns > 0 ? static_cast<double>(unanswered) * 1e9 / static_cast<double>(seen.window_ns) : 0;
    if (unanswered == 0 || per_s < least_per_s || unanswered * completed_each < seen.completed) {
        return false;
    }
    if (seen.always_cookies) {
        return unanswered >= many;
    }
    const auto fills = [&](std::uint64_t open) { return open * 10 >= seen.limit * 9; };
    const bool stands = seen.open >= many || (fills(seen.open) && unanswered >= several);
    const bool old = seen.stale * 2 >= seen.open;
    // How the queue stands at the end says nothing here: thrown out, a small one is empty for a moment.
    const std::uint64_t found_full = seen.cookies + seen.dropped;
    const bool stays_full = fills(seen.open_before) && seen.window_ns >= least_flood_window_ns &&
                            found_full >= several && found_full * completed_each >= seen.completed;
    return (stands && old) || stays_full;
}

}  // namespace tcptrail::report
