// SPDX-License-Identifier: Apache-2.0
#include "report/life.h"

#include <algorithm>

namespace tcptrail::report {
namespace {

void count(LifeRow& to, const ConnectionRow& row) {
    ++to.ended;
    ++to.reasons[row.reason];
    if (row.lifetime_ns) {
        to.lifetimes_ns.add(*row.lifetime_ns);
    }
    if (!row.states.empty() && row.states.front().state == State::syn_sent) {
        to.connects_ns.add(row.states.front().ns);
    }
    to.retransmits += row.retransmits.value_or(0);
}

}  // namespace

std::vector<std::pair<CloseReason, std::uint64_t>> LifeRow::reasons_by_count() const {
    std::vector<std::pair<CloseReason, std::uint64_t>> sorted(reasons.begin(), reasons.end());
    std::stable_sort(sorted.begin(), sorted.end(), [](const auto& a, const auto& b) { return a.second > b.second; });
    return sorted;
}

std::optional<double> rate_per_s(std::uint64_t count, std::uint64_t window_ns) {
    if (window_ns == 0) {
        return std::nullopt;
    }
    return static_cast<double>(count) * 1e9 / static_cast<double>(window_ns);
}

LifeRow* LifeReport::row_for(const ConnectionRow& row, const Process* owner) {
    Key key;
    std::get<0>(key) = key_of(owner);
    std::get<1>(key) = row.ends.family == Family::ipv6;
    std::get<2>(key) = row.ends.raddr;
    if (row.role == Role::active) {
        std::get<3>(key) = row.ends.rport;
    } else if (row.role == Role::passive) {
        std::get<4>(key) = row.ends.lport;
    }
    std::get<5>(key) = row.owner.evidence == Evidence::inherited;
    auto found = rows_.find(key);
    if (found == rows_.end() && rows_.size() >= max_rows_) {
        std::get<1>(key) = false;
        std::get<2>(key).reset();
        std::get<3>(key).reset();
        std::get<4>(key).reset();
        found = rows_.find(key);
        if (found == rows_.end() && rows_.size() >= 2 * max_rows_) {
            return nullptr;
        }
    }
    if (found == rows_.end()) {
        LifeRow fresh;
        fresh.who = who_of(owner, row.owner.evidence);
        fresh.family = std::get<1>(key) ? Family::ipv6 : Family::ipv4;
        fresh.raddr = std::get<2>(key);
        fresh.rport = std::get<3>(key);
        fresh.lport = std::get<4>(key);
        found = rows_.emplace(std::move(key), std::move(fresh)).first;
    }
    return &found->second;
}

void LifeReport::add(const ConnectionRow& row, const ProcessDirectory& processes) {
    count(total_, row);
    if (LifeRow* to = row_for(row, known_process(row.owner, processes))) {
        count(*to, row);
    } else {
        ++left_out_;
    }
}

void LifeReport::clear() {
    rows_.clear();
    total_ = {};
    left_out_ = 0;
}

LifeSummary LifeReport::summary(MonoNs from, MonoNs to) const {
    LifeSummary summary;
    summary.time = to;
    summary.window_ns = to > from ? to - from : 0;
    summary.total = total_;
    summary.left_out = left_out_;
    summary.rows.reserve(rows_.size());
    for (const auto& [key, row] : rows_) {
        summary.rows.push_back(row);
    }
    std::stable_sort(summary.rows.begin(), summary.rows.end(),
                     [](const LifeRow& a, const LifeRow& b) { return a.ended > b.ended; });
    return summary;
}

}  // namespace tcptrail::report
