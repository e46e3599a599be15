// SPDX-License-Identifier: Apache-2.0
#include "view/view.h"

namespace tcptrail::view {

std::unique_ptr<View> make_view(tcptrail::View view, const Scope& scope) {
    switch (view) {
        case tcptrail::View::trace: return make_trace(scope);
        case tcptrail::View::life: return make_life(scope);
        case tcptrail::View::closewait: return make_closewait(scope);
        case tcptrail::View::states: return make_states(scope);
        case tcptrail::View::timewait: return make_timewait(scope);
        case tcptrail::View::report: return make_report(scope);
        case tcptrail::View::listen: return make_listen(scope);
        case tcptrail::View::doctor: return make_doctor(scope);
        case tcptrail::View::record: return std::make_unique<View>();  // shows nothing
    }
    return nullptr;
}

}  // namespace tcptrail::view
