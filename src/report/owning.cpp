// SPDX-License-Identifier: Apache-2.0
#include "report/owning.h"

#include <algorithm>
#include <cstring>

namespace tcptrail::report {
namespace {

constexpr std::uint16_t inet6 = 10;  // AF_INET6

bool is_same(const Process& a, const Process& b) {
    return a.pid == b.pid && a.start_ns == b.start_ns;
}

bool is_any(const tt_socket& listener) {
    return std::all_of(std::begin(listener.laddr), std::end(listener.laddr), [](tt_u8 byte) { return byte == 0; });
}

bool takes(const tt_socket& listener, const tt_socket& child) {
    return is_any(listener) ||
           (listener.family == child.family && std::memcmp(listener.laddr, child.laddr, sizeof(child.laddr)) == 0);
}

/// In the kernel's tables, of no process, and not one that its process has left behind.
bool is_unaccepted(const tt_socket& row) {
    const auto state = static_cast<State>(row.head.new_state);
    return state == State::new_syn_recv ||
           (state != State::listen && state != State::time_wait && state != State::syn_sent && row.inode == 0 &&
            (row.head.flags & TT_F_HAS_SOCKET) == 0 && (row.close_flags & TT_C_DEAD) == 0);
}

}  // namespace

Endpoints ends_of(const tt_socket& row) {
    Endpoints ends;
    ends.netns = row.netns;
    ends.family = row.family == inet6 ? Family::ipv6 : Family::ipv4;
    ends.lport = row.head.lport;
    ends.rport = row.rport;
    std::memcpy(ends.laddr.data(), row.laddr, sizeof(row.laddr));
    std::memcpy(ends.raddr.data(), row.raddr, sizeof(row.raddr));
    return ends;
}

const std::vector<Holder>& holders_of(std::uint64_t cookie, const Snapshot& snapshot) {
    static const std::vector<Holder> nobody;
    const auto found = cookie != 0 ? snapshot.holders.find(cookie) : snapshot.holders.end();
    return found != snapshot.holders.end() ? found->second : nobody;
}

Ownership::Ownership(const Snapshot& snapshot, const ConnectionTable& table, const Filter& filter)
    : snapshot_(snapshot), table_(table), filter_(filter) {
    for (const tt_socket& row : snapshot.sockets) {
        if (static_cast<State>(row.head.new_state) == State::listen) {
            listeners_.emplace(std::pair(row.netns, row.head.lport), &row);
        }
    }
}

bool Ownership::passes(ProcessId id) const {
    return !filter_.asks_for_processes() || filter_.matches_process(id, table_);
}

const tt_socket* Ownership::listener_of(const tt_socket& row) const {
    const tt_socket* only = nullptr;
    const auto [begin, end] = listeners_.equal_range(std::pair(row.netns, row.head.lport));
    for (auto at = begin; at != end; ++at) {
        const tt_socket& listener = *at->second;
        if (row.listener != 0 ? listener.cookie != row.listener : !takes(listener, row)) {
            continue;
        }
        if (only == nullptr || (is_any(*only) && !is_any(listener))) {
            only = &listener;  // the kernel prefers the one with the address
        } else if (is_any(*only) == is_any(listener)) {
            return nullptr;
        }
    }
    return only;
}

Who Ownership::of(const tt_socket& row) const {
    const track::Connection* const connection = row.cookie != 0 ? table_.connection(row.cookie) : nullptr;
    const Process* const traced = connection != nullptr ? known_process(connection->owner, table_) : nullptr;
    const Process* longest = nullptr;
    bool held = false;
    for (const Holder& holder : holders_of(row.cookie, snapshot_)) {
        const Process* const process = table_.find(holder.process);
        held = held || process != nullptr;
        if (process == nullptr || !passes(holder.process)) {
            continue;
        }
        if (traced != nullptr && is_same(*process, *traced)) {
            return who_of(process, connection->owner.evidence);
        }
        if (longest == nullptr || process->start_ns < longest->start_ns) {
            longest = process;
        }
    }
    if (held) {
        return who_of(longest, Evidence::snapshot);
    }
    if (traced != nullptr) {
        return passes(connection->owner.process) ? who_of(traced, connection->owner.evidence) : Who{};
    }
    const tt_socket* const listener = is_unaccepted(row) ? listener_of(row) : nullptr;
    Who who = listener != nullptr ? of(*listener) : Who{};
    if (who.process) {
        who.evidence = Evidence::inherited;
    }
    return who;
}

}  // namespace tcptrail::report
