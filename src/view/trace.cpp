// SPDX-License-Identifier: Apache-2.0
// `trace`: every transition.
#include "view/view.h"

namespace tcptrail::view {
namespace {

class Trace final : public View {
public:
    explicit Trace(const Scope& scope) : scope_(scope) {}

private:
    void on_transition(const TransitionRow& row) override {
        if (scope_.settings.filter.matches(row, scope_.table)) {
            scope_.renderer.write_transition(scope_.out(), row, scope_.context);
        }
    }

    Scope scope_;
};

}  // namespace

std::unique_ptr<View> make_trace(const Scope& scope) {
    return std::make_unique<Trace>(scope);
}

}  // namespace tcptrail::view
