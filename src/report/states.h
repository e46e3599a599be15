// SPDX-License-Identifier: Apache-2.0
// How many sockets stand in each state at the moment of a snapshot: in total, by process, by cgroup. Pure.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include <tcptrail/rows.h>

#include "report/filter.h"
#include "report/snapshot.h"
#include "report/who.h"
#include "track/table.h"

namespace tcptrail::report {

/// The states in which a socket can stand in the kernel's tables, in the order of a connection's life. A request socket
/// (NEW_SYN_RECV) counts as SYN_RECV, a time-wait socket that still waits for the peer's FIN as FIN_WAIT2, as in ss.
inline constexpr std::array standing_states = {
    State::listen,    State::syn_sent, State::syn_recv,   State::established, State::fin_wait1, State::fin_wait2,
    State::time_wait, State::closing,  State::close_wait, State::last_ack,    State::close,
};

class StateCounts {
public:
    void add(State state) {
        ++of_.at(static_cast<std::size_t>(state));
        ++all_;
    }
    std::uint64_t of(State state) const { return of_.at(static_cast<std::size_t>(state)); }
    std::uint64_t all() const { return all_; }

private:
    std::array<std::uint64_t, 13> of_{};  // by State
    std::uint64_t all_ = 0;
};

struct OwnerStates {
    Who who;  // evidence: of the first of its sockets
    StateCounts counts;
    std::uint64_t shared = 0;  // of them: other processes hold them too
};

struct CgroupStates {
    std::optional<std::string> cgroup;  // v2 path; nullopt: the owner or its cgroup is not known
    StateCounts counts;
};

struct StatesSummary {
    MonoNs time = 0;  // when the snapshot was whole
    StateCounts total;
    std::uint64_t time_wait_fin_wait2 = 0;  // of FIN_WAIT2: time-wait sockets that still wait for the peer's FIN
    std::vector<OwnerStates> by_owner;      // most sockets first; adds up to the total unless the filter hides some
    std::vector<CgroupStates> by_cgroup;    // the same
};

/// The state that a row counts in.
State standing_state(const tt_socket& row);

StatesSummary count_states(const Snapshot& snapshot, const ConnectionTable& table, const Filter& filter);

}  // namespace tcptrail::report
