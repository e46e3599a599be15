// SPDX-License-Identifier: Apache-2.0
// One export of one or more runs. Memory does not grow with the rows: each is written when it is told.
#pragma once

#include <memory>
#include <string>

#include <tcptrail/result.h>
#include <tcptrail/rows.h>

#include "export/format.h"
#include "render/renderer.h"
#include "run.h"

namespace tcptrail::exporting {

class Exporter {
public:
    virtual ~Exporter() = default;

    /// Text formats append to `out`; others have a file of their own.
    virtual void begin(std::string& out) = 0;
    /// A run's start is known. What it tells of itself stands in `table`.
    virtual void begin_run(const ConnectionTable& /*table*/) {}
    virtual void transition(std::string& out, const TransitionRow& row, const render::Context& context) = 0;
    virtual void connection(std::string& out, const ConnectionRow& row, const render::Context& context) = 0;
    /// A run is over; `table` holds what stands at its end.
    virtual void end_run(std::string& out, const TraceEnd& end, const ConnectionTable& table,
                         const render::Context& context) = 0;
    /// After the last run.
    virtual Result<void> finish(std::string& /*out*/) { return {}; }
};

/// Makes views that hand what the filter lets through to `exporter`, which outlives them.
MakeView views_for(Exporter& exporter);

std::unique_ptr<Exporter> make_jsonl();
std::unique_ptr<Exporter> make_csv();
std::unique_ptr<Exporter> make_perfetto();
/// Into the new file `path`; what stood there is replaced.
Result<std::unique_ptr<Exporter>> make_sqlite(const std::string& path);

}  // namespace tcptrail::exporting
