// SPDX-License-Identifier: Apache-2.0
// JSON of `closewait`.
#include "render/json.h"
#include "render/json_fields.h"

namespace tcptrail::render {
namespace {

void holder_objects(Writer& to, const std::vector<report::CloseWaitHolder>& holders) {
    to.StartArray();
    for (const report::CloseWaitHolder& holder : holders) {
        to.StartObject();
        known_field(to, "pid", holder.pid);
        untrusted_field(to, "comm", holder.pid != 0 ? std::optional(holder.comm) : std::nullopt);
        field(to, "fd", holder.fd);
        to.EndObject();
    }
    to.EndArray();
}

void connection_object(Writer& to, const report::CloseWaitRow& row) {
    to.StartObject();
    field(to, "cookie", fmt::format("{:x}", row.cookie));
    known_field(to, "netns", row.ends.netns);
    field(to, "family", row.ends.family == Family::ipv4 ? "ipv4" : "ipv6");
    address_field(to, "laddr", row.ends.laddr, row.ends.family);
    field(to, "lport", row.ends.lport);
    address_field(to, "raddr", row.ends.raddr, row.ends.family);
    field(to, "rport", row.ends.rport);
    seconds_field(to, "age_s", row.age_ns);
    bool_field(to, "age_is_lower_bound", row.age_is_lower_bound);
    optional_field(to, "unread_bytes", row.unread_bytes);
    optional_field(to, "unread", row.unread ? std::optional(name(*row.unread)) : std::nullopt);
    if (row.accepted) {
        bool_field(to, "accepted", *row.accepted);
    } else {
        null_field(to, "accepted");
    }
    key(to, "holders");
    if (row.holders) {
        holder_objects(to, *row.holders);
    } else {
        to.Null();
    }
    to.EndObject();
}

}  // namespace

void Json::write_closewait(std::string& out, const report::CloseWaitSummary& summary, const Context& context) {
    begin("closewait");
    time_field(writer_, "time", summary.time, context);
    seconds_field(writer_, "window_s", summary.window_ns);
    seconds_field(writer_, "older_than_s", summary.older_than_ns);
    field(writer_, "now", summary.now);
    field(writer_, "older", summary.older);
    key(writer_, "processes");
    writer_.StartArray();
    for (const report::CloseWaitProcess& process : summary.processes) {
        writer_.StartObject();
        who_field(writer_, "owner", process.who, context.clock);
        field(writer_, "now", process.now);
        field(writer_, "older", process.older);
        rate_field(writer_, "growth_per_s", process.growth_per_s);
        bool_field(writer_, "leak", process.leak);
        seconds_field(writer_, "oldest_s", process.oldest_ns);
        key(writer_, "connections");
        writer_.StartArray();
        for (const report::CloseWaitRow& row : process.rows) {
            connection_object(writer_, row);
        }
        writer_.EndArray();
        writer_.EndObject();
    }
    writer_.EndArray();
    finish(out);
}

}  // namespace tcptrail::render
