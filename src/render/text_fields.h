// SPDX-License-Identifier: Apache-2.0
// Words and numbers of text tables. For render/text_*.cpp alone, and their tests.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "render/renderer.h"

namespace tcptrail::render {

inline constexpr std::size_t text_width = 120;
inline constexpr std::size_t most_rows = 40;  // of a table; JSON has them all

// SGR codes for Text::paint.
inline constexpr const char* red = "31";
inline constexpr const char* green = "32";
inline constexpr const char* yellow = "33";
inline constexpr const char* magenta = "35";
inline constexpr const char* dim = "2";
inline constexpr const char* bold = "1";

/// nullptr: as it is.
const char* colour_of(State state);

/// "-" where not known.
std::string pid_of(const Process* process);
std::string comm_of(const Process* process);
/// The owner; `other` where the owner is not known; nullptr where neither is.
const Process* shown_process(const Owner& owner, ProcessId other, const Context& context);

/// Six characters at most: "870us", "12.3ms", "1.234s", "2m05s", "3h20m", "12d04h"; "-" where not known.
std::string short_duration(std::optional<std::uint64_t> ns);
/// Four characters at most, powers of 1000: "999", "1.2k", "15M"; "-" where not known.
std::string short_count(std::optional<std::uint64_t> count);
/// "12.3" of a count in a window; "-" for an empty window.
std::string rate(std::uint64_t count, std::uint64_t window_ns);
/// "1 row", "2 rows".
std::string plural(std::uint64_t count, std::string_view one);
/// ", the recording has …" where it is truncated, else "".
const char* what_is_cut(const TraceEnd& end);

}  // namespace tcptrail::render
