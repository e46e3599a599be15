// SPDX-License-Identifier: Apache-2.0
#include "export/exporter.h"

#include "render/json.h"

namespace tcptrail::exporting {
namespace {

class ExportView final : public view::View {
public:
    ExportView(Exporter& exporter, const view::Scope& scope) : exporter_(exporter), scope_(scope) {}

private:
    void on_record(const tt_head& record) override {
        if (record.type == TT_START && !begun_) {
            exporter_.begin_run(scope_.table);
            begun_ = true;
        }
    }
    void on_transition(const TransitionRow& row) override {
        if (scope_.settings.filter.matches(row, scope_.table)) {
            exporter_.transition(scope_.out(), row, scope_.context);
        }
    }
    void on_ended(const ConnectionRow& row) override {
        if (scope_.settings.filter.matches(row, scope_.table)) {
            exporter_.connection(scope_.out(), row, scope_.context);
        }
    }
    bool end(const TraceEnd& end) override {
        exporter_.end_run(scope_.out(), end, scope_.table, scope_.context);
        return true;
    }

    Exporter& exporter_;
    view::Scope scope_;
    bool begun_ = false;
};

class Jsonl final : public Exporter {
    void begin(std::string&) override {}
    void transition(std::string& out, const TransitionRow& row, const render::Context& context) override {
        json_.write_transition(out, row, context);
    }
    void connection(std::string& out, const ConnectionRow& row, const render::Context& context) override {
        json_.write_connection(out, row, context);
    }
    void end_run(std::string& out, const TraceEnd& end, const ConnectionTable&,
                 const render::Context& context) override {
        json_.write_trace_end(out, end, context);
    }

    render::Json json_;
};

}  // namespace

MakeView views_for(Exporter& exporter) {
    return [&exporter](const view::Scope& scope) { return std::make_unique<ExportView>(exporter, scope); };
}

std::unique_ptr<Exporter> make_jsonl() {
    return std::make_unique<Jsonl>();
}

}  // namespace tcptrail::exporting
