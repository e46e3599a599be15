// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <span>
#include <string>

#include <tcptrail/result.h>

#include "capture/format.h"

namespace tcptrail::capture {

/// What the first bytes of a file say.
struct Signature {
    FileHeader header;      // zeros where nothing could be read
    std::size_t bytes = 0;  // of the header, where blocks begin
    bool whole = false;     // its checksum is right
    bool torn = false;      // the file ends within the header
};

/// Reads a file's header out of its first bytes (`head` holds MAX_HEADER_BYTES of them unless the file is shorter).
/// An Error where this is no recording, or one that this version cannot read.
Result<Signature> read_signature(const std::string& path, std::span<const std::uint8_t> head);

}  // namespace tcptrail::capture
