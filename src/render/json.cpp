// SPDX-License-Identifier: Apache-2.0
#include "render/json.h"

#include <chrono>
#include <cmath>
#include <ctime>

#include <fmt/format.h>

#include "render/safe_text.h"

namespace tcptrail::render {
namespace {

using Writer = rapidjson::Writer<rapidjson::StringBuffer>;

void key(Writer& to, std::string_view text) {
    to.Key(text.data(), static_cast<rapidjson::SizeType>(text.size()));
}

void string(Writer& to, std::string_view text) {
    to.String(text.data(), static_cast<rapidjson::SizeType>(text.size()));
}

void field(Writer& to, std::string_view name, std::string_view value) {
    key(to, name);
    string(to, value);
}

void field(Writer& to, std::string_view name, std::uint64_t value) {
    key(to, name);
    to.Uint64(value);
}

void null_field(Writer& to, std::string_view name) {
    key(to, name);
    to.Null();
}

void bool_field(Writer& to, std::string_view name, bool value) {
    key(to, name);
    to.Bool(value);
}

template <typename T>
void optional_field(Writer& to, std::string_view name, const std::optional<T>& value) {
    if (value) {
        field(to, name, *value);
    } else {
        null_field(to, name);
    }
}

/// 0 stands for "not known" in wire records.
void known_field(Writer& to, std::string_view name, std::uint64_t value) {
    if (value != 0) {
        field(to, name, value);
    } else {
        null_field(to, name);
    }
}

void seconds_field(Writer& to, std::string_view name, std::uint64_t ns) {
    key(to, name);
    to.Double(static_cast<double>(ns) / 1e9);
}

std::optional<std::uint64_t> us(std::optional<std::uint64_t> ns) {
    return ns ? std::optional(*ns / 1000) : std::nullopt;
}

void untrusted_field(Writer& to, std::string_view name, const std::optional<std::string>& bytes) {
    if (bytes) {
        field(to, name, valid_utf8(*bytes));
    } else {
        null_field(to, name);
    }
}

void process_fields(Writer& to, const Process& process, const Clock& clock) {
    field(to, "pid", process.pid);
    field(to, "comm", valid_utf8(process.comm));
    if (!process.thread.empty() && process.thread != process.comm) {
        field(to, "thread", valid_utf8(process.thread));
    }
    if (process.start_ns != 0) {
        field(to, "started", rfc3339(clock.wall_of_boot_ns(process.start_ns)));
    } else {
        null_field(to, "started");
    }
    untrusted_field(to, "cgroup", process.cgroup);
    untrusted_field(to, "unit", process.unit);
    untrusted_field(to, "container", process.container);
    known_field(to, "netns", process.netns);
}

void owner_object(Writer& to, const Process* process, Evidence evidence, const Clock& clock) {
    to.StartObject();
    if (process != nullptr && evidence != Evidence::unknown) {
        process_fields(to, *process, clock);
        field(to, "evidence", name(evidence));
    } else {
        field(to, "evidence", name(Evidence::unknown));
    }
    to.EndObject();
}

void owner_field(Writer& to, const Owner& owner, const Context& context) {
    key(to, "owner");
    owner_object(to, context.processes.find(owner.process), owner.evidence, context.clock);
}

void actor_field(Writer& to, std::string_view name, ProcessId id, const Context& context) {
    key(to, name);
    if (id == 0) {
        to.Null();
        return;
    }
    to.StartObject();
    if (const Process* process = context.processes.find(id)) {
        process_fields(to, *process, context.clock);
    } else {
        field(to, "evidence", tcptrail::name(Evidence::unknown));
    }
    to.EndObject();
}

template <typename Row>
void connection_key(Writer& to, const Row& row, const Context& context) {
    field(to, "time", rfc3339(context.clock.wall_ns(row.time)));
    field(to, "cookie", fmt::format("{:x}", row.cookie));
    field(to, "generation", row.generation);
    known_field(to, "netns", row.ends.netns);
    field(to, "family", row.ends.family == Family::ipv4 ? "ipv4" : "ipv6");
    field(to, "laddr", to_string(row.ends.laddr, row.ends.family));
    known_field(to, "lport", row.ends.lport);  // null: connect() has not chosen one
    field(to, "raddr", to_string(row.ends.raddr, row.ends.family));
    field(to, "rport", row.ends.rport);
}

void rate_field(Writer& to, std::string_view name, std::optional<double> value) {
    key(to, name);
    if (value) {
        to.Double(std::round(*value * 1000) / 1000);
    } else {
        to.Null();
    }
}

void life_row(Writer& to, const report::LifeRow& row, std::uint64_t window_ns, const Clock& clock) {
    to.StartObject();
    key(to, "owner");
    owner_object(to, row.owner ? &*row.owner : nullptr, row.evidence, clock);
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

std::string rfc3339(std::uint64_t wall_ns) {
    namespace chrono = std::chrono;
    const chrono::seconds seconds(wall_ns / 1'000'000'000);
    const chrono::sys_days days(chrono::duration_cast<chrono::days>(seconds));
    const chrono::year_month_day date(days);
    const chrono::hh_mm_ss clock(seconds - days.time_since_epoch());
    return fmt::format("{:04}-{:02}-{:02}T{:02}:{:02}:{:02}.{:09}Z", static_cast<int>(date.year()),
                       static_cast<unsigned>(date.month()), static_cast<unsigned>(date.day()), clock.hours().count(),
                       clock.minutes().count(), clock.seconds().count(), wall_ns % 1'000'000'000);
}

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
    field(writer_, "time", rfc3339(context.clock.wall_ns(summary.time)));
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
