// SPDX-License-Identifier: Apache-2.0
// Ephemeral ports: which there are, and when they run out. Pure arithmetic.
#pragma once

#include <bitset>
#include <cstdint>
#include <optional>
#include <string_view>
#include <vector>

#include <tcptrail/types.h>

#include "report/snapshot.h"

namespace tcptrail::report {

using PortSet = std::bitset<65536>;

/// Adds the ports of "8080,9000-9100" (sysctl ip_local_reserved_ports); false where the text is something else.
bool add_ports(std::string_view text, PortSet& ports);

/// What a namespace's settings say about ports for connect().
struct PortSettings {
    std::optional<std::uint16_t> low;  // ip_local_port_range
    std::optional<std::uint16_t> high;
    PortSet reserved;
    std::optional<int> tw_reuse;       // 0 off, 1 on, 2 loopback only
    std::optional<int> timestamps;     // 0 off
    std::uint64_t reuse_delay_ms = 0;  // a younger time-wait socket is not reused
    std::optional<std::int64_t> fin_timeout_s;
    std::optional<std::int64_t> max_tw_buckets;

    std::optional<std::uint32_t> range() const;
    bool in_range(std::uint16_t port) const { return low && high && port >= *low && port <= *high; }
    /// Ports that connect() may take; `taken` are those that processes chose for themselves.
    std::optional<std::uint32_t> available(const PortSet& taken) const;
    /// connect() may take a port over from TIME_WAIT towards the same destination.
    bool reuses(bool loopback) const;
};

PortSettings port_settings(const NetnsFacts& facts);

bool is_loopback(const Address& address, Family family);

/// How the ports towards one destination come and go.
struct PortFlow {
    double available = 0;
    double used = 0;                 // those that connect() cannot take now
    double opens_per_s = 0;          // ports taken
    double freed_per_s = 0;          // given back without TIME_WAIT
    double growth_per_s = 0;         // of connections that live on: what is left when TIME_WAIT has come to rest
    double wait_s = 0;               // how long TIME_WAIT keeps a port
    std::vector<double> releases_s;  // when each port now in TIME_WAIT comes free, from now; in any order
};

/// Seconds until connect() finds no port if everything goes on as it does; nullopt: it does not come to that within a
/// day.
std::optional<double> seconds_to_exhaustion(PortFlow flow);

}  // namespace tcptrail::report
