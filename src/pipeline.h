// SPDX-License-Identifier: Apache-2.0
// The only loop: records from a source to the recorder, through the tracker, to a view's rows and lines.
#pragma once

#include <chrono>
#include <functional>
#include <optional>

#include <tcptrail/record_source.h>
#include <tcptrail/result.h>

#include "render/output.h"
#include "render/renderer.h"
#include "run.h"

namespace tcptrail {

struct PipelineOptions {
    MakeView make_view;  // of each run of the stream
    RunOptions run;
    RecordHandler record;  // hears each record first: the recorder; may be empty
};

/// Called before each poll: steers the run (stops the source in time) and says how long the poll may wait. nullopt: the
/// run is over, whatever the source still holds.
using BeforePoll = std::function<std::optional<std::chrono::milliseconds>()>;

/// Runs until the source ends or nobody reads the output any more, then writes the report and the trace_end line; so at
/// the end of each of several recordings. What was shown before an error stays shown. The value is what the view says of them: Exit::done, or
/// what doctor found in one of them.
Result<Exit> run_pipeline(RecordSource& source, const PipelineOptions& options, render::Renderer& renderer,
                          render::Output& output, const BeforePoll& before_poll);

}  // namespace tcptrail
