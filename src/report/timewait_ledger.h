// SPDX-License-Identifier: Apache-2.0
// Who made TIME_WAIT, towards whom: counts by owner, closer, role and destination. Used from one thread.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include <tcptrail/rows.h>
#include <tsl/robin_map.h>

#include "report/timewait_rows.h"
#include "report/who_table.h"

namespace tcptrail::report {

/// A connection that has left a time-wait socket.
struct TimeWaitEntry {
    Endpoints ends;
    Owner owner;
    ProcessId closer = 0;
    Role role = Role::unknown;
    std::optional<std::uint64_t> lifetime_ns;
};

class TimeWaitLedger {
public:
    /// Keeps at most `max_rows` destinations. Those beyond share one row for each owner, closer and role (raddr null),
    /// which may be as many again; what is beyond that, or of more processes than `max_processes`, is counted in
    /// left_out(). `processes` outlives the ledger.
    explicit TimeWaitLedger(const ProcessDirectory& processes, std::size_t max_rows = 10'000,
                            std::size_t max_processes = std::size_t{1} << 16)
        : processes_(processes), max_rows_(max_rows), who_(max_processes) {}

    /// One more was created in this window.
    void add(const TimeWaitEntry& entry);
    /// One stands now.
    void stands(const TimeWaitEntry& entry);
    /// Nothing was said to stand yet.
    void forget_standing();
    std::uint64_t left_out() const { return left_out_; }

    std::vector<TimeWaitOrigin> origins(std::uint64_t window_ns) const;
    /// The window begins anew.
    void clear();

private:
    struct Key {
        Address raddr{};
        WhoId owner = 0;
        WhoId closer = 0;
        std::uint16_t port = 0;
        Role role = Role::unknown;
        Family family = Family::ipv4;
        bool many = false;

        bool operator==(const Key&) const = default;
    };
    struct Hash {
        std::size_t operator()(const Key& key) const;
    };
    struct Row {
        Key key;
        Evidence evidence = Evidence::unknown;
        std::uint64_t created = 0;
        std::uint64_t now = 0;
        std::uint64_t lifetimes = 0;
        std::uint64_t lifetime_ns = 0;  // sum
    };

    /// nullopt: of a process for which there is no room.
    std::optional<Key> key_of(const TimeWaitEntry& entry);
    Row* row_for(const TimeWaitEntry& entry);

    const ProcessDirectory& processes_;
    std::size_t max_rows_;
    WhoTable who_;
    tsl::robin_map<Key, std::uint32_t, Hash> index_;
    std::vector<Row> rows_;
    std::uint64_t left_out_ = 0;
};

}  // namespace tcptrail::report
