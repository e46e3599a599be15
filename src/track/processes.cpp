// SPDX-License-Identifier: Apache-2.0
#include "processes.h"

#include <algorithm>
#include <array>
#include <cctype>
#include <cstring>

namespace tcptrail::track {

namespace {

std::string comm_text(const char (&comm)[TT_COMM]) {
    return {comm, strnlen(comm, sizeof(comm))};
}

bool same(const Process& a, const Process& b) {
    return a.pid == b.pid && a.start_ns == b.start_ns && a.comm == b.comm && a.thread == b.thread &&
           a.cgroup_id == b.cgroup_id && a.netns == b.netns;
}

}  // namespace

std::string unit_of(std::string_view path) {
    static constexpr std::array<std::string_view, 5> kinds = {".service", ".scope", ".socket", ".mount", ".swap"};
    std::string found;
    while (!path.empty()) {
        const auto slash = path.find('/');
        const auto part = path.substr(0, slash);
        if (std::any_of(kinds.begin(), kinds.end(), [&](std::string_view kind) { return part.ends_with(kind); })) {
            found = part;  // the innermost one
        }
        path = slash == std::string_view::npos ? std::string_view() : path.substr(slash + 1);
    }
    return found;
}

std::string container_of(std::string_view path) {
    constexpr std::size_t kDigits = 64;
    std::size_t run = 0;
    for (std::size_t i = 0; i <= path.size(); ++i) {
        if (i < path.size() && std::isxdigit(static_cast<unsigned char>(path[i])) != 0) {
            ++run;
            continue;
        }
        // conmon watches a container from outside of it.
        if (run == kDigits && !path.substr(0, i - kDigits).ends_with("-conmon-")) {
            return std::string(path.substr(i - kDigits, kDigits));
        }
        run = 0;
    }
    return {};
}

ProcessId Processes::of_actor(std::uint64_t actor) {
    if (actor == 0) {
        return 0;
    }
    const auto found = by_actor_.find(actor);
    if (found != by_actor_.end()) {
        return found->second;
    }
    entries_.emplace_back();
    const auto id = static_cast<ProcessId>(entries_.size());
    by_actor_[actor] = id;
    return id;
}

ProcessId Processes::find_actor(std::uint64_t actor) const {
    const auto found = by_actor_.find(actor);
    return found != by_actor_.end() ? found->second : 0;
}

Process Processes::from(const tt_process& record) const {
    Process process;
    process.pid = record.tgid;
    process.comm = comm_text(record.comm);
    process.thread = comm_text(record.thread);
    if (process.thread == process.comm) {
        process.thread.clear();
    }
    process.start_ns = record.start_ns;
    process.cgroup_id = record.cgroup;
    process.netns = record.netns;
    if (const auto path = cgroup_paths_.find(record.cgroup); path != cgroup_paths_.end()) {
        process.cgroup = path->second;
        if (auto unit = unit_of(path->second); !unit.empty()) {
            process.unit = std::move(unit);
        }
        if (auto container = container_of(path->second); !container.empty()) {
            process.container = std::move(container);
        }
    }
    if (!process.container) {
        if (const auto path = containers_.find(record.start_ns); path != containers_.end()) {
            process.container = path->second;
        }
    }
    return process;
}

ProcessId Processes::intern(std::uint64_t actor, Process process) {
    const auto found = by_actor_.find(actor);
    if (found != by_actor_.end()) {
        Entry& entry = entries_[found->second - 1];
        if (!entry.known) {
            entry = {std::move(process), true};
            return found->second;
        }
        if (same(entry.process, process)) {
            return found->second;
        }
    }
    entries_.push_back({std::move(process), true});
    const auto id = static_cast<ProcessId>(entries_.size());
    by_actor_[actor] = id;
    return id;
}

void Processes::describe(const tt_process& record) {
    intern(record.id, from(record));
}

void Processes::describe_holder(const tt_holder& record, ProcessId& out) {
    out = intern(record.process.id, from(record.process));
}

void Processes::name_cgroup(const tt_cgroup& record, std::string_view path) {
    if ((record.head.flags & TT_F_CONTAINER) != 0) {
        containers_[record.start_ns] = container_of(path);
        return;
    }
    cgroup_paths_[record.id] = std::string(path);
}

const Process* Processes::find(ProcessId id) const {
    if (id == 0 || id > entries_.size() || !entries_[id - 1].known) {
        return nullptr;
    }
    return &entries_[id - 1].process;
}

}  // namespace tcptrail::track
