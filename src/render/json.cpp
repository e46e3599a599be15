// SPDX-License-Identifier: Apache-2.0
#include "render/json.h"

#include "render/json_fields.h"
#include "render/safe_text.h"

namespace tcptrail::render {

void Json::begin(std::string_view type) {
    buffer_.Clear();
    writer_.Reset(buffer_);
    writer_.StartObject();
    field(writer_, "type", type);
}

void Json::finish(std::string& out) {
    writer_.EndObject();
    out.append(buffer_.GetString(), buffer_.GetSize());
    out += '\n';
}

void Json::write_transition(std::string& out, const TransitionRow& row, const Context& context) {
    begin("transition");
    connection_key(writer_, row, context);
    field(writer_, "old", name(row.old_state));
    field(writer_, "new", name(row.new_state));
    optional_field(writer_, "in_old_us", us(row.in_old_ns));
    owner_field(writer_, row.owner, context);
    actor_field(writer_, "actor", row.actor, context);
    if (row.tw_substate) {
        field(writer_, "tw_substate", name(*row.tw_substate));
    }
    bool_field(writer_, "inferred", row.inferred);
    finish(out);
}

void Json::write_trace_end(std::string& out, const TraceEnd& end, const Context&) {
    begin("trace_end");
    field(writer_, "transitions", end.transitions);
    field(writer_, "lost", end.lost);
    field(writer_, "missed", end.missed);
    field(writer_, "incomplete_connections", end.incomplete_connections);
    seconds_field(writer_, "window_s", end.window_ns);
    bool_field(writer_, "truncated", end.truncated);
    key(writer_, "hooks");
    writer_.StartObject();
    for (const auto& [need, server] : end.hooks) {
        field(writer_, valid_utf8(need), valid_utf8(server));
    }
    writer_.EndObject();
    field(writer_, "lost_other", end.lost_other);
    field(writer_, "evicted", end.evicted);
    finish(out);
}

}  // namespace tcptrail::render
