// SPDX-License-Identifier: Apache-2.0
// What to do about TIME_WAIT, each piece with the numbers it comes from; and what would not help.
#pragma once

#include <vector>

#include "report/port_use.h"
#include "report/timewait_rows.h"

namespace tcptrail::report {

/// Most urgent first. Reads `summary`'s totals, origins and ports.
std::vector<Advice> timewait_advice(const TimeWaitSummary& summary, const PortUse& ports);

}  // namespace tcptrail::report
