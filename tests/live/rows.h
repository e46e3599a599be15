// SPDX-License-Identifier: Apache-2.0
// One row of the output against one side of the truth: what compare.h's functions are made of. Each *_fault returns what
// is wrong, empty if nothing.
#pragma once

#include <functional>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "compare.h"

namespace tcptrail::live {

constexpr std::int64_t kSlack_ns = 50'000'000;  // the two clocks are read at different moments

std::string place_of(const Tuple& tuple);
/// The row's text under `key`, empty if there is none.
std::string text(const Json& row, const char* key);
/// Whether `value` is among `choices`, which are parted by '|'.
bool is_one_of(const std::string& value, const std::string& choices);

std::string owner_fault(const Json& row, const OwnerTruth& truth, bool any_thread);
/// For `actor` and `closer`.
std::string named_fault(const Json& row, const char* key, const std::optional<Named>& truth, bool any_thread);
/// Family, addresses, ports, netns, generation, time.
std::string place_fault(const Json& row, const Side& side, const Bounds& bounds, bool port_known = true);

/// One socket's rows, in the order of the output.
struct Trail {
    std::vector<Json> rows;

    /// As "CLOSE>SYN_SENT, SYN_SENT>ESTABLISHED".
    std::string course() const;

    /// What joins it to a side: the addresses once the kernel has chosen a port.
    std::string key() const;
};

/// What a Trail's key() must be to be this side's.
std::string key_of(const Side& side);

/// Joins sides to what was read, by key, and tells what is too much or too little.
template <typename Item, typename Compare>
void join(const std::vector<const Side*>& sides, std::multimap<std::string, Item>& items, Differences& differences,
          const Compare& compare, const std::function<std::string(const Item&)>& describe) {
    for (const Side* side : sides) {
        const auto found = items.find(key_of(*side));
        if (found == items.end()) {
            differences.push_back(side->name + " " + place_of(side->tuple) + " is not in the output");
            continue;
        }
        compare(*side, found->second);
        items.erase(found);
    }
    for (const auto& [key, item] : items) {
        differences.push_back("too much: " + key + ": " + describe(item));
    }
}

}  // namespace tcptrail::live
