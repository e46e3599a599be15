// SPDX-License-Identifier: Apache-2.0
// The text that follows some records: lines "key=value" (TT_START, TT_NETNS) or a path (TT_CGROUP).
#pragma once

#include <algorithm>
#include <charconv>
#include <cstdint>
#include <optional>
#include <string_view>

#include <tcptrail/wire.h>

namespace tcptrail {

/// What follows `record`, up to the padding; a view into the record.
template <typename Record>
std::string_view text_after(const Record& record) {
    const auto& head = reinterpret_cast<const tt_head&>(record);
    const std::string_view text(reinterpret_cast<const char*>(&record) + sizeof(Record), head.size - sizeof(Record));
    return text.substr(0, text.find('\0'));
}

/// In the start record that a later file of a rotated recording repeats: the run's own start, CLOCK_MONOTONIC ns. The
/// record's time is then the file's beginning, where the windows of a reader who has no older file begin.
inline constexpr std::string_view run_start_key = "run_start_ns";

/// Calls take(key, value) for each line "key=value"; other lines are passed over.
template <typename Take>
void for_each_setting(std::string_view text, Take&& take) {
    while (!text.empty()) {
        const auto line = text.substr(0, text.find('\n'));
        text.remove_prefix(std::min(text.size(), line.size() + 1));
        if (const auto equals = line.find('='); equals != std::string_view::npos) {
            take(line.substr(0, equals), line.substr(equals + 1));
        }
    }
}

/// The whole text as a number; nullopt if it is none.
inline std::optional<std::int64_t> number_in(std::string_view text) {
    std::int64_t number = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
    return error == std::errc() && end == text.data() + text.size() ? std::optional(number) : std::nullopt;
}

}  // namespace tcptrail
