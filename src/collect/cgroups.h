// SPDX-License-Identifier: Apache-2.0
// Names for the cgroup ids that records carry, and the containers of processes on v1 hosts.
#pragma once

#include <cstdint>
#include <string>
#include <unordered_set>

#include "collect/record_buffer.h"

namespace tcptrail::collect {

/// Tells each id and each container once, and once more after many others.
class Cgroups {
public:
    Cgroups();

    /// Whether TT_CGROUP records may have to go before `record`.
    static bool concerns(const tt_head& record) { return record.type == TT_PROCESS || record.type == TT_HOLDER; }
    /// Those that `record`, which it concerns, needs before it, appended to `out`.
    void before(const tt_head& record, RecordBuffer& out);

private:
    /// The path below the mount of the cgroup with this id; empty: there is none any more, or no cgroup2.
    std::string path_of(std::uint64_t id, const std::string& proc_path);

    std::string mount_;            // of cgroup2; empty: none
    bool has_v1_ = false;          // a v1 hierarchy is mounted: containers may be named there alone
    std::uint64_t next_walk_ = 0;  // ns, CLOCK_MONOTONIC: a walk of the mount is costly, one a second will do
    std::unordered_set<std::uint64_t> told_;
    std::unordered_set<std::uint64_t> processes_;  // start and tgid of those whose container was looked for
};

}  // namespace tcptrail::collect
