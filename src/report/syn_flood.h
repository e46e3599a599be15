// SPDX-License-Identifier: Apache-2.0
// Tells a SYN flood from a busy server. Pure arithmetic on what one listener's SYN queue did in a window.
#pragma once

#include <cstdint>
#include <optional>

namespace tcptrail::report {

struct HalfOpen {
    std::uint64_t window_ns = 0;
    std::uint64_t open = 0;         // request sockets whose SYN-ACK nobody has answered
    std::uint64_t stale = 0;        // of them: the SYN-ACK was sent again, so a second has passed at least
    std::uint64_t fresh = 0;        // of them: not yet there when the window began
    std::uint64_t open_before = 0;  // the same as `open`, when the window began
    std::uint64_t limit = 0;        // of the SYN queue
    std::uint64_t completed = 0;    // handshakes that ended in the window
    std::uint64_t cookies =
        0;  // SYN cookies sent in the window that nobody brought back, of any listener that may be this
    std::uint64_t dropped = 0;    // SYNs dropped in the window because a SYN queue was full, in the same sense
    bool always_cookies = false;  // tcp_syncookies 2: nothing stands in the queue

    std::uint64_t unanswered() const { return fresh + cookies + dropped; }
};

/// A window shorter than this may lie within one round trip: what is unanswered in it may still be answered.
constexpr std::uint64_t least_flood_window_ns = 500'000'000;

/// Many are half-open (100, or the queue is full), it lasts (most of them are older than any honest handshake; or the queue
/// was full when the window, of least_flood_window_ns at least, began, too, and what found it full went unanswered: the
/// kernel throws the old ones out of a full queue), more come, and for each four handshakes that end at least one more does
/// not. What a busy server has in its queue is young and ends; what a port scan leaves there is few.
bool is_syn_flood(const HalfOpen& seen);

}  // namespace tcptrail::report
