// SPDX-License-Identifier: Apache-2.0
// Who waits in the accept queues, followed by events: a child waits from the end of its handshake until a process takes
// it, closed or not; the queue goes with its listener. Costs the kernel nothing. Pure; used from one thread.
//
// The kernel counts a child a moment before its ESTABLISHED is told, and takes it out a moment before the accept is told:
// while several threads accept, the number may read as many too high, but never above what the kernel allows.
#pragma once

#include <cstdint>
#include <unordered_map>
#include <vector>

#include <tcptrail/rows.h>
#include <tcptrail/wire.h>
#include <tsl/robin_map.h>

#include "report/histogram.h"
#include "track/table.h"

namespace tcptrail::report {

/// One listener's accept queue in the present window.
struct AcceptQueue {
    std::uint32_t netns = 0;
    std::uint16_t lport = 0;
    std::uint32_t limit = 0;        // sk_max_ack_backlog: full above it
    std::uint32_t waiting = 0;      // children that we saw come
    std::uint32_t older = 0;        // those that stood there before, at most
    std::uint32_t high_seen = 0;    // the most that a snapshot showed
    std::uint32_t high_events = 0;  // the most that events showed
    bool exact = true;              // no accept escaped the hook, nothing was lost
    std::uint64_t established = 0;  // handshakes that ended
    std::uint64_t accepted = 0;
    Histogram waits_ns;  // from ESTABLISHED to accept

    std::uint32_t high() const;
};

class AcceptQueues {
public:
    /// `table` outlives it and has taken each record before.
    explicit AcceptQueues(const ConnectionTable& table) : table_(table) {}

    void take(const tt_head& record);

    /// nullptr for a listener that no snapshot and no child has shown.
    const AcceptQueue* find(std::uint64_t listener) const;

    /// The window begins anew, with the queues as they stand.
    void clear();

private:
    struct Child {
        std::uint64_t listener = 0;
        MonoNs since = 0;       // 0: the handshake goes on
        bool held = false;      // a process has it, and the hook has not told
        bool accepted = false;  // it stands in the queue a moment before its ESTABLISHED: another CPU may be that quick
    };

    void on_step(const tt_step& step, std::uint64_t listener);
    void on_close(const tt_close& close);
    void on_accept(const tt_step& step);
    void on_socket(const tt_socket& row);
    void on_snapshot(const tt_snapshot& mark);
    void on_counters(const tt_counters& counters);

    AcceptQueue& queue(std::uint64_t listener) { return queues_[listener]; }
    /// nullptr where the listener is closed: its children leave after it.
    AcceptQueue* known(std::uint64_t listener);
    void establish(Child& child, MonoNs time);
    void leave(std::uint64_t cookie);
    /// The next snapshot's end decides whether an accept was told in time.
    void hold(std::uint64_t cookie);
    /// Who is held now has escaped.
    void let_go();
    /// A process has it, and no accept was told: io_uring, or the hook does not serve.
    void escaped(std::uint64_t cookie);

    const ConnectionTable& table_;
    std::unordered_map<std::uint64_t, AcceptQueue> queues_;  // by the listener's cookie
    tsl::robin_map<std::uint64_t, Child> children_;          // by cookie
    std::vector<std::uint64_t> held_;                        // children with Child::held
    std::uint64_t lost_ = 0;
    bool anew_ = true;  // the next snapshot says what stands in the queues
};

}  // namespace tcptrail::report
