// SPDX-License-Identifier: Apache-2.0
// JSON of `states`. In `total` every state of the kernel's tables has its number, 0 too; elsewhere those that occur.
#include "render/json.h"
#include "render/json_fields.h"

namespace tcptrail::render {
namespace {

void counts_object(Writer& to, const report::StateCounts& counts, bool zeroes) {
    to.StartObject();
    for (const State state : report::standing_states) {
        if (zeroes || counts.of(state) != 0) {
            field(to, name(state), counts.of(state));
        }
    }
    to.EndObject();
}

}  // namespace

void Json::write_states(std::string& out, const report::StatesSummary& summary, const Context& context) {
    begin("states");
    time_field(writer_, "time", summary.time, context);
    key(writer_, "total");
    counts_object(writer_, summary.total, true);
    field(writer_, "time_wait_fin_wait2", summary.time_wait_fin_wait2);
    key(writer_, "by_owner");
    writer_.StartArray();
    for (const report::OwnerStates& row : summary.by_owner) {
        writer_.StartObject();
        who_field(writer_, "owner", row.who, context.clock);
        key(writer_, "states");
        counts_object(writer_, row.counts, false);
        field(writer_, "shared", row.shared);
        writer_.EndObject();
    }
    writer_.EndArray();
    key(writer_, "by_cgroup");
    writer_.StartArray();
    for (const report::CgroupStates& row : summary.by_cgroup) {
        writer_.StartObject();
        untrusted_field(writer_, "cgroup", row.cgroup);
        key(writer_, "states");
        counts_object(writer_, row.counts, false);
        writer_.EndObject();
    }
    writer_.EndArray();
    finish(out);
}

}  // namespace tcptrail::render
