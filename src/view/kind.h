// SPDX-License-Identifier: Apache-2.0
// The commands that show something of a record stream, and what each asks of its source. The one table of them: the
// command line, the live collector and the tests read it.
#pragma once

#include <chrono>
#include <optional>
#include <span>

namespace tcptrail {

enum class View { trace, life, timewait, closewait, states, listen, doctor, report, record };

struct ViewKind {
    View view;
    const char* name;
    const char* help;
    bool repeats;    // -i: a report after each such time
    bool snapshots;  // each report wants a snapshot of its moment, the last one too
    // A short look is the answer: the run ends after `duration`, at once without one, unless -i is given.
    bool at_once;
    std::optional<std::chrono::nanoseconds> duration;  // of a run without -d
    bool filters_rows_only = false;  // the kernel keeps nothing back but other network namespaces: totals need it all
};

std::span<const ViewKind> view_kinds();
const ViewKind& kind_of(View view);

}  // namespace tcptrail
