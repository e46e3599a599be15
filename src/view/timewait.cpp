// SPDX-License-Identifier: Apache-2.0
// `timewait`: who creates TIME_WAIT, and when the ports run out; connects that found no port as they happen.
#include "report/timewait.h"

#include "view/view.h"

namespace tcptrail::view {
namespace {

class TimeWait final : public View {
public:
    explicit TimeWait(const Scope& scope) : scope_(scope), report_(scope.table, scope.settings.filter) {}

private:
    void on_record(const tt_head& record) override { report_.on_record(record); }
    TransitionSet heard() const override { return report::TimeWaitReport::heard(); }
    void on_transition(const TransitionRow& row) override { report_.on_transition(row); }
    void on_ended(const ConnectionRow& row) override {
        if (const auto failed = report_.on_ended(row)) {
            scope_.renderer.write_connect_failed(scope_.out(), *failed, scope_.context);
        }
    }

    void cut(MonoNs from, MonoNs to) override {
        for (const report::ConnectFailedRow& failed : report_.untold_failures()) {
            scope_.renderer.write_connect_failed(scope_.out(), failed, scope_.context);
        }
        scope_.renderer.write_timewait(scope_.out(), report_.summary(from, to), scope_.context);
        report_.clear(to);
    }

    Scope scope_;
    report::TimeWaitReport report_;
};

}  // namespace

std::unique_ptr<View> make_timewait(const Scope& scope) {
    return std::make_unique<TimeWait>(scope);
}

}  // namespace tcptrail::view
