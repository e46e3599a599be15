// SPDX-License-Identifier: Apache-2.0
// Who the actor ids of the stream are. Numbers given out stay valid; a rename makes a new number.
#pragma once

#include <deque>
#include <string>

#include <tcptrail/rows.h>
#include <tcptrail/wire.h>
#include <tsl/robin_map.h>

namespace tcptrail::track {

class Processes {
public:
    /// The number of the process that `actor` (tt_step.actor) is now known as; 0 for actor 0.
    /// An actor that was never described gets a number that find() answers with nullptr until it is.
    ProcessId of_actor(std::uint64_t actor);
    /// 0 for an actor that the stream has not named.
    ProcessId find_actor(std::uint64_t actor) const;

    void describe(const tt_process& record);
    void describe_holder(const tt_holder& record, ProcessId& out);
    void name_cgroup(const tt_cgroup& record, std::string_view path);

    const Process* find(ProcessId id) const;

private:
    struct Entry {
        Process process;
        bool known = false;
    };

    Process from(const tt_process& record) const;
    ProcessId intern(std::uint64_t actor, Process process);

    std::deque<Entry> entries_;  // entries_[id - 1]
    tsl::robin_map<std::uint64_t, ProcessId> by_actor_;
    tsl::robin_map<std::uint64_t, std::string> cgroup_paths_;
    tsl::robin_map<std::uint64_t, std::string> containers_;  // by start time of the process, where only v1 tells
};

/// "nginx.service" from ".../system.slice/nginx.service"; empty where no part is a unit.
std::string unit_of(std::string_view cgroup_path);
/// The 64 hex digits of docker, containerd, cri-o and podman paths; empty where there are none.
std::string container_of(std::string_view cgroup_path);

}  // namespace tcptrail::track
