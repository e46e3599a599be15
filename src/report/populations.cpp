// SPDX-License-Identifier: Apache-2.0
#include "report/populations.h"

namespace tcptrail::report {

Population Populations::now(MonoNs time) const {
    Population population;
    population.time = time;
    table_.for_each([&](const track::Connection& connection) {
        ++population.standing[static_cast<std::size_t>(connection.state) % population.standing.size()];
    });
    return population;
}

/// Where nothing happened for long, what stands now stood then too.
void Populations::look(MonoNs time) {
    constexpr MonoNs no_time = MonoNs{1} << 62;  // a hundred years: not a clock's, but a broken recording's
    if (time >= no_time) {
        return;
    }
    if (next_ == 0) {
        next_ = time + step_;  // the first moment is after the first snapshot, most likely
        return;
    }
    Population population = now(time);
    while (next_ <= time) {
        population.time = next_;
        seen_.push_back(population);
        next_ += step_;
        if (seen_.size() >= most) {
            for (std::size_t i = 1; i < seen_.size(); i += 2) {
                seen_[i / 2] = seen_[i];
            }
            seen_.resize(seen_.size() / 2);
            step_ *= 2;
            next_ = seen_.back().time + step_;
        }
    }
}

std::vector<Population> Populations::all(MonoNs until) const {
    std::vector<Population> all = seen_;
    all.push_back(now(until));
    return all;
}

}  // namespace tcptrail::report
