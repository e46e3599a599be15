// SPDX-License-Identifier: Apache-2.0
#include "report/evidence.h"

#include <algorithm>
#include <utility>

namespace tcptrail::report {

std::uint64_t EndedGroup::count(CloseReason reason) const {
    const auto found = reasons.find(reason);
    return found != reasons.end() ? found->second : 0;
}

double EndedGroup::mean_lifetime_s() const {
    const std::uint64_t known = lifetimes_ns.count();
    return known != 0 ? static_cast<double>(lifetimes_sum_ns) / static_cast<double>(known) / 1e9 : 0;
}

std::uint64_t NetnsEvidence::grown(const std::string& counter) const {
    if (!before) {
        return 0;
    }
    const auto then = before->counter(counter);
    const auto today = now.counter(counter);
    return then && today && *today > *then ? static_cast<std::uint64_t>(*today - *then) : 0;
}

std::uint64_t NetnsEvidence::connected_to(const EndedGroup& group) const {
    const auto found = connected.find({group.family, group.raddr, group.rport});
    return found != connected.end() ? found->second : 0;
}

void EvidenceGatherer::on_record(const tt_head& record) {
    gap_ = gap_ || record.type == TT_GAP;
    if (!gatherer_.take(record)) {
        return;
    }
    const Snapshot& snapshot = *gatherer_.latest();
    ++snapshots_;
    last_ = (snapshot.what & (TT_SNAP_LAST | TT_SNAP_REPORT)) != 0;
    if (!std::exchange(gap_, false)) {  // else it may be the recording that lacks some
        std::erase_if(settings_, [&](const auto& known) { return !snapshot.namespaces.contains(known.first); });
    }
    for (const auto& [netns, facts] : snapshot.namespaces) {
        settings_[netns] = facts.settings;
        if (snapshots_ == 1) {
            before_.emplace(netns, look_at(snapshot, netns, table_, {}));
        }
    }
}

void EvidenceGatherer::clear() {
    heard_.clear();
    before_.clear();
    snapshots_ = 0;
    last_ = false;
}

std::uint64_t* EvidenceGatherer::opens_to(const Endpoints& ends, Heard& heard) {
    const Target target{ends.family, ends.raddr, ends.rport};
    if (const auto found = heard.connected.find(target); found != heard.connected.end()) {
        return &found->second;
    }
    if (heard.connected.size() >= most_groups) {
        ++heard.left_out;
        return nullptr;
    }
    return &heard.connected[target];
}

void EvidenceGatherer::on_transition(const TransitionRow& row) {
    if (row.new_state == State::established) {
        if (row.old_state == State::syn_sent) {
            if (std::uint64_t* const opens = opens_to(row.ends, heard_[row.ends.netns])) {
                ++*opens;
            }
        } else if (row.old_state == State::syn_recv) {
            ++heard_[row.ends.netns].accepted[row.ends.lport];
        }
    } else if (row.old_state == State::listen && row.new_state == State::close) {
        Heard& heard = heard_[row.ends.netns];
        if (heard.former.size() < most_former || heard.former.contains(row.ends.lport)) {
            heard.former[row.ends.lport] = {who_of(known_process(row.owner, table_), row.owner.evidence), row.ends,
                                            row.time};
        } else {
            ++heard.left_out;
        }
    }
}

void EvidenceGatherer::on_ended(const ConnectionRow& row) {
    const Process* owner = known_process(row.owner, table_);
    GroupKey key{key_of(owner), row.role, row.ends.family, {}, 0, 0};
    if (row.role == Role::passive) {
        std::get<5>(key) = row.ends.lport;
    } else {
        std::get<3>(key) = row.ends.raddr;
        std::get<4>(key) = row.ends.rport;
    }
    Heard& heard = heard_[row.ends.netns];
    auto& groups = heard.ended;
    auto found = groups.find(key);
    if (found == groups.end()) {
        if (groups.size() >= most_groups) {
            ++heard.left_out;
            return;
        }
        // Where the opens to it find no room, its failures would look like all there was.
        if (row.role != Role::passive && opens_to(row.ends, heard) == nullptr) {
            return;
        }
        EndedGroup fresh;
        fresh.who = who_of(owner, row.owner.evidence);
        fresh.role = row.role;
        fresh.family = row.ends.family;
        fresh.raddr = std::get<3>(key);
        fresh.rport = std::get<4>(key);
        fresh.lport = std::get<5>(key);
        found = groups.emplace(std::move(key), std::move(fresh)).first;
    }
    EndedGroup& group = found->second;
    ++group.ended;
    ++group.reasons[row.reason];
    group.time_wait += row.time_wait.value_or(false) ? 1 : 0;
    if (row.lifetime_ns) {
        group.lifetimes_ns.add(*row.lifetime_ns);
        group.lifetimes_sum_ns += *row.lifetime_ns;
    }
}

std::set<std::uint16_t> EvidenceGatherer::ports(const Heard* heard) {
    std::set<std::uint16_t> ports;
    if (heard != nullptr) {
        for (const auto& [port, listener] : heard->former) {
            ports.insert(port);
        }
    }
    return ports;
}

std::vector<NetnsEvidence> EvidenceGatherer::evidence(MonoNs from, MonoNs to) const {
    std::set<std::uint32_t> all;
    for (const auto& [netns, settings] : settings_) {
        all.insert(netns);
    }
    for (const auto& [netns, heard] : heard_) {
        all.insert(netns);
    }
    all.erase(0);  // of connections whose namespace was lost
    std::vector<NetnsEvidence> result;
    for (const std::uint32_t netns : all) {
        NetnsEvidence evidence;
        evidence.netns = netns;
        evidence.window_ns = to > from ? to - from : 0;
        const auto heard = heard_.find(netns);
        const Heard* const here = heard != heard_.end() ? &heard->second : nullptr;
        const auto before = before_.find(netns);
        if (last_ && before != before_.end() && snapshots_ > 1) {
            evidence.before = before->second;
        }
        if (last_ && !gatherer_.latest()->sockets.empty()) {
            evidence.now = look_at(*gatherer_.latest(), netns, table_, ports(here));
        } else {
            NetnsFacts facts;
            if (const auto known = settings_.find(netns); known != settings_.end()) {
                facts.settings = known->second;
            }
            if (last_) {  // no iterator serves; the counters are there all the same
                const auto& all_facts = gatherer_.latest()->namespaces;
                const auto told = all_facts.find(netns);
                facts = told != all_facts.end() ? told->second : facts;
            }
            evidence.now = look_at(table_, netns, facts, ports(here));
        }
        if (here != nullptr) {
            for (const auto& [key, group] : here->ended) {
                evidence.ended.push_back(group);
            }
            std::stable_sort(evidence.ended.begin(), evidence.ended.end(),
                             [](const EndedGroup& a, const EndedGroup& b) { return a.ended > b.ended; });
            evidence.connected = here->connected;
            evidence.accepted = here->accepted;
            evidence.former = here->former;
            evidence.left_out = here->left_out;
            for (const ListenerFacts& listener : evidence.now.listeners) {
                evidence.former.erase(listener.lport);
            }
        }
        result.push_back(std::move(evidence));
    }
    return result;
}

}  // namespace tcptrail::report
