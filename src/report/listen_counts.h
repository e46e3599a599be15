// SPDX-License-Identifier: Apache-2.0
// What one listener has in the counts that the kernel keeps for its socket and for its namespace. Pure.
#pragma once

#include <cstdint>
#include <optional>

namespace tcptrail::report {

/// What went wrong, since some beginning. nullopt: the kernel's counts do not say whose it was.
struct ListenCounts {
    std::optional<std::uint64_t> drops;
    std::optional<std::uint64_t> overflows;    // of the drops: because the accept queue was full
    std::optional<std::uint64_t> syn_cookies;  // sent
};

/// What is known of a listener's share in its namespace's counts.
struct DropFacts {
    std::uint64_t sk_drops = 0;         // of this socket: each ListenDrops of it, and more (a refused ACK counts twice)
    std::uint64_t sk_drops_others = 0;  // of the namespace's other listeners
    bool sees_all = true;               // no listener is hidden
    std::uint64_t listen_drops = 0;     // of the namespace
    std::uint64_t listen_overflows = 0;  // of the namespace; each is one of listen_drops
};
/// As ListenDrops counts where no other listener dropped anything; else the socket's own count, never the namespace's.
std::uint64_t drops_of(const DropFacts& facts);
/// nullopt where it cannot be told from the others'.
std::optional<std::uint64_t> overflows_of(const DropFacts& facts);

}  // namespace tcptrail::report
