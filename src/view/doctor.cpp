// SPDX-License-Identifier: Apache-2.0
// `doctor`: what is wrong in the window, and what would help.
#include <algorithm>

#include "report/evidence.h"
#include "report/rules.h"
#include "view/view.h"

namespace tcptrail::view {
namespace {

class Doctor final : public View {
public:
    explicit Doctor(const Scope& scope) : scope_(scope), gatherer_(scope.table) {}

    Exit exit() const override { return exit_; }

private:
    void on_record(const tt_head& record) override { gatherer_.on_record(record); }
    void on_transition(const TransitionRow& row) override { gatherer_.on_transition(row); }
    void on_ended(const ConnectionRow& row) override { gatherer_.on_ended(row); }

    void cut(MonoNs from, MonoNs to) override {
        const auto& wanted = scope_.settings.filter.netns;
        std::vector<report::NetnsEvidence> evidence = gatherer_.evidence(from, to);
        std::erase_if(evidence, [&](const report::NetnsEvidence& each) {
            return !wanted.empty() && std::find(wanted.begin(), wanted.end(), each.netns) == wanted.end();
        });
        const std::vector<report::Finding> findings = report::diagnose(evidence);
        scope_.renderer.write_findings(scope_.out(), findings, scope_.context);
        const bool high = !findings.empty() && findings.front().severity == report::Severity::high;
        exit_ = high ? Exit::finding : Exit::done;  // of the last window: one before --from counts no more
        gatherer_.clear();
    }

    Scope scope_;
    report::EvidenceGatherer gatherer_;
    Exit exit_ = Exit::done;
};

}  // namespace

std::unique_ptr<View> make_doctor(const Scope& scope) {
    return std::make_unique<Doctor>(scope);
}

}  // namespace tcptrail::view
