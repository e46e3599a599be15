// SPDX-License-Identifier: Apache-2.0
// Small values that every stage shares.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace tcptrail {

/// Nanoseconds of CLOCK_MONOTONIC, as the kernel stamps records.
using MonoNs = std::uint64_t;

/// The kernel's numbers, include/net/tcp_states.h.
enum class State : std::uint8_t {
    none = 0,
    established = 1,
    syn_sent,
    syn_recv,
    fin_wait1,
    fin_wait2,
    time_wait,
    close,
    close_wait,
    last_ack,
    listen,
    closing,
    new_syn_recv,
};

/// The kernel's name without TCP_: "SYN_SENT".
std::string_view name(State state);

enum class Family : std::uint8_t { ipv4, ipv6 };

/// Network order; IPv4 in the first four bytes, the rest zero.
using Address = std::array<std::uint8_t, 16>;

/// Both ends of a connection; a listener's remote end is zero.
struct Endpoints {
    std::uint32_t netns = 0;  // inode number
    Family family = Family::ipv4;
    std::uint16_t lport = 0;  // host order; 0: not chosen yet
    std::uint16_t rport = 0;
    Address laddr{};
    Address raddr{};

    bool operator==(const Endpoints&) const = default;
};

/// "127.0.0.1", "::1"; a v4-mapped address reads as IPv4.
std::string to_string(const Address& address, Family family);
/// "127.0.0.1:80", "[::1]:80".
std::string to_string(const Address& address, Family family, std::uint16_t port);

/// A thread group, as it was called when it acted. Two with one pid differ in start_ns.
struct Process {
    std::uint32_t pid = 0;       // thread group id
    std::string comm;            // of the thread group leader
    std::string thread;          // of the thread that acted, if it has another name; else empty
    std::uint64_t start_ns = 0;  // of the leader, CLOCK_BOOTTIME
    std::uint64_t cgroup_id = 0;
    std::uint32_t netns = 0;
    std::optional<std::string> cgroup;  // v2 path
    std::optional<std::string> unit;    // systemd unit, from the path
    std::optional<std::string> container;
};

/// Index of a Process in the tracker's table; 0: none.
using ProcessId = std::uint32_t;

enum class Evidence : std::uint8_t { unknown, connect, listen, accept, inherited, snapshot, close };
std::string_view name(Evidence evidence);

struct Owner {
    ProcessId process = 0;
    Evidence evidence = Evidence::unknown;
};

enum class CloseReason : std::uint8_t {
    unknown,
    local_fin,
    remote_fin,
    simultaneous_fin,
    rst_received,
    linger_rst,
    unread_data_rst,
    late_data_rst,
    refused,
    connect_timeout,
    connect_cancelled,
    unreachable,
    no_local_port,
    retransmit_timeout,
    keepalive_timeout,
    fin_wait1_timeout,
    fin_wait2_timeout,
    last_ack_timeout,
    disconnect,
    sock_destroyed,
    listener_closed,
    resource,
};
std::string_view name(CloseReason reason);

enum class Role : std::uint8_t { unknown, active, passive };
std::string_view name(Role role);

}  // namespace tcptrail
