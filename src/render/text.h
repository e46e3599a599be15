// SPDX-License-Identifier: Apache-2.0
// Columns for people: at most 120 wide with IPv4 addresses, local time of the event.
//
// PID and COMM are the owner's; the actor's where the owner is not known; "-" where neither is.
// trace: OLD => NEW a process's call or exit did it, -> the network or a timer did, ~> no hook saw it and a rule says so.
//        "TIME_WAIT/2" is a time-wait socket that still waits for the peer's FIN. MS is the time spent in OLD.
// life:  '>' before the remote end: we connected; '<': we accepted.
#pragma once

#include <ctime>

#include "render/renderer.h"

namespace tcptrail::render {

class Text final : public Renderer {
public:
    explicit Text(bool colour) : colour_(colour) {}

    void write_header(std::string& out, View view) override;
    void write_transition(std::string& out, const TransitionRow& row, const Context& context) override;
    void write_connection(std::string& out, const ConnectionRow& row, const Context& context) override;
    void write_life(std::string& out, const report::LifeSummary& summary, const Context& context) override;
    void write_closewait(std::string& out, const report::CloseWaitSummary& summary, const Context& context) override;
    void write_states(std::string& out, const report::StatesSummary& summary, const Context& context) override;
    void write_timewait(std::string& out, const report::TimeWaitSummary& summary, const Context& context) override;
    void write_connect_failed(std::string& out, const report::ConnectFailedRow& row, const Context& context) override;
    void write_report(std::string& out, const report::ReportSummary& summary, const Context& context) override;
    void write_diff(std::string& out, const report::ReportDiff& diff) override;
    void write_listen(std::string& out, const report::ListenSummary& summary, const Context& context) override;
    void write_findings(std::string& out, const std::vector<report::Finding>& findings,
                        const Context& context) override;
    void write_trace_end(std::string& out, const TraceEnd& end, const Context& context) override;

private:
    void write_populations(std::string& out, const report::ReportSummary& summary, const Context& context);
    /// "HH:MM:SS.uuuuuu", local.
    std::string local_time(std::uint64_t wall_ns);
    /// `padded` in the colour of an SGR code; as it is without colour or code.
    std::string paint(std::string padded, const char* code) const;

    bool colour_;
    std::time_t second_ = -1;  // the second that hms_ shows: localtime_r is asked once for each
    std::string hms_;
};

}  // namespace tcptrail::render
