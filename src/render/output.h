// SPDX-License-Identifier: Apache-2.0
// The one buffered writer of stdout. Lines gather in text() and leave with flush().
#pragma once

#include <cstddef>
#include <string>

#include <tcptrail/result.h>

namespace tcptrail::render {

enum class Reader {
    there,
    gone,  // closed its end of the pipe: nobody wants more
};

class Output {
public:
    /// `fd` stays the caller's.
    explicit Output(int fd) : fd_(fd) {}

    std::string& text() { return text_; }
    /// Enough has gathered that flush() should not wait for the end of the round.
    bool is_full() const { return text_.size() >= flush_bytes; }

    /// Writes all that has gathered. SIGPIPE must be ignored. Also notices without anything to write that the reader has gone.
    Result<Reader> flush();

private:
    static constexpr std::size_t flush_bytes = 64 << 10;  // a pipe's capacity

    int fd_;
    std::string text_;
};

}  // namespace tcptrail::render
