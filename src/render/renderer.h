// SPDX-License-Identifier: Apache-2.0
// Rows in, lines out. Two implementations: Json and Text. Used from one thread.
#pragma once

#include <string>
#include <vector>

#include <tcptrail/rows.h>

#include "report/closewait.h"
#include "report/finding.h"
#include "report/life.h"
#include "report/listen.h"
#include "report/report.h"
#include "report/states.h"
#include "report/timewait_rows.h"
#include "view/kind.h"

namespace tcptrail::render {

/// What rows refer to. Both outlive the renderer's use of them.
struct Context {
    const ProcessDirectory& processes;
    const Clock& clock;
};

class Renderer {
public:
    virtual ~Renderer() = default;

    /// Each appends whole lines to `out`.
    virtual void write_header(std::string& out, View view) = 0;
    virtual void write_transition(std::string& out, const TransitionRow& row, const Context& context) = 0;
    virtual void write_connection(std::string& out, const ConnectionRow& row, const Context& context) = 0;
    virtual void write_life(std::string& out, const report::LifeSummary& summary, const Context& context) = 0;
    virtual void write_closewait(std::string& out, const report::CloseWaitSummary& summary, const Context& context) = 0;
    virtual void write_states(std::string& out, const report::StatesSummary& summary, const Context& context) = 0;
    virtual void write_timewait(std::string& out, const report::TimeWaitSummary& summary, const Context& context) = 0;
    virtual void write_connect_failed(std::string& out, const report::ConnectFailedRow& row,
                                      const Context& context) = 0;
    virtual void write_report(std::string& out, const report::ReportSummary& summary, const Context& context) = 0;
    virtual void write_diff(std::string& out, const report::ReportDiff& diff) = 0;
    virtual void write_listen(std::string& out, const report::ListenSummary& summary, const Context& context) = 0;
    /// All of a window's, the most important first; there may be none.
    virtual void write_findings(std::string& out, const std::vector<report::Finding>& findings,
                                const Context& context) = 0;
    virtual void write_trace_end(std::string& out, const TraceEnd& end, const Context& context) = 0;
};

}  // namespace tcptrail::render
