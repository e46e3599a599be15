// SPDX-License-Identifier: Apache-2.0
// What stands in one network namespace at one moment, counted from a snapshot for the doctor. Pure.
#pragma once

#include <compare>
#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "report/snapshot.h"
#include "report/who.h"

namespace tcptrail::report {

struct ListenerFacts {
    std::uint64_t cookie = 0;
    Family family = Family::ipv4;
    Address laddr{};
    std::uint16_t lport = 0;
    Who who;
    std::uint32_t accept_queue = 0;
    std::uint32_t accept_limit = 0;  // what listen() asked for, cut to somaxconn
    std::uint32_t half_open = 0;
    std::uint32_t drops = 0;   // since it was made
    bool chosen_port = false;  // by the process, not bind(0)
};

/// Where an active open goes: what needs a local port of its own.
struct Destination {
    Family family = Family::ipv4;
    Address laddr{};
    Address raddr{};
    std::uint16_t rport = 0;

    auto operator<=>(const Destination&) const = default;  // NOLINT(modernize-use-nullptr): as in who.h
};

struct Holding {
    Who who;
    std::uint64_t ports = 0;
};

/// The local ports of the range that are taken towards a destination.
struct PortsTowards {
    std::uint64_t live = 0;
    std::uint64_t time_wait = 0;
    std::uint64_t young_time_wait = 0;  // of these: not yet old enough for tcp_tw_reuse, or still waiting for a FIN
    std::map<WhoKey, Holding> holders;

    std::uint64_t used() const { return live + time_wait; }
};

/// A local port that live or time-wait sockets of a server, or outgoing connections, stand on.
struct LocalPort {
    std::uint64_t time_wait = 0;
    std::uint64_t time_wait_without_reuse = 0;  // of these: without SO_REUSEADDR
    std::uint64_t outgoing = 0;                 // live, the port was the kernel's choice
    Who outgoing_who;
};

/// Established, to another machine, and nothing heard for a while.
struct IdleConnection {
    Who who;
    Family family = Family::ipv4;
    Address raddr{};
    std::uint16_t rport = 0;
    std::uint64_t idle_s = 0;
    std::optional<std::uint64_t> keepalive_s;  // nullopt: keepalive is off
};

struct StuckSocket {
    Who who;
    std::uint32_t unread = 0;
    std::uint32_t quiet_ms = 0;  // since data or FIN last came: it has stood at least so long
};

struct Look {
    MonoNs time = 0;
    bool complete = false;  // of a snapshot with all sockets; else of what the tracker knows
    std::map<std::string, std::string> settings;
    std::map<std::string, std::int64_t> counters;
    std::map<State, std::uint64_t> states;  // as the kernel counts them: a dead FIN_WAIT2 is a FIN_WAIT2
    std::vector<ListenerFacts> listeners;
    std::map<Destination, PortsTowards> destinations;
    std::map<std::uint16_t, LocalPort> local_ports;  // those that a listener has or had
    std::uint64_t bound_in_range = 0;                // ports of the range that processes chose: no connect() gets them
    std::uint64_t time_wait_active = 0;
    std::uint64_t time_wait_passive = 0;
    std::uint64_t dead_fin_wait2 = 0;  // closed by their process, waiting for the peer's FIN
    std::map<Address, std::uint64_t> half_open_sources;
    Family half_open_family = Family::ipv4;
    std::map<std::uint16_t, std::uint64_t> half_open;  // by local port
    std::map<std::uint64_t, StuckSocket> close_wait;   // by cookie
    std::vector<IdleConnection> idle;

    std::optional<std::int64_t> setting(const std::string& name) const;
    std::optional<std::int64_t> counter(const std::string& name) const;
    std::uint64_t count(State state) const;
    /// Time-wait sockets of both kinds, as sockstat counts them.
    std::uint64_t time_wait() const { return time_wait_active + time_wait_passive; }
};

/// The ports from which connect() chooses.
struct PortRange {
    std::uint16_t low = 32768;
    std::uint16_t high = 60999;
    std::set<std::uint16_t> reserved;

    bool has(std::uint16_t port) const { return port >= low && port <= high && !reserved.contains(port); }
    std::uint64_t size() const;
};
PortRange port_range(const std::map<std::string, std::string>& settings);

/// The namespace as the snapshot shows it. `former`: ports of listeners that have ended.
Look look_at(const Snapshot& snapshot, std::uint32_t netns, const ConnectionTable& table,
             const std::set<std::uint16_t>& former);
/// The same where no snapshot shows sockets: from what the tracker knows.
Look look_at(const ConnectionTable& table, std::uint32_t netns, const NetnsFacts& facts,
             const std::set<std::uint16_t>& former);

}  // namespace tcptrail::report
