// SPDX-License-Identifier: Apache-2.0
// What `timewait` shows: plain values that outlive the tracker's tables.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include <tcptrail/rows.h>

#include "report/who.h"

namespace tcptrail::report {

/// A v4-mapped address stands here as IPv4. An active open is known by raddr and rport, a passive one by raddr and lport.
struct TimeWaitDestination {
    Family family = Family::ipv4;
    std::optional<Address> raddr;  // nullopt: many, the table was full
    std::optional<std::uint16_t> rport;
    std::optional<std::uint16_t> lport;
    std::uint64_t created = 0;  // in the window
    std::uint64_t now = 0;
    std::optional<double> lifetime_s;  // mean of the full sockets
};

struct TimeWaitOrigin {
    Who owner;
    std::optional<Process> closer;  // nullopt: not known
    Role role = Role::unknown;
    std::uint64_t created = 0;
    std::uint64_t now = 0;
    std::optional<double> rate_per_s;
    std::vector<TimeWaitDestination> destinations;  // most standing first
};

struct PortHolder {
    Who owner;
    std::uint64_t ports = 0;
};

/// The ports of connect() from one local address to one destination.
struct PortRow {
    std::uint32_t netns = 0;
    Family family = Family::ipv4;
    Address laddr{};
    Address raddr{};
    std::uint16_t rport = 0;
    std::optional<std::uint32_t> available;  // nullopt: the range is not known
    std::uint64_t in_use = 0;                // connections that live
    std::uint64_t time_wait = 0;
    std::optional<double> rate_per_s;      // opens, of the last ten seconds
    std::optional<double> exhausted_in_s;  // nullopt: it does not come to that
    bool reuses = false;                   // connect() takes ports over from TIME_WAIT here
    std::uint64_t reusable = 0;            // time-wait sockets that are old enough for that, allowed or not
    std::uint64_t failed_connects = 0;     // in the window
    std::vector<PortHolder> owners;        // most ports first; those that are known

    std::uint64_t used() const { return in_use + time_wait; }
};

struct Advice {
    std::string id;
    std::string text;
    std::vector<std::pair<std::string, double>> observed;
};

struct TimeWaitSummary {
    MonoNs time = 0;
    std::uint64_t window_ns = 0;
    // nullopt without a snapshot of this moment.
    std::optional<std::uint64_t> kernel_now;        // sockstat tw of the traced namespaces
    std::optional<std::uint64_t> explained_now;     // those with an owner
    std::optional<std::uint64_t> before_trace_now;  // those older than the trace
    std::optional<std::uint64_t> ownerless_now;  // entered under the trace, from a connection whose owner is not known

    std::uint64_t created = 0;
    std::uint64_t entered_as_fin_wait2 = 0;
    std::uint64_t ended = 0;
    std::optional<std::uint64_t> overflow;  // nullopt: some may be among the undecided
    std::uint64_t undecided = 0;
    std::uint64_t left_out = 0;  // created, in no row: the table was full

    std::vector<TimeWaitOrigin> origins;  // most standing first
    std::vector<PortRow> ports;           // fullest first
    std::vector<Advice> advice;           // most urgent first
};

/// A connect() that found no port.
struct ConnectFailedRow {
    MonoNs time = 0;
    std::uint64_t cookie = 0;
    Endpoints ends;
    Owner owner;
    std::uint64_t count = 1;          // of this process to this destination since its row before
    std::vector<PortHolder> holders;  // most ports first; the last may be of nobody known
};

}  // namespace tcptrail::report
