// SPDX-License-Identifier: Apache-2.0
// Sizes and file names as tcpdump's -C and -W have them.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include <tcptrail/result.h>

namespace tcptrail::capture {

/// "100M", "1G", "500k", "2.5M" in bytes; the multiples are 10^3, 10^6, 10^9. A bare number is millions, as
/// tcpdump's -C. At least `least`.
inline constexpr std::uint64_t MIN_FILE_BYTES = 10'000;
Result<std::uint64_t> parse_size(std::string_view text, std::uint64_t least = MIN_FILE_BYTES);

/// The name of a run's file number `file`. Without rotation `path` itself. With -C alone: path, path1, path2, …
/// With -W `files`: path0 … path9, with as many leading zeros as make them sort, then from path0 again.
std::string file_name(const std::string& path, std::uint64_t file, unsigned files);

/// What `-r path` means: `path` itself if it exists or is "-"; else the rotated set path0, path1, … that exists;
/// else `path`, for the error message.
std::vector<std::string> find_set(const std::string& path);

}  // namespace tcptrail::capture
