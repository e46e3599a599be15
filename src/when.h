// SPDX-License-Identifier: Apache-2.0
// Moments as --from and --to name them. Pure, but for the machine's time zone.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace tcptrail {

struct Moment {
    enum class Kind {
        wall,         // `ns` since the epoch
        time_of_day,  // `ns` since local midnight
        after_start,  // `ns` since the recording's start
    };
    Kind kind = Kind::wall;
    std::uint64_t ns = 0;

    bool operator==(const Moment&) const = default;
};

/// "2024-05-01T12:00:00.5Z" or with "+02:00" (RFC 3339; without a zone: local time), "12:00[:00[.5]]" local,
/// "+10s" from the recording's start. nullopt for what is none of these.
std::optional<Moment> parse_moment(std::string_view text);

/// In ns since the epoch, for a recording that begins at `start_wall_ns`. A time of day is the first one after the
/// start; one of the last hour before it is the start's own day, too.
std::uint64_t wall_ns_of(const Moment& moment, std::uint64_t start_wall_ns);

/// "10s", "500ms", "2m", "1.5h"; a bare number is seconds. In ns; nullopt for what is none, for less than 1 ns and for
/// more than ten years.
std::optional<std::uint64_t> parse_ns(std::string_view text);

}  // namespace tcptrail
