// SPDX-License-Identifier: Apache-2.0
// `states`: how many sockets stand in each state, by owner.
#include "report/states.h"

#include "report/snapshot.h"
#include "view/view.h"

namespace tcptrail::view {
namespace {

class States final : public View {
public:
    explicit States(const Scope& scope) : scope_(scope), snapshots_(scope.table) {}

private:
    TransitionSet heard() const override { return {}; }
    void on_record(const tt_head& record) override { fresh_ = snapshots_.take(record) || fresh_; }

    /// A recording that was made for another interval may hold no snapshot of this one: then nothing is said twice.
    void cut(MonoNs /*from*/, MonoNs /*to*/) override {
        if (fresh_) {
            const report::Snapshot& snapshot = *snapshots_.latest();
            scope_.renderer.write_states(
                scope_.out(), report::count_states(snapshot, scope_.table, scope_.settings.filter), scope_.context);
            fresh_ = false;
        }
    }

    Scope scope_;
    report::SnapshotGatherer snapshots_;
    bool fresh_ = false;  // a snapshot that no report has shown
};

}  // namespace

std::unique_ptr<View> make_states(const Scope& scope) {
    return std::make_unique<States>(scope);
}

}  // namespace tcptrail::view
