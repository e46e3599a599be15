// SPDX-License-Identifier: Apache-2.0
#include "processes.h"

#include <algorithm>
#include <array>
#include <cctype>
#include <cstring>
#include <utility>

namespace tcptrail::track {

namespace {

std::string_view comm_of(const char (&comm)[TT_COMM]) {
    return {comm, strnlen(comm, sizeof(comm))};
}

/// The thread's name where it is another than its process's.
std::string_view thread_of(const tt_process& record) {
    const std::string_view thread = comm_of(record.thread);
    return thread == comm_of(record.comm) ? std::string_view() : thread;
}

bool is(const Process& process, const tt_process& record) {
    return process.pid == record.tgid && process.start_ns == record.start_ns && process.comm == comm_of(record.comm) &&
           process.thread == thread_of(record) && process.cgroup_id == record.cgroup && process.netns == record.netns;
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

Processes::Processes(std::size_t keep)
    : keep_(keep), crowded_at_(keep + keep / 2), cgroup_paths_(keep), containers_(keep) {}

ProcessId Processes::of_actor(std::uint64_t actor) {
    if (actor == 0) {
        return 0;
    }
    const auto found = by_actor_.find(actor);
    if (found != by_actor_.end()) {
        return found->second.id;
    }
    Entry& entry = create(actor);
    entry.told[static_cast<std::size_t>(Kind::nameless)] = ++count_;
    return entry.id;
}

ProcessId Processes::find_actor(std::uint64_t actor) const {
    const auto found = by_actor_.find(actor);
    return found != by_actor_.end() ? found->second.id : 0;
}

Process Processes::from(const tt_process& record) const {
    Process process;
    process.pid = record.tgid;
    process.comm = comm_of(record.comm);
    process.thread = thread_of(record);
    process.start_ns = record.start_ns;
    process.cgroup_id = record.cgroup;
    process.netns = record.netns;
    if (const std::string* path = cgroup_paths_.find(record.cgroup)) {
        process.cgroup = *path;
        if (auto unit = unit_of(*path); !unit.empty()) {
            process.unit = std::move(unit);
        }
        if (auto container = container_of(*path); !container.empty()) {
            process.container = std::move(container);
        }
    }
    if (!process.container) {
        if (const std::string* container = containers_.find(record.start_ns)) {
            process.container = *container;
        }
    }
    return process;
}

ProcessId Processes::tell(const tt_process& record, Kind kind) {
    const auto found = by_actor_.find(record.id);
    Entry* entry = found != by_actor_.end() ? &entries_[found->second.place] : nullptr;
    if (entry == nullptr || (entry->known && !is(entry->process, record))) {
        entry = &create(record.id);
    }
    if (!entry->known) {
        entry->process = from(record);
        entry->known = true;
    }
    entry->told[static_cast<std::size_t>(kind)] = ++count_;
    return entry->id;
}

Processes::Entry& Processes::create(std::uint64_t actor) {
    do {
        ++last_;  // after four billions one that is still in use, or 0, is passed over
    } while (last_ == 0 || places_.contains(last_));
    std::uint32_t place = 0;
    if (free_.empty()) {
        place = static_cast<std::uint32_t>(entries_.size());
        entries_.emplace_back();
    } else {
        place = free_.back();
        free_.pop_back();
    }
    places_[last_] = place;
    by_actor_[actor] = {last_, place};
    Entry& entry = entries_[place];
    entry.actor = actor;
    entry.id = last_;
    return entry;
}

/// The smallest Entry::told of the last `keep_` of that kind.
std::uint64_t Processes::oldest_kept(std::size_t kind) const {
    std::vector<std::uint64_t> told;
    for (const Entry& entry : entries_) {
        if (entry.told[kind] != 0) {
            told.push_back(entry.told[kind]);
        }
    }
    if (told.size() <= keep_) {
        return 1;
    }
    const auto oldest = told.end() - static_cast<std::ptrdiff_t>(keep_);
    std::nth_element(told.begin(), oldest, told.end());
    return *oldest;
}

void Processes::sweep() {
    std::array<std::uint64_t, kKinds> oldest{};
    for (std::size_t kind = 0; kind < kKinds; ++kind) {
        oldest[kind] = oldest_kept(kind);
    }
    for (std::uint32_t place = 0; place < entries_.size(); ++place) {
        Entry& entry = entries_[place];
        if (entry.id == 0) {
            continue;
        }
        bool stays = std::exchange(entry.referred, false);
        for (std::size_t kind = 0; kind < kKinds; ++kind) {
            stays = stays || entry.told[kind] >= oldest[kind];
        }
        if (stays) {
            continue;
        }
        // A later number of the same actor may be forgotten already.
        if (const auto found = by_actor_.find(entry.actor); found != by_actor_.end() && found->second.id == entry.id) {
            by_actor_.erase(found);
        }
        places_.erase(entry.id);
        entry = Entry();
        free_.push_back(place);
    }
    crowded_at_ = std::max(keep_, places_.size()) + keep_ / 2;
}

void Processes::name_cgroup(const tt_cgroup& record, std::string_view path) {
    if ((record.head.flags & TT_F_CONTAINER) != 0) {
        containers_.set(record.start_ns, container_of(path));
        return;
    }
    cgroup_paths_.set(record.id, std::string(path));
}

const Process* Processes::find(ProcessId id) const {
    const auto found = places_.find(id);
    return found != places_.end() && entries_[found->second].known ? &entries_[found->second].process : nullptr;
}

}  // namespace tcptrail::track
