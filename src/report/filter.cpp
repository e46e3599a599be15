// SPDX-License-Identifier: Apache-2.0
#include "report/filter.h"

#include <algorithm>
#include <array>
#include <charconv>

#include <arpa/inet.h>

namespace tcptrail::report {
namespace {

constexpr std::size_t comm_bytes = 15;  // TASK_COMM_LEN less the NUL

template <typename T>
bool none_or_one_of(const std::vector<T>& wanted, const T& value) {
    return wanted.empty() || std::find(wanted.begin(), wanted.end(), value) != wanted.end();
}

bool is_below(std::string_view path, std::string_view wanted) {
    if (!path.starts_with(wanted)) {
        return false;
    }
    return path.size() == wanted.size() || wanted.ends_with('/') || path[wanted.size()] == '/';
}

}  // namespace

void unmap(Address& address, Family& family) {
    constexpr std::array<std::uint8_t, 12> mapped = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff};
    if (family == Family::ipv6 && std::equal(mapped.begin(), mapped.end(), address.begin())) {
        Address ipv4{};
        std::copy(address.begin() + 12, address.end(), ipv4.begin());
        address = ipv4;
        family = Family::ipv4;
    }
}

bool Cidr::contains(const Address& other, Family other_family) const {
    Address theirs = other;
    unmap(theirs, other_family);
    if (other_family != family) {
        return false;
    }
    const unsigned whole = prefix / 8;
    if (!std::equal(address.begin(), address.begin() + whole, theirs.begin())) {
        return false;
    }
    const unsigned rest = prefix % 8;
    const unsigned mask = rest == 0 ? 0 : (0xff00U >> rest) & 0xffU;
    return rest == 0 || (address[whole] & mask) == (theirs[whole] & mask);
}

std::optional<Cidr> parse_cidr(std::string_view text) {
    Cidr cidr;
    const std::size_t slash = text.find('/');
    const std::string address(text.substr(0, slash));
    if (inet_pton(AF_INET, address.c_str(), cidr.address.data()) == 1) {
        cidr.family = Family::ipv4;
    } else if (inet_pton(AF_INET6, address.c_str(), cidr.address.data()) == 1) {
        cidr.family = Family::ipv6;
    } else {
        return std::nullopt;
    }
    const unsigned bits = cidr.family == Family::ipv4 ? 32 : 128;
    cidr.prefix = bits;
    if (slash != std::string_view::npos) {
        const std::string_view length = text.substr(slash + 1);
        const auto [end, error] = std::from_chars(length.data(), length.data() + length.size(), cidr.prefix);
        if (error != std::errc() || end != length.data() + length.size() || cidr.prefix > bits) {
            return std::nullopt;
        }
    }
    if (cidr.family == Family::ipv6 && cidr.prefix >= 96) {
        unmap(cidr.address, cidr.family);
        if (cidr.family == Family::ipv4) {
            cidr.prefix -= 96;
        }
    }
    return cidr;
}

bool Filter::narrows_more_than_netns() const {
    return !pids.empty() || !comms.empty() || !cgroups.empty() || !ipv4 || !ipv6 || !lports.empty() ||
           !rports.empty() || !addresses.empty();
}

bool Filter::matches_ends(const Endpoints& ends) const {
    if (ends.family == Family::ipv4 ? !ipv4 : !ipv6) {
        return false;
    }
    if (!none_or_one_of(netns, ends.netns) || !none_or_one_of(lports, ends.lport) ||
        !none_or_one_of(rports, ends.rport)) {
        return false;
    }
    return addresses.empty() || std::any_of(addresses.begin(), addresses.end(), [&](const Cidr& cidr) {
               return cidr.contains(ends.laddr, ends.family) || cidr.contains(ends.raddr, ends.family);
           });
}

bool Filter::matches_process(ProcessId id, const ProcessDirectory& processes) const {
    const Process* process = processes.find(id);
    if (process == nullptr || !none_or_one_of(pids, process->pid)) {
        return false;
    }
    const auto is_called = [&](const std::string& comm) {
        const std::string_view kept = std::string_view(comm).substr(0, comm_bytes);
        return process->comm == kept || process->thread == kept;
    };
    if (!comms.empty() && std::none_of(comms.begin(), comms.end(), is_called)) {
        return false;
    }
    return cgroups.empty() ||
           (process->cgroup && std::any_of(cgroups.begin(), cgroups.end(),
                                           [&](const std::string& path) { return is_below(*process->cgroup, path); }));
}

bool Filter::matches_netns(std::uint32_t inode) const {
    return none_or_one_of(netns, inode);
}

bool Filter::matches(const TransitionRow& row, const ProcessDirectory& processes) const {
    return matches(row.ends, std::array{row.owner.process, row.actor, row.closer}, processes);
}

bool Filter::matches(const ConnectionRow& row, const ProcessDirectory& processes) const {
    return matches(row.ends, std::array{row.owner.process, row.closer}, processes);
}

bool Filter::matches(const Endpoints& ends, std::span<const ProcessId> any_of,
                     const ProcessDirectory& processes) const {
    return matches_ends(ends) && (!asks_for_processes() || std::any_of(any_of.begin(), any_of.end(), [&](ProcessId id) {
               return matches_process(id, processes);
           }));
}

}  // namespace tcptrail::report
