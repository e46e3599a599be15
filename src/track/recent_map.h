// SPDX-License-Identifier: Apache-2.0
// A map that forgets: it holds at least the `keep` keys that were last set, and at most twice as many.
#pragma once

#include <cstddef>
#include <utility>

#include <tsl/robin_map.h>

namespace tcptrail::track {

template <typename Key, typename Value>
class RecentMap {
public:
    explicit RecentMap(std::size_t keep) : keep_(keep) {}

    void set(const Key& key, Value value) {
        if (young_.size() >= keep_ && !young_.contains(key)) {
            old_ = std::exchange(young_, {});
        }
        young_[key] = std::move(value);
    }
    /// nullptr: never set, or forgotten; valid until the next set().
    const Value* find(const Key& key) const {
        if (const auto found = young_.find(key); found != young_.end()) {
            return &found->second;
        }
        const auto found = old_.find(key);
        return found != old_.end() ? &found->second : nullptr;
    }
    std::size_t size() const { return young_.size() + old_.size(); }

private:
    std::size_t keep_;
    tsl::robin_map<Key, Value> young_;
    tsl::robin_map<Key, Value> old_;
};

}  // namespace tcptrail::track
