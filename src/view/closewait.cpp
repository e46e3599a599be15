// SPDX-License-Identifier: Apache-2.0
// `closewait`: who does not close what its peer has closed.
#include "report/closewait.h"

#include "view/view.h"

namespace tcptrail::view {
namespace {

class CloseWait final : public View {
public:
    explicit CloseWait(const Scope& scope)
        : scope_(scope),
          report_(scope.table, scope.settings.filter, static_cast<std::uint64_t>(scope.settings.older_than.count())) {}

private:
    void on_record(const tt_head& record) override { report_.take(record); }
    TransitionSet heard() const override { return TransitionSet().out_of(State::close_wait); }
    void on_transition(const TransitionRow& row) override { report_.heard(row); }
    void on_ended(const ConnectionRow& row) override { report_.heard(row); }

    void cut(MonoNs from, MonoNs to) override {
        scope_.renderer.write_closewait(scope_.out(), report_.cut(from, to), scope_.context);
    }

    Scope scope_;
    report::CloseWaitReport report_;
};

}  // namespace

std::unique_ptr<View> make_closewait(const Scope& scope) {
    return std::make_unique<CloseWait>(scope);
}

}  // namespace tcptrail::view
