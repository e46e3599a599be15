// SPDX-License-Identifier: Apache-2.0
// JSON of `timewait`: its report, and connects that found no port.
#include "render/json.h"
#include "render/json_fields.h"
#include "render/safe_text.h"

namespace tcptrail::render {
namespace {

void nullable_address(Writer& to, std::string_view name, const std::optional<Address>& address, Family family) {
    if (address) {
        address_field(to, name, *address, family);
    } else {
        null_field(to, name);
    }
}

void origin_object(Writer& to, const report::TimeWaitOrigin& origin, const Clock& clock) {
    to.StartObject();
    who_field(to, "owner", origin.owner, clock);
    key(to, "closer");
    if (origin.closer) {
        to.StartObject();
        process_fields(to, *origin.closer, clock);
        to.EndObject();
    } else {
        to.Null();
    }
    field(to, "role", name(origin.role));
    field(to, "created", origin.created);
    field(to, "now", origin.now);
    rate_field(to, "rate_per_s", origin.rate_per_s);
    key(to, "destinations");
    to.StartArray();
    for (const report::TimeWaitDestination& destination : origin.destinations) {
        to.StartObject();
        nullable_address(to, "raddr", destination.raddr, destination.family);
        optional_field(to, "rport", destination.rport);
        optional_field(to, "lport", destination.lport);
        field(to, "created", destination.created);
        field(to, "now", destination.now);
        to.EndObject();
    }
    to.EndArray();
    to.EndObject();
}

/// An owner, and how many of the ports it has.
void holder_fields(Writer& to, const report::PortHolder& holder, const Clock& clock) {
    who_field(to, "owner", holder.owner, clock);
    field(to, "ports", holder.ports);
}

void ports_object(Writer& to, const report::PortRow& row, const Clock& clock) {
    to.StartObject();
    known_field(to, "netns", row.netns);
    address_field(to, "laddr", row.laddr, row.family);
    address_field(to, "raddr", row.raddr, row.family);
    field(to, "rport", row.rport);
    optional_field(to, "available", row.available);
    field(to, "in_use", row.in_use);
    field(to, "time_wait", row.time_wait);
    rate_field(to, "rate_per_s", row.rate_per_s);
    rate_field(to, "exhausted_in_s", row.exhausted_in_s);
    field(to, "failed_connects", row.failed_connects);
    key(to, "owners");
    to.StartArray();
    for (const report::PortHolder& holder : row.owners) {
        to.StartObject();
        process_fields(to, *holder.owner.process, clock);
        field(to, "evidence", name(holder.owner.evidence));
        field(to, "ports", holder.ports);
        to.EndObject();
    }
    to.EndArray();
    bool_field(to, "reuses", row.reuses);
    to.EndObject();
}

void advice_object(Writer& to, const report::Advice& advice) {
    to.StartObject();
    field(to, "id", advice.id);
    field(to, "text", valid_utf8(advice.text));
    key(to, "observed");
    to.StartObject();
    for (const auto& [name, value] : advice.observed) {
        rate_field(to, name, value);
    }
    to.EndObject();
    to.EndObject();
}

}  // namespace

void Json::write_timewait(std::string& out, const report::TimeWaitSummary& summary, const Context& context) {
    begin("timewait");
    time_field(writer_, "time", summary.time, context);
    seconds_field(writer_, "window_s", summary.window_ns);
    optional_field(writer_, "kernel_now", summary.kernel_now);
    optional_field(writer_, "explained_now", summary.explained_now);
    optional_field(writer_, "before_trace_now", summary.before_trace_now);
    field(writer_, "created", summary.created);
    field(writer_, "entered_as_fin_wait2", summary.entered_as_fin_wait2);
    field(writer_, "ended", summary.ended);
    optional_field(writer_, "overflow", summary.overflow);
    field(writer_, "undecided", summary.undecided);
    key(writer_, "origins");
    writer_.StartArray();
    for (const report::TimeWaitOrigin& origin : summary.origins) {
        origin_object(writer_, origin, context.clock);
    }
    writer_.EndArray();
    key(writer_, "ports");
    writer_.StartArray();
    for (const report::PortRow& row : summary.ports) {
        ports_object(writer_, row, context.clock);
    }
    writer_.EndArray();
    key(writer_, "advice");
    writer_.StartArray();
    for (const report::Advice& advice : summary.advice) {
        advice_object(writer_, advice);
    }
    writer_.EndArray();
    optional_field(writer_, "ownerless_now", summary.ownerless_now);
    field(writer_, "left_out", summary.left_out);
    finish(out);
}

void Json::write_connect_failed(std::string& out, const report::ConnectFailedRow& row, const Context& context) {
    begin("connect_failed");
    time_field(writer_, "time", row.time, context);
    field(writer_, "cookie", fmt::format("{:x}", row.cookie));
    known_field(writer_, "netns", row.ends.netns);
    address_field(writer_, "raddr", row.ends.raddr, row.ends.family);
    field(writer_, "rport", row.ends.rport);
    field(writer_, "reason", name(CloseReason::no_local_port));
    owner_field(writer_, row.owner, context);
    key(writer_, "holders");
    writer_.StartArray();
    for (const report::PortHolder& holder : row.holders) {
        writer_.StartObject();
        holder_fields(writer_, holder, context.clock);
        writer_.EndObject();
    }
    writer_.EndArray();
    field(writer_, "count", row.count);
    finish(out);
}

}  // namespace tcptrail::render
