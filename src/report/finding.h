// SPDX-License-Identifier: Apache-2.0
// What the doctor says: one finding, with the numbers that it rests on.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "report/who.h"

namespace tcptrail::report {

enum class Severity : std::uint8_t {
    high,    // something fails now, or will within minutes
    medium,  // something is wrong, or will fail when the load grows
    low,     // worth knowing; nothing fails
};
std::string_view name(Severity severity);

struct Fact;
using Facts = std::vector<Fact>;

/// One observation. Names are literals, in the words of kernel and contract, with their unit: "window_s".
struct Fact {
    std::string_view name;
    std::variant<std::uint64_t, double, bool, std::string, Who, std::vector<Facts>> value;
};

struct Finding {
    std::string_view id;
    Severity severity = Severity::low;
    std::string title;
    Facts observed;
    std::string why;
    std::optional<std::string> command;  // for a shell, as root; nullopt: nothing to type, `effect` says what to change
    std::string effect;
    std::vector<std::string> will_not_help;
};

}  // namespace tcptrail::report
