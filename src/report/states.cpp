// SPDX-License-Identifier: Apache-2.0
#include "report/states.h"

#include <algorithm>
#include <map>
#include <unordered_set>

#include "report/owning.h"

namespace tcptrail::report {
namespace {

constexpr std::size_t states = static_cast<std::size_t>(State::new_syn_recv) + 1;

bool is_dead_fin_wait2(const tt_socket& row) {
    return static_cast<State>(row.head.new_state) == State::time_wait &&
           static_cast<State>(row.head.old_state) == State::fin_wait2;
}

template <typename Key, typename Row>
std::vector<Row> most_first(std::map<Key, Row>& rows) {
    std::vector<Row> sorted;
    sorted.reserve(rows.size());
    for (auto& [key, row] : rows) {
        sorted.push_back(std::move(row));
    }
    std::stable_sort(sorted.begin(), sorted.end(),
                     [](const Row& a, const Row& b) { return a.counts.all() > b.counts.all(); });
    return sorted;
}

bool is_shared(const std::vector<Holder>& holders, const ConnectionTable& table) {
    const Process* first = nullptr;
    return std::any_of(holders.begin(), holders.end(), [&](const Holder& holder) {
        const Process* const process = table.find(holder.process);
        if (first == nullptr) {
            first = process;
        }
        return process != nullptr && process->pid != first->pid;
    });
}

}  // namespace

State standing_state(const tt_socket& row) {
    const auto state = static_cast<State>(row.head.new_state);
    if (is_dead_fin_wait2(row)) {
        return State::fin_wait2;
    }
    return state == State::new_syn_recv ? State::syn_recv : state;
}

StatesSummary count_states(const Snapshot& snapshot, const ConnectionTable& table, const Filter& filter) {
    StatesSummary summary;
    summary.time = snapshot.ended;
    std::map<WhoKey, OwnerStates> by_owner;
    std::map<std::optional<std::string>, CgroupStates> by_cgroup;
    const Ownership ownership(snapshot, table, filter);
    std::unordered_set<std::uint64_t> seen;
    seen.reserve(snapshot.sockets.size());
    for (const tt_socket& row : snapshot.sockets) {
        if (row.head.new_state >= states) {
            continue;  // a newer kernel's, or damage
        }
        if (row.cookie != 0 && !seen.insert(row.cookie).second) {
            continue;  // it moved between two of the kernel's tables while they were read
        }
        const State state = standing_state(row);
        summary.total.add(state);
        summary.time_wait_fin_wait2 += is_dead_fin_wait2(row) ? 1 : 0;
        if (!filter.matches_ends(ends_of(row))) {
            continue;
        }
        const Who who = ownership.of(row);
        if (filter.asks_for_processes() && !who.process) {
            continue;
        }
        OwnerStates& owner = by_owner[key_of(who.process ? &*who.process : nullptr)];
        if (owner.counts.all() == 0) {
            owner.who = who;
        }
        owner.counts.add(state);
        owner.shared += is_shared(holders_of(row.cookie, snapshot), table) ? 1 : 0;
        const std::optional<std::string> cgroup = who.process ? who.process->cgroup : std::nullopt;
        CgroupStates& group = by_cgroup[cgroup];
        group.cgroup = cgroup;
        group.counts.add(state);
    }
    summary.by_owner = most_first(by_owner);
    summary.by_cgroup = most_first(by_cgroup);
    return summary;
}

}  // namespace tcptrail::report
