// SPDX-License-Identifier: Apache-2.0
// The report's view with somebody else to take what it found: two of them make a diff.
#pragma once

#include <functional>
#include <memory>

#include "report/report.h"
#include "view/view.h"

namespace tcptrail::view {

using TakeReport = std::function<void(report::ReportSummary&& summary)>;

std::unique_ptr<View> make_report(const Scope& scope, TakeReport take);

}  // namespace tcptrail::view
