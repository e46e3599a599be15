// SPDX-License-Identifier: Apache-2.0
// Whose row a row of a report is: a process as a value that can be a key and outlives the tracker's tables.
#pragma once

#include <compare>
#include <cstdint>
#include <optional>
#include <string>

#include <tcptrail/rows.h>

namespace tcptrail::report {

/// What makes two processes one row. An exec keeps pid and start and changes comm. All zero: not known.
struct WhoKey {
    std::uint32_t pid = 0;
    std::uint64_t start_ns = 0;
    std::string comm;

    auto operator<=>(const WhoKey&) const = default;  // NOLINT(modernize-use-nullptr): clang-tidy 14 misreads it
};

/// A process without its thread; nullopt with Evidence::unknown: not known.
struct Who {
    std::optional<Process> process;
    Evidence evidence = Evidence::unknown;
};

WhoKey key_of(const Process* process);
/// nullptr where `owner` is not known, or its description was lost.
const Process* known_process(const Owner& owner, const ProcessDirectory& processes);
Who who_of(const Process* process, Evidence evidence);

}  // namespace tcptrail::report
