// SPDX-License-Identifier: Apache-2.0
// What the tracker tells and the renderers print: plain facts, no clock, no text.
// References in a row live during the call that hands it over.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include <tcptrail/types.h>

namespace tcptrail {

/// One transition as `trace` shows it. TIME_WAIT is a state here.
struct TransitionRow {
    MonoNs time = 0;
    std::uint64_t cookie = 0;
    std::uint32_t generation = 0;  // reconnections of the same socket
    Endpoints ends;
    State old_state = State::none;
    State new_state = State::none;
    std::optional<std::uint64_t> in_old_ns;  // nullopt: the old state began before we saw it
    Owner owner;
    ProcessId actor = 0;               // 0: the network or a timer
    ProcessId closer = 0;              // who sent the first FIN or RST on this side; 0: nobody yet, or not known
    std::optional<State> tw_substate;  // FIN_WAIT2 where the time-wait socket still waits for the peer's FIN
    bool inferred = false;
    bool bound = false;  // the process chose the local port before it connected
};

struct StateSpan {
    State state = State::none;
    std::uint64_t ns = 0;
};

/// One full socket that ended, as `life` shows it.
struct ConnectionRow {
    MonoNs time = 0;  // of the end
    std::uint64_t cookie = 0;
    std::uint32_t generation = 0;
    Endpoints ends;
    Role role = Role::unknown;
    std::optional<MonoNs> opened;
    std::optional<std::uint64_t> lifetime_ns;  // first to last state
    std::optional<std::uint64_t>
        established_ns;  // until the first FIN or the end; nullopt: never, or begun before the trace
    bool before_trace = false;
    Owner owner;
    ProcessId closer = 0;
    CloseReason reason = CloseReason::unknown;
    std::optional<bool> time_wait;
    std::optional<State> tw_substate;  // TIME_WAIT or FIN_WAIT2: what the last transition leaves, if there is room
    bool bound = false;                // as in TransitionRow
    std::optional<std::uint64_t> bytes_sent;      // payload acknowledged
    std::optional<std::uint64_t> bytes_received;  // payload
    std::optional<std::uint32_t> retransmits;     // segments
    std::optional<std::uint32_t> srtt_us;
    std::vector<StateSpan> states;
    bool complete = true;
};

/// How complete a run was; its last line.
struct TraceEnd {
    MonoNs time = 0;
    std::uint64_t transitions = 0;
    std::uint64_t lost = 0;
    std::uint64_t lost_other = 0;  // processes, accepts, resets, addresses: they make owners unknown, not transitions
    std::uint64_t missed = 0;
    std::uint64_t incomplete_connections = 0;
    std::uint64_t evicted = 0;  // live connections that the bounded table let go of
    std::uint64_t window_ns = 0;
    bool truncated = false;                    // the stream had no end, or has gaps
    bool gaps = false;                         // what stood between two parts of the recording is not there
    std::map<std::string, std::string> hooks;  // need -> what serves it
};

/// Turns record time into wall time.
struct Clock {
    std::uint64_t realtime_offset_ns = 0;  // CLOCK_REALTIME - CLOCK_MONOTONIC
    std::uint64_t boottime_offset_ns = 0;  // CLOCK_BOOTTIME - CLOCK_MONOTONIC

    std::uint64_t wall_ns(MonoNs time) const { return time + realtime_offset_ns; }
    std::uint64_t wall_of_boot_ns(std::uint64_t boot) const { return boot - boottime_offset_ns + realtime_offset_ns; }
};

/// Who the process numbers in rows are.
class ProcessDirectory {
public:
    virtual ~ProcessDirectory() = default;
    /// nullptr for 0, and for an actor whose description was lost.
    virtual const Process* find(ProcessId id) const = 0;
};

/// Transitions by what they lead out of or into.
class TransitionSet {
public:
    static TransitionSet all() { return TransitionSet().add(~0U, 0); }
    TransitionSet& out_of(State state) { return add(bit(state), 0); }
    TransitionSet& into(State state) { return add(0, bit(state)); }
    bool has(State old, State fresh) const { return ((old_ & bit(old)) | (fresh_ & bit(fresh))) != 0; }

private:
    static std::uint32_t bit(State state) { return 1U << (static_cast<unsigned>(state) % 32); }
    TransitionSet& add(std::uint32_t old, std::uint32_t fresh) {
        old_ |= old;
        fresh_ |= fresh;
        return *this;
    }

    std::uint32_t old_ = 0;
    std::uint32_t fresh_ = 0;
};

/// Hears what the tracker finds, in the order of the stream.
class TrackObserver {
public:
    virtual ~TrackObserver() = default;
    virtual void on_transition(const TransitionRow&) {}
    virtual void on_ended(const ConnectionRow&) {}
};

}  // namespace tcptrail
