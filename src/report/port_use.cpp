// SPDX-License-Identifier: Apache-2.0
#include "report/port_use.h"

#include <algorithm>
#include <cmath>
#include <tuple>

#include "report/hash.h"

namespace tcptrail::report {
namespace {

constexpr std::uint64_t second_ns = 1'000'000'000;
/// TCP_TIMEWAIT_LEN is 60 s; the timer wheel lets go up to 2 s later, one on the mean.
constexpr std::uint64_t time_wait_ns = 61 * second_ns;

std::uint64_t since(MonoNs from, MonoNs to) {
    return to > from ? to - from : 0;
}

double seconds(std::uint64_t ns) {
    return static_cast<double>(ns) / 1e9;
}

/// Whether connect() chose the local port. Where the opening was not seen, a port of its range that no process chose was.
bool is_autobound(Role role, const Endpoints& ends, const std::map<std::uint32_t, PortSet>& taken,
                  const PortSettings* settings) {
    switch (role) {
        case Role::active: return true;
        case Role::passive: return false;
        case Role::unknown: break;
    }
    const auto chosen = taken.find(ends.netns);
    return settings != nullptr && settings->in_range(ends.lport) &&
           (chosen == taken.end() || !chosen->second[ends.lport]);
}

}  // namespace

PortKey port_key(const Endpoints& ends) {
    PortKey key;
    key.netns = ends.netns;
    key.family = ends.family;
    key.rport = ends.rport;
    key.laddr = ends.laddr;
    key.raddr = ends.raddr;
    Family local = ends.family;
    unmap(key.laddr, local);
    unmap(key.raddr, key.family);
    return key;
}

void RecentFlow::add(Kind kind, MonoNs time) {
    const auto second = static_cast<std::uint32_t>(time / second_ns);
    Slot& slot = slots_[second % slots];
    if (slot.second != second) {
        slot = {second, {}};
    }
    ++slot.counts[kind];
    if (first_ == 0) {
        first_ = time;
    }
}

RecentFlow::Sums RecentFlow::sums(MonoNs now, MonoNs start) const {
    const std::uint64_t second = now / second_ns;
    const std::uint64_t oldest = second >= slots - 1 ? second - (slots - 1) : 0;
    Sums sums;
    for (const Slot& slot : slots_) {
        if (slot.second >= oldest && slot.second <= second) {
            for (std::size_t kind = 0; kind < kinds; ++kind) {
                sums.counts[kind] += slot.counts[kind];
            }
        }
    }
    const MonoNs from = std::max({oldest * second_ns, start, first_});
    sums.seconds = seconds(since(from, now));
    return sums;
}

bool RecentFlow::is_empty(MonoNs now) const {
    const Sums recent = sums(now, 0);
    return std::all_of(recent.counts.begin(), recent.counts.end(), [](std::uint64_t n) { return n == 0; });
}

std::size_t PortUse::Hash::operator()(const PortKey& key) const {
    return hash_of(key.raddr, hash_of(key.laddr, static_cast<std::uint64_t>(key.netns) << 16 | key.rport));
}

PortUse::Activity* PortUse::activity(const Endpoints& ends) {
    const PortKey key = port_key(ends);
    if (last_ != nullptr && key == last_key_) {
        return last_;
    }
    auto found = activity_.find(key);
    if (found == activity_.end()) {
        if (activity_.size() >= most_) {
            return nullptr;
        }
        found = activity_.emplace(key, Activity()).first;
    }
    last_key_ = key;
    return last_ = &found->second;
}

void PortUse::opened(const TransitionRow& row) {
    if (Activity* to = row.bound ? nullptr : activity(row.ends)) {
        to->flow.add(RecentFlow::opened, row.time);
    }
}

void PortUse::ended(const ConnectionRow& row) {
    if (Activity* to = row.bound ? nullptr : activity(row.ends)) {
        to->flow.add(row.time_wait.value_or(false) ? RecentFlow::waits : RecentFlow::freed, row.time);
    }
}

void PortUse::failed(const ConnectionRow& row) {
    if (Activity* to = activity(row.ends)) {
        ++to->failed;
    }
}

const PortSettings* PortUse::settings(std::uint32_t netns) const {
    const auto found = settings_.find(netns);
    return found != settings_.end() ? &found->second : nullptr;
}

PortUse::Taken PortUse::taken() const {
    Taken taken;
    table_.for_each([&](const track::Connection& connection) {
        const bool chosen = connection.state == State::listen || connection.role == Role::passive || connection.bound;
        if (chosen && connection.ends.lport != 0 && connection.state != State::close) {
            taken[connection.ends.netns].set(connection.ends.lport);
        }
    });
    for (const OtherTimeWait& other : others_) {
        if (other.role == Role::passive) {
            taken[other.ends.netns].set(other.ends.lport);
        }
    }
    return taken;
}

/// A port that connect() has taken.
struct PortUse::Held {
    const Endpoints& ends;
    Owner owner;
    ProcessId closer;
    Role role;
    std::optional<std::uint64_t> waits_ns;  // for so long in TIME_WAIT; nullopt: the connection lives
};

template <typename Take>
void PortUse::for_each_held(MonoNs now, Take&& take) const {
    table_.for_each([&](const track::Connection& connection) {
        const bool lives = connection.state != State::listen && connection.state != State::close &&
                           connection.state != State::none && !connection.held;
        if (!lives || connection.role == Role::passive || connection.bound || !connection.addresses) {
            return;
        }
        std::optional<std::uint64_t> waits;
        if (connection.state == State::time_wait) {
            waits = since(connection.last_time, now);
        }
        take(Held{connection.ends, connection.owner, connection.closer, connection.role, waits});
    });
    for (const OtherTimeWait& other : others_) {
        const std::uint64_t waits = since(other.entered, now);
        if (other.role != Role::passive && waits < time_wait_ns) {
            take(Held{other.ends, other.owner, 0, other.role, waits});
        }
    }
}

struct PortUse::Counted {
    std::uint64_t in_use = 0;
    std::uint64_t time_wait = 0;
    std::uint64_t reusable = 0;
    std::vector<double> releases_s;  // of those that connect() cannot take over
    Shares by_who;
    bool matches = false;
};

void PortUse::share(Shares& shares, const Held& held) {
    const bool known = held.owner.evidence != Evidence::unknown;
    const std::optional<WhoId> who = who_.of(known ? held.owner.process : 0, table_);
    if (!who) {
        return;  // there are more processes than a row could show
    }
    Share& to = shares[*who];
    ++to.ports;
    to.evidence = held.owner.evidence;
}

std::vector<PortHolder> PortUse::named(const Shares& by_who) const {
    std::vector<PortHolder> holders;
    for (const auto& [who, share] : by_who) {
        holders.push_back({who_of(who_.process(who), share.evidence), share.ports});
    }
    std::stable_sort(holders.begin(), holders.end(), [](const PortHolder& a, const PortHolder& b) {
        const bool a_known = a.owner.process.has_value();
        const bool b_known = b.owner.process.has_value();
        return std::tie(a_known, a.ports) > std::tie(b_known, b.ports);
    });
    return holders;
}

std::vector<PortHolder> PortUse::holders(const Endpoints& ends, MonoNs now) {
    const PortKey wanted = port_key(ends);
    who_.clear();
    const Taken chosen = taken();
    Shares by_who;
    const PortSettings* settings = this->settings(ends.netns);
    for_each_held(now, [&](const Held& held) {
        if (held.ends.rport == ends.rport && held.ends.netns == ends.netns && port_key(held.ends) == wanted &&
            is_autobound(held.role, held.ends, chosen, settings)) {
            share(by_who, held);
        }
    });
    return named(by_who);
}

PortRow PortUse::row(const PortKey& key, const Counted& counted, const Taken& taken, MonoNs now) const {
    PortRow row;
    row.netns = key.netns;
    row.family = key.family;
    row.laddr = key.laddr;
    row.raddr = key.raddr;
    row.rport = key.rport;
    row.in_use = counted.in_use;
    row.time_wait = counted.time_wait;
    row.reusable = counted.reusable;
    row.owners = named(counted.by_who);
    while (!row.owners.empty() && !row.owners.back().owner.process) {
        row.owners.pop_back();
    }
    const PortSettings* settings = this->settings(key.netns);
    if (settings != nullptr) {
        const auto chosen = taken.find(key.netns);
        row.available = settings->available(chosen != taken.end() ? chosen->second : PortSet());
        row.reuses = settings->reuses(is_loopback(key.raddr, key.family) || is_loopback(key.laddr, key.family));
    }
    const auto found = activity_.find(key);
    if (found == activity_.end()) {
        return row;
    }
    row.failed_connects = found->second.failed;
    const RecentFlow::Sums flow = found->second.flow.sums(now, table_.start());
    if (flow.seconds <= 0) {
        return row;
    }
    const auto per_s = [&](RecentFlow::Kind kind) { return static_cast<double>(flow.counts[kind]) / flow.seconds; };
    row.rate_per_s = per_s(RecentFlow::opened);
    if (!row.available) {
        return row;
    }
    PortFlow ports;
    ports.available = *row.available;
    ports.used = static_cast<double>(row.reuses ? row.used() - row.reusable : row.used());
    ports.opens_per_s = *row.rate_per_s;
    ports.freed_per_s = per_s(RecentFlow::freed);
    ports.wait_s = row.reuses ? static_cast<double>(settings->reuse_delay_ms) / 1e3 : seconds(time_wait_ns);
    ports.releases_s = counted.releases_s;
    // Connections that live on: only more than chance brings about counts as growth.
    const auto opened = static_cast<double>(flow.counts[RecentFlow::opened]);
    const double growth = opened - static_cast<double>(flow.counts[RecentFlow::freed] + flow.counts[RecentFlow::waits]);
    ports.growth_per_s = growth > 3 * std::sqrt(opened) ? growth / flow.seconds : 0;
    row.exhausted_in_s = seconds_to_exhaustion(std::move(ports));
    return row;
}

std::vector<PortRow> PortUse::rows(MonoNs now, const Filter& filter) {
    who_.clear();
    const Taken chosen = taken();
    std::unordered_map<PortKey, Counted, Hash> counted;
    for_each_held(now, [&](const Held& held) {
        const PortSettings* settings = this->settings(held.ends.netns);
        if (!is_autobound(held.role, held.ends, chosen, settings)) {
            return;
        }
        Counted& to = counted[port_key(held.ends)];
        share(to.by_who, held);
        to.matches = to.matches || filter.matches(held.ends, std::array{held.owner.process, held.closer}, table_);
        if (!held.waits_ns) {
            ++to.in_use;
            return;
        }
        ++to.time_wait;
        const bool reuses = settings != nullptr && settings->reuses(is_loopback(held.ends.raddr, held.ends.family) ||
                                                                    is_loopback(held.ends.laddr, held.ends.family));
        const std::uint64_t delay = settings != nullptr ? settings->reuse_delay_ms * 1'000'000 : second_ns;
        if (*held.waits_ns > delay) {
            ++to.reusable;
        }
        if (!reuses) {
            to.releases_s.push_back(seconds(since(*held.waits_ns, time_wait_ns)));
        } else if (*held.waits_ns <= delay) {
            to.releases_s.push_back(seconds(delay - *held.waits_ns));
        }
    });
    std::vector<PortRow> rows;
    for (const auto& [key, of_key] : counted) {
        if (of_key.matches) {
            rows.push_back(row(key, of_key, chosen, now));
        }
    }
    const auto fullness = [](const PortRow& row) {
        return row.available ? static_cast<double>(row.used()) / std::max(1U, *row.available) : 0;
    };
    std::sort(rows.begin(), rows.end(), [&](const PortRow& a, const PortRow& b) {
        const double a_full = fullness(a);
        const double b_full = fullness(b);
        return std::tie(b_full, b.in_use, a.netns, a.raddr, a.rport, a.laddr) <
               std::tie(a_full, a.in_use, b.netns, b.raddr, b.rport, b.laddr);
    });
    if (rows.size() > most_) {
        rows.resize(most_);
    }
    return rows;
}

void PortUse::clear(MonoNs now) {
    last_ = nullptr;
    for (auto at = activity_.begin(); at != activity_.end();) {
        at->second.failed = 0;
        at = at->second.flow.is_empty(now) ? activity_.erase(at) : std::next(at);
    }
}

}  // namespace tcptrail::report
