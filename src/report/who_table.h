// SPDX-License-Identifier: Apache-2.0
// Numbers for whole processes: the tracker numbers threads and names apart, a report's row does not. Used from one thread.
#pragma once

#include <cstdint>
#include <map>
#include <vector>

#include "report/who.h"

namespace tcptrail::report {

/// Index of a process in a WhoTable; 0: not known.
using WhoId = std::uint32_t;

class WhoTable {
public:
    /// The same number for each thread of a process.
    WhoId of(ProcessId id, const ProcessDirectory& processes) {
        if (id < by_process_.size() && by_process_[id] != 0) {
            return by_process_[id];
        }
        const Process* process = processes.find(id);
        if (process == nullptr) {
            return 0;  // it may be described later
        }
        const auto [found, fresh] = by_key_.emplace(key_of(process), static_cast<WhoId>(who_.size() + 1));
        if (fresh) {
            who_.push_back(id);
        }
        if (id >= by_process_.size()) {
            by_process_.resize(id + 1);
        }
        return by_process_[id] = found->second;
    }

    /// A process of that number; 0 for 0.
    ProcessId process(WhoId who) const { return who == 0 ? 0 : who_[who - 1]; }
    std::size_t size() const { return who_.size(); }
    void clear() {
        by_process_.clear();
        by_key_.clear();
        who_.clear();
    }

private:
    std::vector<WhoId> by_process_;
    std::map<WhoKey, WhoId> by_key_;
    std::vector<ProcessId> who_;
};

}  // namespace tcptrail::report
