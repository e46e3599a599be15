// SPDX-License-Identifier: Apache-2.0
// Which rows are shown. Values of one option are alternatives; different options must all agree.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include <tcptrail/rows.h>

namespace tcptrail::report {

/// An address range. IPv4 ranges match v4-mapped addresses too.
struct Cidr {
    Family family = Family::ipv4;
    Address address{};
    unsigned prefix = 0;  // bits

    bool contains(const Address& other, Family other_family) const;
};

/// A v4-mapped address becomes IPv4.
void unmap(Address& address, Family& family);

/// "10.0.0.0/8", "::1", "fd00::/8"; nullopt if it is none.
std::optional<Cidr> parse_cidr(std::string_view text);

struct Filter {
    std::vector<std::uint32_t> pids;
    std::vector<std::string>
        comms;  // of the process or the acting thread; the kernel keeps 15 bytes, so more are not compared
    std::vector<std::string> cgroups;  // v2 paths; those below match too
    bool ipv4 = true;                  // the socket's family: a v4-mapped connection is of an IPv6 socket
    bool ipv6 = true;
    std::vector<std::uint16_t> lports;
    std::vector<std::uint16_t> rports;
    std::vector<Cidr> addresses;  // either end
    std::vector<std::uint32_t> netns;

    bool matches(const TransitionRow& row, const ProcessDirectory& processes) const;
    bool matches(const ConnectionRow& row, const ProcessDirectory& processes) const;
    /// What stands now: one of `any_of` (owner, holders) fulfils all process options.
    bool matches(const Endpoints& ends, std::span<const ProcessId> any_of, const ProcessDirectory& processes) const;
    /// --netns alone: what is no such namespace's is not traced at all.
    bool matches_netns(std::uint32_t inode) const;
    /// Whether anything but the namespace is asked for.
    bool narrows_more_than_netns() const;

    /// There are options on processes at all.
    bool asks_for_processes() const { return !pids.empty() || !comms.empty() || !cgroups.empty(); }
    /// All options but those on processes.
    bool matches_ends(const Endpoints& ends) const;
    /// All options on processes; a process that is not known fulfils none.
    bool matches_process(ProcessId id, const ProcessDirectory& processes) const;
};

}  // namespace tcptrail::report
