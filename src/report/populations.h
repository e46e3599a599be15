// SPDX-License-Identifier: Apache-2.0
// How many connections stood in each state over time, in a bounded number of moments: when there are too many, every
// second one goes. Pure; used from one thread.
#pragma once

#include <array>
#include <cstdint>
#include <vector>

#include "track/table.h"

namespace tcptrail::report {

struct Population {
    MonoNs time = 0;
    std::array<std::uint64_t, 13> standing{};  // by State
};

class Populations {
public:
    static constexpr std::size_t most = 48;

    explicit Populations(const ConnectionTable& table) : table_(table) {}

    /// The table has taken a record of `time`.
    void see(MonoNs time) {
        if (time >= next_) {
            look(time);
        }
    }
    /// The moments so far, the present one last; 48 at most, evenly spaced but for the last.
    std::vector<Population> all(MonoNs until) const;

private:
    void look(MonoNs time);
    Population now(MonoNs time) const;

    const ConnectionTable& table_;
    std::vector<Population> seen_;
    MonoNs next_ = 0;
    std::uint64_t step_ = 250'000'000;  // ns
};

}  // namespace tcptrail::report
