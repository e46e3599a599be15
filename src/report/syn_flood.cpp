// SPDX-License-Identifier: Apache-2.0
#include "report/syn_flood.h"

namespace tcptrail::report {
namespace {

constexpr std::uint64_t many = 100;    // half-open, or cookies where these replace the queue
constexpr std::uint64_t several = 10;  // SYNs in a window that are no chance
constexpr double least_per_s = 10;     // what does no harm is no flood
constexpr std::uint64_t completed_each = 4;
constexpr std::uint64_t lasting_ns = 500'000'000;

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
    const bool full = fills(seen.open) && unanswered >= several;
    const bool old = seen.stale * 2 >= seen.open;
    const bool stays_full = fills(seen.open) && fills(seen.open_before) && seen.window_ns >= lasting_ns &&
                            seen.cookies + seen.dropped >= several &&
                            (seen.cookies + seen.dropped) * completed_each >= seen.completed;
    return (seen.open >= many || full) && (old || stays_full);
}

}  // namespace tcptrail::report
