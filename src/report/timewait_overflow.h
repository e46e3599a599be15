// SPDX-License-Identifier: Apache-2.0
// When tcp_max_tw_buckets is reached, the kernel closes without TIME_WAIT. Where no hook tells which, the connections that
// ended while the buckets were full are in doubt: a snapshot shows which of them stand, and the namespace's counter
// TCPTimeWaitOverflow how many were refused. Used from one thread.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <vector>

#include <tcptrail/rows.h>
#include <tsl/robin_map.h>

#include "report/timewait_ledger.h"

namespace tcptrail::report {

struct DoubtfulEntry {
    std::uint64_t cookie = 0;
    MonoNs time = 0;
    bool fin_wait2 = false;
    TimeWaitEntry entry;
};

/// What became of the doubtful entries of one namespace. created + refused + left is their number.
struct OverflowSettled {
    std::vector<DoubtfulEntry> standing;  // created, and seen in the snapshot
    std::vector<DoubtfulEntry> gone;      // created, and gone by the snapshot
    std::uint64_t anonymous = 0;          // created and gone, one cannot say which of `undecided`
    std::uint64_t refused = 0;
    std::uint64_t undecided = 0;  // which of these were refused cannot be said
    std::uint64_t left = 0;       // of these not even how many were refused
};

class TimeWaitOverflow {
public:
    /// Remembers at most `most` entries in doubt; those beyond are counted.
    explicit TimeWaitOverflow(std::size_t most = std::size_t{1} << 16) : most_(most) {}

    void add(std::uint32_t netns, const DoubtfulEntry& entry);
    /// The snapshot shows this time-wait socket. True if it was in doubt.
    bool shows(std::uint32_t netns, std::uint64_t cookie);
    /// The snapshot's rows of the namespace are over, and its counter said `refused` at `time`. Settles what came before.
    OverflowSettled settle(std::uint32_t netns, MonoNs time, std::int64_t refused);
    /// In doubt now.
    std::uint64_t pending() const { return pending_; }
    /// A snapshot that began at `began` told of these namespaces. Others are gone, unless something came of them since.
    /// Returns how many in doubt nothing will settle now.
    std::uint64_t keep(const std::set<std::uint32_t>& namespaces, MonoNs began);

private:
    struct Doubtful {
        DoubtfulEntry entry;
        bool shown = false;
    };
    struct Place {
        std::optional<std::int64_t> counter;  // as of the last settlement
        std::int64_t carry = 0;               // refusals of entries that were not in doubt, or not yet
        std::vector<Doubtful> entries;
        tsl::robin_map<std::uint64_t, std::uint32_t> by_cookie;
        std::uint64_t nameless = 0;  // beyond `most_`
        MonoNs last = 0;             // when the last one came
    };

    std::size_t most_;
    std::size_t kept_ = 0;
    std::uint64_t pending_ = 0;
    std::map<std::uint32_t, Place> places_;
};

}  // namespace tcptrail::report
