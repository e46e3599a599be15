// SPDX-License-Identifier: Apache-2.0
// Who the actor ids of the stream are. A number is given once; a rename makes a new number. What has not been told for
// long and no connection refers to is forgotten: its number then has no description, and never another's.
//
// What is forgotten depends on the records alone, so a recording gives the same answers. The programs tell each process
// again that acts, after a quarter as many others as are kept here (bpf/emit.bpf.h).
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <string>
#include <string_view>
#include <vector>

#include <tcptrail/rows.h>
#include <tcptrail/wire.h>
#include <tsl/robin_map.h>

#include "mix.h"
#include "recent_map.h"

namespace tcptrail::track {

class Processes {
public:
    /// Keeps the last `keep` that acted, as many that held a socket in a snapshot, as many that nobody described, and all
    /// that are referred to. What is beyond goes with the next forget(), at most half of `keep`.
    explicit Processes(std::size_t keep);

    /// The number of the process that `actor` (tt_step.actor) is now known as; 0 for actor 0.
    /// An actor that was never described gets a number that find() answers with nullptr until it is.
    ProcessId of_actor(std::uint64_t actor);
    /// 0 for an actor that the stream has not named.
    ProcessId find_actor(std::uint64_t actor) const;

    void describe(const tt_process& record) { tell(record, Kind::acted); }
    ProcessId describe_holder(const tt_holder& record) { return tell(record.process, Kind::held); }
    void name_cgroup(const tt_cgroup& record, std::string_view path);

    /// nullptr: never described, or forgotten; valid until the next forget().
    const Process* find(ProcessId id) const;

    /// It is time to forget().
    bool crowded() const { return places_.size() >= crowded_at_; }
    /// `each_referred(mark)` calls mark(number) for each number that must stay.
    template <typename EachReferred>
    void forget(EachReferred&& each_referred) {
        each_referred([this](ProcessId id) {
            if (const auto found = places_.find(id); found != places_.end()) {
                entries_[found->second].referred = true;
            }
        });
        sweep();
    }
    /// Numbers that have a place.
    std::size_t size() const { return places_.size(); }

private:
    enum class Kind : std::uint8_t { acted, held, nameless };
    static constexpr std::size_t kKinds = 3;
    struct Entry {
        Process process;
        std::uint64_t actor = 0;
        std::array<std::uint64_t, kKinds> told{};  // count_ when it was last told so; 0: never
        ProcessId id = 0;                          // 0: the place is free
        bool known = false;
        bool referred = false;
    };
    struct Place {
        ProcessId id = 0;
        std::uint32_t place = 0;
    };
    /// The low bits of an actor are its thread's number, and where pid_max is 32768 these come again within seconds.
    struct ActorHash {
        std::size_t operator()(std::uint64_t actor) const { return mix(actor); }
    };

    Process from(const tt_process& record) const;
    ProcessId tell(const tt_process& record, Kind kind);
    Entry& create(std::uint64_t actor);
    void sweep();
    std::uint64_t oldest_kept(std::size_t kind) const;

    std::size_t keep_;
    std::size_t crowded_at_ = 0;
    std::uint64_t count_ = 0;
    ProcessId last_ = 0;
    std::deque<Entry> entries_;
    std::vector<std::uint32_t> free_;
    tsl::robin_map<ProcessId, std::uint32_t> places_;
    tsl::robin_map<std::uint64_t, Place, ActorHash> by_actor_;
    RecentMap<std::uint64_t, std::string> cgroup_paths_;
    RecentMap<std::uint64_t, std::string> containers_;  // by start time of the process, where only v1 tells
};

/// "nginx.service" from ".../system.slice/nginx.service"; empty where no part is a unit.
std::string unit_of(std::string_view cgroup_path);
/// The 64 hex digits of docker, containerd, cri-o and podman paths; empty where there are none.
std::string container_of(std::string_view cgroup_path);

}  // namespace tcptrail::track
