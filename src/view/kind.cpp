// SPDX-License-Identifier: Apache-2.0
#include "view/kind.h"

#include <algorithm>
#include <array>

#include "report/syn_flood.h"

namespace tcptrail {
namespace {

constexpr std::optional<std::chrono::nanoseconds> until_stopped;
/// A flood is told in any such look, also in the second in which the kernel throws all of a full queue out.
constexpr std::chrono::nanoseconds one_look(report::least_flood_window_ns + 100'000'000);

constexpr std::array kinds = {
    ViewKind{View::trace, "trace", "Every state transition, as it happens (the default)", false, false, false,
             until_stopped},
    ViewKind{View::life, "life", "One line for each ended connection, then a summary", true, false, false,
             until_stopped},
    ViewKind{View::timewait, "timewait", "Who creates TIME_WAIT, towards whom, and when the ports run out", true, true,
             false, until_stopped, true},
    ViewKind{View::closewait, "closewait",
             "Sockets whose peer has closed and whose process has not: age, owner, unread", true, true, false,
             until_stopped},
    ViewKind{View::states, "states", "How many sockets stand in each state now, by process", true, true, true,
             until_stopped},
    ViewKind{View::listen, "listen", "Listeners: SYN and accept queues, their limits, drops, owner", true, true, true,
             one_look, true},
    ViewKind{View::doctor, "doctor", "Says what is wrong, why, and which setting helps and which does not", false, true,
             false, std::chrono::seconds(10), true},
    ViewKind{View::report, "report", "The postmortem: all of these over one window; --diff compares two recordings",
             false, true, false, until_stopped, true},
    ViewKind{View::record, "record", "Writes the flight recording that -w names", true, true, false, until_stopped},
};

}  // namespace

std::span<const ViewKind> view_kinds() {
    return kinds;
}

const ViewKind& kind_of(View view) {
    return *std::find_if(kinds.begin(), kinds.end(), [view](const ViewKind& kind) { return kind.view == view; });
}

}  // namespace tcptrail
