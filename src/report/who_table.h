// SPDX-License-Identifier: Apache-2.0
// Numbers for whole processes: the tracker numbers threads and names apart, a report's row does not. It keeps copies, because
// the tracker forgets. Bounded; used from one thread.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <optional>
#include <vector>

#include <tsl/robin_map.h>

#include "report/who.h"

namespace tcptrail::report {

/// Index of a process in a WhoTable; 0: not known.
using WhoId = std::uint32_t;

class WhoTable {
public:
    explicit WhoTable(std::size_t most = std::size_t{1} << 16) : most_(most) {}

    /// The same number for each thread of a process; 0: not known, it may be described later. nullopt: a process for which
    /// there is no room.
    std::optional<WhoId> of(ProcessId id, const ProcessDirectory& processes) {
        if (const auto found = by_process_.find(id); found != by_process_.end()) {
            return found->second;
        }
        const Process* process = processes.find(id);
        if (process == nullptr) {
            return 0;
        }
        WhoKey key = key_of(process);
        auto found = by_key_.find(key);
        if (found == by_key_.end()) {
            if (processes_.size() >= most_) {
                return std::nullopt;
            }
            processes_.push_back(*process);
            processes_.back().thread.clear();
            found = by_key_.emplace(std::move(key), static_cast<WhoId>(processes_.size())).first;
        }
        if (by_process_.size() >= most_) {
            by_process_.clear();  // only saves a look at the key
        }
        by_process_[id] = found->second;
        return found->second;
    }

    /// nullptr for 0; valid until the next of() or clear().
    const Process* process(WhoId who) const { return who == 0 ? nullptr : &processes_[who - 1]; }
    void clear() {
        by_process_.clear();
        by_key_.clear();
        processes_.clear();
    }

private:
    std::size_t most_;
    tsl::robin_map<ProcessId, WhoId> by_process_;
    std::map<WhoKey, WhoId> by_key_;
    std::vector<Process> processes_;
};

}  // namespace tcptrail::report
