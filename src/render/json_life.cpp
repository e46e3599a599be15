// SPDX-License-Identifier: Apache-2.0
// JSON of `life`: ended connections, and their summary.
#include "render/json.h"
#include "render/json_fields.h"

namespace tcptrail::render {
namespace {

void life_row(Writer& to, const report::LifeRow& row, std::uint64_t window_ns, const Clock& clock) {
    to.StartObject();
    who_field(to, "owner", row.who, clock);
    if (row.raddr) {
        field(to, "raddr", to_string(*row.raddr, row.family));
    } else {
        null_field(to, "raddr");
    }
    optional_field(to, "rport", row.rport);
    optional_field(to, "lport", row.lport);
    field(to, "ended", row.ended);
    rate_field(to, "rate_per_s", report::rate_per_s(row.ended, window_ns));
    key(to, "lifetime_us");
    to.StartObject();
    optional_field(to, "p50", us(row.lifetimes_ns.quantile(0.50)));
    optional_field(to, "p90", us(row.lifetimes_ns.quantile(0.90)));
    optional_field(to, "p99", us(row.lifetimes_ns.quantile(0.99)));
    optional_field(to, "max", us(row.lifetimes_ns.max()));
    to.EndObject();
    key(to, "reasons");
    to.StartObject();
    for (const auto& [reason, count] : row.reasons_by_count()) {
        field(to, name(reason), count);
    }
    to.EndObject();
    to.EndObject();
}

}  // namespace

void Json::write_connection(std::string& out, const ConnectionRow& row, const Context& context) {
    begin("connection");
    connection_key(writer_, row, context);
    field(writer_, "role", name(row.role));
    if (row.opened) {
        field(writer_, "opened", rfc3339(context.clock.wall_ns(*row.opened)));
    } else {
        null_field(writer_, "opened");
    }
    optional_field(writer_, "lifetime_us", us(row.lifetime_ns));
    optional_field(writer_, "established_us", us(row.established_ns));
    bool_field(writer_, "before_trace", row.before_trace);
    owner_field(writer_, row.owner, context);
    actor_field(writer_, "closer", row.closer, context);
    field(writer_, "close_reason", name(row.reason));
    if (row.time_wait) {
        bool_field(writer_, "time_wait", *row.time_wait);
    } else {
        null_field(writer_, "time_wait");
    }
    optional_field(writer_, "bytes_sent", row.bytes_sent);
    optional_field(writer_, "bytes_received", row.bytes_received);
    optional_field(writer_, "retransmits", row.retransmits);
    optional_field(writer_, "srtt_us", row.srtt_us);
    key(writer_, "states");
    writer_.StartArray();
    for (const StateSpan& span : row.states) {
        writer_.StartObject();
        field(writer_, "state", name(span.state));
        field(writer_, "us", span.ns / 1000);
        writer_.EndObject();
    }
    writer_.EndArray();
    bool_field(writer_, "complete", row.complete);
    finish(out);
}

void Json::write_life(std::string& out, const report::LifeSummary& summary, const Context& context) {
    begin("life");
    time_field(writer_, "time", summary.time, context);
    seconds_field(writer_, "window_s", summary.window_ns);
    field(writer_, "ended", summary.total.ended);
    key(writer_, "by");
    writer_.StartArray();
    for (const report::LifeRow& row : summary.rows) {
        life_row(writer_, row, summary.window_ns, context.clock);
    }
    writer_.EndArray();
    field(writer_, "left_out", summary.left_out);
    finish(out);
}

}  // namespace tcptrail::render
