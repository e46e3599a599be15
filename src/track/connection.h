// SPDX-License-Identifier: Apache-2.0
// What is kept of one socket that lives, or stands in TIME_WAIT.
#pragma once

#include <array>
#include <cstdint>

#include <tcptrail/rows.h>

namespace tcptrail::track {

/// One state and how long it lasted, in one word: a million of these stand in memory.
class PackedSpan {
public:
    PackedSpan() = default;
    PackedSpan(State state, std::uint64_t ns)
        : word_(static_cast<std::uint64_t>(state) << kShift | (ns & ((std::uint64_t{1} << kShift) - 1))) {}
    State state() const { return static_cast<State>(word_ >> kShift); }
    std::uint64_t ns() const { return word_ & ((std::uint64_t{1} << kShift) - 1); }

private:
    static constexpr unsigned kShift = 56;
    std::uint64_t word_ = 0;
};

struct Connection {
    std::uint64_t cookie = 0;
    std::uint64_t listener = 0;  // that it was cloned from; 0: none, or not known
    MonoNs opened = 0;           // 0: before the trace
    MonoNs last_time = 0;        // of the last transition, or of the snapshot that showed it
    MonoNs deadline = 0;         // TIME_WAIT: when the model lets go of it
    Endpoints ends;
    ProcessId closer = 0;
    Owner owner;
    std::uint32_t seen = 0;  // number of the last snapshot that showed it
    std::uint32_t generation = 0;
    State state = State::none;
    State last_old = State::none;
    Role role = Role::unknown;
    std::uint8_t span_count = 0;
    std::uint8_t reset_reason = 0;  // of the RST sent
    bool before_trace : 1 = false;
    bool in_state_known : 1 = false;  // last_time is when `state` began
    bool addresses : 1 = false;       // `ends` is filled
    bool complete : 1 = true;
    bool accepted : 1 = false;
    bool reset_sent : 1 = false;
    bool reset_last : 1 = false;  // the RST was sent after the last transition
    bool reset_received : 1 = false;
    bool hashed : 1 = false;  // fentry saw its time-wait socket
    bool bound : 1 = false;   // the process chose the local port before it connected
    bool in_use : 1 = false;
    bool waiting : 1 = false;                 // a time-wait socket that is found by its ends
    bool held : 1 = false;                    // it has ended, and its row waits for one more fact
    bool taken : 1 = false;                   // a process has, or had, a descriptor
    bool queued : 1 = false;                  // stood in an accept queue when the snapshot showed it
    bool shared : 1 = false;                  // a listener from which other processes than its owner accept, or may
    static constexpr std::size_t kSpans = 8;  // the longest path has seven
    std::array<PackedSpan, kSpans> spans;
};

static_assert(sizeof(Connection) <= 192, "a million of these stand in 256 MiB with their index");

}  // namespace tcptrail::track
