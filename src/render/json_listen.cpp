// SPDX-License-Identifier: Apache-2.0
// JSON of `listen`: a line for each listener.
#include "render/json.h"
#include "render/json_fields.h"

namespace tcptrail::render {
namespace {

void counts_object(Writer& to, std::string_view key_text, const report::ListenCounts& counts) {
    key(to, key_text);
    to.StartObject();
    optional_field(to, "overflows", counts.overflows);
    optional_field(to, "drops", counts.drops);
    optional_field(to, "syn_cookies", counts.syn_cookies);
    to.EndObject();
}

void flood_object(Writer& to, const report::SynFlood& flood, Family family) {
    to.StartObject();
    rate_field(to, "rate_per_s", flood.rate_per_s);
    field(to, "half_open", flood.half_open);
    field(to, "completed", flood.completed);
    field(to, "addresses", flood.addresses);
    key(to, "sources");
    to.StartArray();
    for (const report::SynSource& source : flood.sources) {
        to.StartObject();
        address_field(to, "raddr", source.raddr, family);
        field(to, "half_open", source.half_open);
        to.EndObject();
    }
    to.EndArray();
    to.EndObject();
}

void listener_fields(Writer& to, const report::ListenerRow& row, const Context& context) {
    field(to, "cookie", fmt::format("{:x}", row.cookie));
    known_field(to, "netns", row.ends.netns);
    field(to, "family", row.ends.family == Family::ipv4 ? "ipv4" : "ipv6");
    address_field(to, "laddr", row.ends.laddr, row.ends.family);
    field(to, "lport", row.ends.lport);
    who_field(to, "owner", row.who, context.clock);
    key(to, "holders");
    to.StartArray();
    for (const Process& holder : row.holders) {
        to.StartObject();
        field(to, "pid", holder.pid);
        untrusted_field(to, "comm", holder.comm);
        to.EndObject();
    }
    to.EndArray();
    optional_field(to, "reuseport_group", row.reuseport_group);
}

void queue_fields(Writer& to, const report::ListenerRow& row) {
    key(to, "accept_queue");
    to.StartObject();
    field(to, "now", row.accept_now);
    field(to, "high", row.accept_high);
    bool_field(to, "high_exact", row.high_exact);
    field(to, "limit", row.accept_limit);
    to.EndObject();
    key(to, "syn_queue");
    to.StartObject();
    field(to, "now", row.syn_now);
    optional_field(to, "limit", row.syn_limit);
    to.EndObject();
}

}  // namespace

void Json::write_listen(std::string& out, const report::ListenSummary& summary, const Context& context) {
    for (const report::ListenerRow& row : summary.rows) {
        begin("listener");
        time_field(writer_, "time", row.time, context);
        listener_fields(writer_, row, context);
        queue_fields(writer_, row);
        optional_field(writer_, "overflows", row.since_start.overflows);
        optional_field(writer_, "drops", row.since_start.drops);
        optional_field(writer_, "syn_cookies", row.since_start.syn_cookies);
        key(writer_, "accept_wait_us");
        if (row.waits_ns.count() > 0) {
            writer_.StartObject();
            optional_field(writer_, "p50", us(row.waits_ns.quantile(0.50)));
            optional_field(writer_, "p99", us(row.waits_ns.quantile(0.99)));
            writer_.EndObject();
        } else {
            writer_.Null();
        }
        if (row.limit_by) {
            field(writer_, "limit_by", name(*row.limit_by));
        } else {
            null_field(writer_, "limit_by");
        }
        bool_field(writer_, "syn_flood", row.syn_flood.has_value());
        key(writer_, "flood");
        if (row.syn_flood) {
            flood_object(writer_, *row.syn_flood, row.ends.family);
        } else {
            writer_.Null();
        }
        seconds_field(writer_, "window_s", row.window_ns);
        field(writer_, "established", row.established);
        field(writer_, "accepted", row.accepted);
        field(writer_, "sk_drops", row.sk_drops);
        counts_object(writer_, "window", row.window);
        counts_object(writer_, "netns_counters", row.netns);
        counts_object(writer_, "netns_window", row.netns_window);
        finish(out);
    }
}

}  // namespace tcptrail::render
