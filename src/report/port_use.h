// SPDX-License-Identifier: Apache-2.0
// Ephemeral ports by destination: how many connect() has taken from one local address towards one remote address and port,
// how fast, and who holds them. Used from one thread.
#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <unordered_map>
#include <utility>
#include <vector>

#include <tcptrail/rows.h>

#include "report/filter.h"
#include "report/port_forecast.h"
#include "report/timewait_rows.h"
#include "report/who_table.h"
#include "track/table.h"

namespace tcptrail::report {

/// What ports are counted by. A v4-mapped address stands here as IPv4: both share the ports.
struct PortKey {
    std::uint32_t netns = 0;
    Family family = Family::ipv4;
    std::uint16_t rport = 0;
    Address laddr{};
    Address raddr{};

    bool operator==(const PortKey&) const = default;
};

PortKey port_key(const Endpoints& ends);

/// A time-wait socket that stands and that the tracker's table has not: as a snapshot shows it.
struct OtherTimeWait {
    Endpoints ends;
    Role role = Role::unknown;
    Owner owner;
    MonoNs entered = 0;
};

/// Counts of the last ten seconds, by the second.
class RecentFlow {
public:
    enum Kind { opened, freed, waits, kinds };

    void add(Kind kind, MonoNs time);
    struct Sums {
        std::array<std::uint64_t, kinds> counts{};
        double seconds = 0;
    };
    /// `start`: the trace's.
    Sums sums(MonoNs now, MonoNs start) const;
    bool is_empty(MonoNs now) const;

private:
    static constexpr std::size_t slots = 11;  // ten whole seconds and the one under way
    struct Slot {
        std::uint32_t second = 0;
        std::array<std::uint32_t, kinds> counts{};
    };
    std::array<Slot, slots> slots_{};
    MonoNs first_ = 0;
};

class PortUse {
public:
    /// Remembers the rates of at most `most` destinations. `table` outlives it.
    explicit PortUse(const ConnectionTable& table, std::size_t most = 10'000) : table_(table), most_(most) {}

    /// An active open is established, has ended, or has found no port.
    void opened(const TransitionRow& row);
    void ended(const ConnectionRow& row);
    void failed(const ConnectionRow& row);

    void settings(std::uint32_t netns, const NetnsFacts& facts) { settings_[netns] = port_settings(facts); }
    /// Forgets those of other namespaces: they are gone.
    void keep_settings(const std::set<std::uint32_t>& namespaces) {
        std::erase_if(settings_, [&](const auto& known) { return !namespaces.contains(known.first); });
    }
    const PortSettings* settings(std::uint32_t netns) const;

    /// What a snapshot showed beside the table.
    void others(std::vector<OtherTimeWait> others) { others_ = std::move(others); }

    /// Who holds ports towards the destination of `ends`, most first.
    std::vector<PortHolder> holders(const Endpoints& ends, MonoNs now);

    /// Fullest first, at most as many as are remembered.
    std::vector<PortRow> rows(MonoNs now, const Filter& filter);
    /// The window begins anew.
    void clear(MonoNs now);

private:
    struct Hash {
        std::size_t operator()(const PortKey& key) const;
    };
    struct Activity {
        RecentFlow flow;
        std::uint64_t failed = 0;
    };
    struct Held;     // one port
    struct Counted;  // of one destination
    struct Share {
        std::uint64_t ports = 0;
        Evidence evidence = Evidence::unknown;
    };
    using Shares = std::map<WhoId, Share>;
    using Taken = std::map<std::uint32_t, PortSet>;

    Activity* activity(const Endpoints& ends);
    /// Ports that processes chose for themselves, by namespace: connect() takes them for no destination.
    Taken taken() const;
    template <typename Take>
    void for_each_held(MonoNs now, Take&& take) const;
    PortRow row(const PortKey& key, const Counted& counted, const Taken& taken, MonoNs now) const;
    void share(Shares& shares, const Held& held);
    std::vector<PortHolder> named(const Shares& by_who) const;

    const ConnectionTable& table_;
    std::size_t most_;
    std::unordered_map<PortKey, Activity, Hash> activity_;
    PortKey last_key_;
    Activity* last_ = nullptr;  // of last_key_: most connections go where the one before went
    std::vector<OtherTimeWait> others_;
    std::map<std::uint32_t, PortSettings> settings_;
    WhoTable who_;  // of the call under way
};

}  // namespace tcptrail::report
