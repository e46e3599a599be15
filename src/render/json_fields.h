// SPDX-License-Identifier: Apache-2.0
// The fields that JSON rows are made of: names, units and what stands for "not known". For render/json_*.cpp alone.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include <fmt/format.h>
#include <rapidjson/stringbuffer.h>
#include <rapidjson/writer.h>

#include "render/renderer.h"

namespace tcptrail::render {

using Writer = rapidjson::Writer<rapidjson::StringBuffer>;

/// "2024-05-01T12:00:00.123456789Z" of nanoseconds since the epoch.
std::string rfc3339(std::uint64_t wall_ns);

void key(Writer& to, std::string_view text);
void string(Writer& to, std::string_view text);
void field(Writer& to, std::string_view name, std::string_view value);
void field(Writer& to, std::string_view name, std::uint64_t value);
void null_field(Writer& to, std::string_view name);
void bool_field(Writer& to, std::string_view name, bool value);

template <typename T>
void optional_field(Writer& to, std::string_view name, const std::optional<T>& value) {
    if (value) {
        field(to, name, *value);
    } else {
        null_field(to, name);
    }
}

/// 0 stands for "not known" in wire records.
void known_field(Writer& to, std::string_view name, std::uint64_t value);
void seconds_field(Writer& to, std::string_view name, std::uint64_t ns);
/// Three decimals.
void rate_field(Writer& to, std::string_view name, std::optional<double> value);
void time_field(Writer& to, std::string_view name, MonoNs time, const Context& context);
std::optional<std::uint64_t> us(std::optional<std::uint64_t> ns);
/// Bytes that a process chose.
void untrusted_field(Writer& to, std::string_view name, const std::optional<std::string>& bytes);

void process_fields(Writer& to, const Process& process, const Clock& clock);
void owner_object(Writer& to, const Process* process, Evidence evidence, const Clock& clock);
/// "owner" of a row of a report.
void who_field(Writer& to, std::string_view name, const report::Who& who, const Clock& clock);
void owner_field(Writer& to, const Owner& owner, const Context& context);
/// An actor or closer: null for nobody.
void actor_field(Writer& to, std::string_view name, ProcessId id, const Context& context);

/// "laddr", "raddr": an address as text.
void address_field(Writer& to, std::string_view name, const Address& address, Family family);

/// When and where: what a transition and a connection begin with.
template <typename Row>
void connection_key(Writer& to, const Row& row, const Context& context) {
    time_field(to, "time", row.time, context);
    field(to, "cookie", fmt::format("{:x}", row.cookie));
    field(to, "generation", row.generation);
    known_field(to, "netns", row.ends.netns);
    field(to, "family", row.ends.family == Family::ipv4 ? "ipv4" : "ipv6");
    address_field(to, "laddr", row.ends.laddr, row.ends.family);
    known_field(to, "lport", row.ends.lport);  // null: connect() has not chosen one
    address_field(to, "raddr", row.ends.raddr, row.ends.family);
    field(to, "rport", row.ends.rport);
}

}  // namespace tcptrail::render
