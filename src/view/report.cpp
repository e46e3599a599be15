// SPDX-License-Identifier: Apache-2.0
// `report`: the postmortem of a window.
#include "view/report.h"

#include <utility>

#include "report/timewait.h"

namespace tcptrail::view {
namespace {

class Report final : public View {
public:
    Report(const Scope& scope, TakeReport take)
        : scope_(scope),
          take_(std::move(take)),
          timewait_(scope.table, scope.settings.filter),
          closewait_(scope.table, scope.settings.filter, static_cast<std::uint64_t>(scope.settings.older_than.count())),
          populations_(scope.table) {}

private:
    bool hears_hooks() const override { return true; }  // populations are counted as time goes by
    void on_record(const tt_head& record) override {
        timewait_.on_record(record);
        closewait_.take(record);
        populations_.see(record.time);
    }
    void on_transition(const TransitionRow& row) override {
        timewait_.on_transition(row);
        closewait_.heard(row);
    }
    void on_ended(const ConnectionRow& row) override {
        (void)timewait_.on_ended(row);  // failed connects stand in the life rows
        closewait_.heard(row);
        if (scope_.settings.filter.matches(row, scope_.table)) {
            life_.add(row, scope_.table);
        }
    }

    /// It is told at the end of the run, when it is known how complete it was.
    void cut(MonoNs from, MonoNs to) override {
        summary_ = {};
        summary_.from = from;
        summary_.time = to;
        summary_.life = life_.summary(from, to);
        summary_.timewait = timewait_.summary(from, to);
        timewait_.clear(to);
        summary_.closewait = closewait_.cut(from, to);
        summary_.populations = populations_.all(to);
        std::erase_if(summary_.populations, [from](const report::Population& moment) { return moment.time < from; });
        life_.clear();
    }
    bool end(const TraceEnd& end) override {
        if (summary_.time == 0) {
            return false;
        }
        summary_.coverage = end;
        take_(std::move(summary_));
        return false;
    }

    Scope scope_;
    TakeReport take_;
    report::LifeReport life_;
    report::TimeWaitReport timewait_;
    report::CloseWaitReport closewait_;
    report::Populations populations_;
    report::ReportSummary summary_;
};

}  // namespace

std::unique_ptr<View> make_report(const Scope& scope) {
    return make_report(scope, [scope](report::ReportSummary&& summary) {
        scope.renderer.write_report(scope.out(), summary, scope.context);
    });
}

std::unique_ptr<View> make_report(const Scope& scope, TakeReport take) {
    return std::make_unique<Report>(scope, std::move(take));
}

}  // namespace tcptrail::view
