// SPDX-License-Identifier: Apache-2.0
// The only loop: records from a source through the tracker to rows and lines.
#pragma once

#include <chrono>
#include <functional>
#include <optional>

#include <tcptrail/record_source.h>
#include <tcptrail/result.h>

#include "render/output.h"
#include "render/renderer.h"
#include "report/filter.h"

namespace tcptrail {

struct PipelineOptions {
    render::View view = render::View::trace;
    report::Filter filter;
    std::optional<std::chrono::nanoseconds> interval;  // of reports, in event time
};

/// Called before each poll: steers the run (stops the source in time) and says how long the poll may wait.
using BeforePoll = std::function<std::chrono::milliseconds()>;

/// Runs until the source ends or nobody reads the output any more, then writes the report and the trace_end line.
/// What was shown before an error stays shown.
Result<void> run_pipeline(RecordSource& source, const PipelineOptions& options, render::Renderer& renderer,
                          render::Output& output, const BeforePoll& before_poll);

}  // namespace tcptrail
