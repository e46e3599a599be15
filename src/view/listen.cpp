// SPDX-License-Identifier: Apache-2.0
// `listen`: every listener, its queues and what they dropped.
#include "report/listen.h"

#include "view/view.h"

namespace tcptrail::view {
namespace {

class Listen final : public View {
public:
    explicit Listen(const Scope& scope) : scope_(scope), report_(scope.table, scope.settings.filter) {}

private:
    bool hears_hooks() const override { return true; }
    TransitionSet heard() const override { return {}; }
    void on_record(const tt_head& record) override { report_.take(record); }

    void cut(MonoNs /*from*/, MonoNs /*to*/) override {
        if (const auto summary = report_.cut()) {
            scope_.renderer.write_listen(scope_.out(), *summary, scope_.context);
        }
    }

    Scope scope_;
    report::ListenReport report_;
};

}  // namespace

std::unique_ptr<View> make_listen(const Scope& scope) {
    return std::make_unique<Listen>(scope);
}

}  // namespace tcptrail::view
