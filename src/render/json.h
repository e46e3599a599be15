// SPDX-License-Identifier: Apache-2.0
// JSON Lines. Field names and meanings are the product's promise (README, "JSON"): fields are only ever added.
// An owner that is not known is {"evidence":"unknown"}. An actor or closer is an owner without `evidence`: it is known
// from the act itself; one whose description was lost is {"evidence":"unknown"} too, as it was a process all the same.
#pragma once

#include <rapidjson/stringbuffer.h>
#include <rapidjson/writer.h>

#include "render/renderer.h"

namespace tcptrail::render {

class Json final : public Renderer {
public:
    void write_header(std::string&, View) override {}
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
    void begin(std::string_view type);
    void finish(std::string& out);

    rapidjson::StringBuffer buffer_;  // reused for each line
    rapidjson::Writer<rapidjson::StringBuffer> writer_{buffer_};
};

}  // namespace tcptrail::render
