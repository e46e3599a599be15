// SPDX-License-Identifier: Apache-2.0
#include "render/json_fields.h"

#include <chrono>
#include <cmath>

#include "render/safe_text.h"

namespace tcptrail::render {

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

void rate_field(Writer& to, std::string_view name, std::optional<double> value) {
    key(to, name);
    if (value) {
        to.Double(std::round(*value * 1000) / 1000);
    } else {
        to.Null();
    }
}

void time_field(Writer& to, std::string_view name, MonoNs time, const Context& context) {
    field(to, name, rfc3339(context.clock.wall_ns(time)));
}

void who_field(Writer& to, std::string_view name, const report::Who& who, const Clock& clock) {
    key(to, name);
    owner_object(to, who.process ? &*who.process : nullptr, who.evidence, clock);
}

void address_field(Writer& to, std::string_view name, const Address& address, Family family) {
    field(to, name, to_string(address, family));
}

}  // namespace tcptrail::render
