// SPDX-License-Identifier: Apache-2.0
#include "report/timewait_ledger.h"

#include <algorithm>
#include <map>
#include <tuple>

#include "report/filter.h"
#include "report/hash.h"
#include "report/life.h"

namespace tcptrail::report {

std::size_t TimeWaitLedger::Hash::operator()(const Key& key) const {
    const std::uint64_t small = static_cast<std::uint64_t>(key.port) << 16 | static_cast<std::uint64_t>(key.role) << 8 |
                                static_cast<std::uint64_t>(key.family) << 1 | static_cast<std::uint64_t>(key.many);
    return hash_of(key.raddr, hash_of(static_cast<std::uint64_t>(key.owner) << 32 | key.closer, small));
}

std::optional<TimeWaitLedger::Key> TimeWaitLedger::key_of(const TimeWaitEntry& entry) {
    const ProcessId known_owner = entry.owner.evidence == Evidence::unknown ? 0 : entry.owner.process;
    const std::optional<WhoId> owner = who_.of(known_owner, processes_);
    const std::optional<WhoId> closer = who_.of(entry.closer, processes_);
    if (!owner || !closer) {
        return std::nullopt;
    }
    Key key;
    key.raddr = entry.ends.raddr;
    key.family = entry.ends.family;
    unmap(key.raddr, key.family);
    key.owner = *owner;
    key.closer = *closer;
    key.role = entry.role;
    switch (entry.role) {
        case Role::active: key.port = entry.ends.rport; break;
        case Role::passive: key.port = entry.ends.lport; break;
        case Role::unknown: break;
    }
    return key;
}

TimeWaitLedger::Row* TimeWaitLedger::row_for(const TimeWaitEntry& entry) {
    const std::optional<Key> wanted = key_of(entry);
    if (!wanted) {
        return nullptr;
    }
    Key key = *wanted;
    auto found = index_.find(key);
    if (found == index_.end() && rows_.size() >= max_rows_) {
        key.raddr = {};
        key.family = Family::ipv4;
        key.port = 0;
        key.many = true;
        found = index_.find(key);
        if (found == index_.end() && rows_.size() >= 2 * max_rows_) {
            return nullptr;
        }
    }
    if (found == index_.end()) {
        Row fresh;
        fresh.key = key;
        fresh.evidence = entry.owner.evidence;
        found = index_.emplace(key, static_cast<std::uint32_t>(rows_.size())).first;
        rows_.push_back(fresh);
    }
    return &rows_[found->second];
}

void TimeWaitLedger::add(const TimeWaitEntry& entry) {
    Row* row = row_for(entry);
    if (row == nullptr) {
        ++left_out_;
        return;
    }
    ++row->created;
    if (entry.lifetime_ns) {
        ++row->lifetimes;
        row->lifetime_ns += *entry.lifetime_ns;
    }
}

void TimeWaitLedger::stands(const TimeWaitEntry& entry) {
    if (Row* row = row_for(entry)) {
        ++row->now;
    }
}

void TimeWaitLedger::forget_standing() {
    for (Row& row : rows_) {
        row.now = 0;
    }
}

std::vector<TimeWaitOrigin> TimeWaitLedger::origins(std::uint64_t window_ns) const {
    std::map<std::tuple<WhoId, WhoId, Role>, std::vector<const Row*>> groups;
    for (const Row& row : rows_) {
        if (row.created != 0 || row.now != 0) {
            groups[{row.key.owner, row.key.closer, row.key.role}].push_back(&row);
        }
    }
    const auto before = [](const auto& a, const auto& b) {
        return std::tie(a.now, a.created) > std::tie(b.now, b.created);
    };
    std::vector<TimeWaitOrigin> origins;
    origins.reserve(groups.size());
    for (const auto& [key, rows] : groups) {
        TimeWaitOrigin& origin = origins.emplace_back();
        const auto& [owner, closer, role] = key;
        origin.owner = who_of(who_.process(owner), rows.front()->evidence);
        origin.closer = who_of(who_.process(closer), Evidence::close).process;
        origin.role = role;
        for (const Row* row : rows) {
            origin.created += row->created;
            origin.now += row->now;
            TimeWaitDestination& to = origin.destinations.emplace_back();
            to.created = row->created;
            to.now = row->now;
            if (row->lifetimes != 0) {
                to.lifetime_s = static_cast<double>(row->lifetime_ns) / static_cast<double>(row->lifetimes) / 1e9;
            }
            if (row->key.many) {
                continue;
            }
            to.family = row->key.family;
            to.raddr = row->key.raddr;
            (role == Role::passive ? to.lport : to.rport) =
                role == Role::unknown ? std::nullopt : std::optional(row->key.port);
        }
        origin.rate_per_s = rate_per_s(origin.created, window_ns);
        std::stable_sort(origin.destinations.begin(), origin.destinations.end(), before);
    }
    std::stable_sort(origins.begin(), origins.end(), before);
    return origins;
}

void TimeWaitLedger::clear() {
    rows_.clear();
    index_.clear();
    left_out_ = 0;
    who_.clear();
}

}  // namespace tcptrail::report
