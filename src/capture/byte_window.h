// SPDX-License-Identifier: Apache-2.0
// A file or pipe as a window that moves forward: read(2) into one buffer, never a mapping, because a file that is
// truncated while it is mapped kills its reader.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include <tcptrail/result.h>

#include "capture/fd.h"

namespace tcptrail::capture {

class ByteWindow {
public:
    /// "-" is standard input.
    static Result<ByteWindow> open(const std::string& path);

    /// The next bytes, at least `count` of them unless the stream ends before. Valid until the next call.
    Result<std::span<const std::uint8_t>> peek(std::size_t count);

    /// Moves past `count` bytes that peek() has shown.
    void skip(std::size_t count);

    std::uint64_t offset() const { return offset_; }  // of the window's first byte in the stream
    bool rereadable() const { return rereadable_; }   // a regular file
    std::uint64_t device() const { return device_; }
    std::uint64_t inode() const { return inode_; }

private:
    std::string path_;
    Fd fd_;
    std::vector<std::uint8_t> buffer_;
    std::size_t begin_ = 0, end_ = 0;
    std::uint64_t offset_ = 0, device_ = 0, inode_ = 0;
    bool at_end_ = false, rereadable_ = false;
};

}  // namespace tcptrail::capture
