// SPDX-License-Identifier: Apache-2.0
// `life`: every connection that ended, and a summary of them.
#include "report/life.h"

#include "view/view.h"

namespace tcptrail::view {
namespace {

class Life final : public View {
public:
    explicit Life(const Scope& scope) : scope_(scope) {}

private:
    TransitionSet heard() const override { return {}; }
    void on_ended(const ConnectionRow& row) override {
        if (scope_.settings.filter.matches(row, scope_.table)) {
            scope_.renderer.write_connection(scope_.out(), row, scope_.context);
            report_.add(row, scope_.table);
        }
    }

    void cut(MonoNs from, MonoNs to) override {
        scope_.renderer.write_life(scope_.out(), report_.summary(from, to), scope_.context);
        report_.clear();
    }

    Scope scope_;
    report::LifeReport report_;
};

}  // namespace

std::unique_ptr<View> make_life(const Scope& scope) {
    return std::make_unique<Life>(scope);
}

}  // namespace tcptrail::view
