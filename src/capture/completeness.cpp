// SPDX-License-Identifier: Apache-2.0
#include "capture/reader.h"

namespace tcptrail::capture {

bool Completeness::whole() const {
    return !line();
}

std::optional<std::string> Completeness::line() const {
    std::string text;
    const auto add = [&](std::uint64_t count, const char* what) {
        if (count == 0) return;
        text += (text.empty() ? "" : "; ") + (count == ~std::uint64_t{0} ? what : std::to_string(count) + what);
    };
    constexpr std::uint64_t SAID = ~std::uint64_t{0};
    if (truncated && continued) add(SAID, "it goes on in a file that was not given");
    if (truncated && !continued) add(SAID, "its end is missing: the recorder was killed, or is still writing");
    add(torn_bytes, " bytes of an unfinished block at its end");
    add(damaged_blocks, damaged_blocks == 1 ? " damaged block" : " damaged blocks");
    if (skipped_bytes > 0) text += " (" + std::to_string(skipped_bytes) + " bytes skipped)";
    add(missing_blocks, missing_blocks == 1 ? " block is missing" : " blocks are missing");
    add(blocks_before, " older blocks are not in these files");
    add(unwritten_records, " records that the recorder could not write");
    if (text.empty()) return std::nullopt;
    return "the recording is not whole: " + text;
}

}  // namespace tcptrail::capture
