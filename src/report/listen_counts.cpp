// SPDX-License-Identifier: Apache-2.0
#include "report/listen_counts.h"

#include <algorithm>

namespace tcptrail::report {

std::uint64_t drops_of(const DropFacts& facts) {
    const bool alone = facts.sees_all && facts.sk_drops_others == 0;
    return alone || facts.listen_drops == 0 ? std::min(facts.sk_drops, facts.listen_drops) : facts.sk_drops;
}

std::optional<std::uint64_t> overflows_of(const DropFacts& facts) {
    if (drops_of(facts) == 0 || facts.listen_overflows == 0) {
        return 0;
    }
    if (facts.sees_all && facts.sk_drops_others == 0 && facts.listen_drops <= facts.sk_drops) {
        return facts.listen_overflows;
    }
    const bool adds_up = facts.sk_drops + facts.sk_drops_others == facts.listen_drops;
    return adds_up && facts.listen_overflows == facts.listen_drops ? std::optional(facts.sk_drops) : std::nullopt;
}

}  // namespace tcptrail::report
