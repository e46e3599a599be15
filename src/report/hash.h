// SPDX-License-Identifier: Apache-2.0
// Hashes of what reports group by: quick ones, as they are asked for each connection.
#pragma once

#include <cstdint>
#include <cstring>

#include <tcptrail/types.h>

namespace tcptrail::report {

inline std::uint64_t hash_of(std::uint64_t value, std::uint64_t seed = 0) {
    value = (value ^ seed ^ seed >> 29) * 0x9e3779b97f4a7c15ULL;
    return value ^ value >> 32;
}

inline std::uint64_t hash_of(const Address& address, std::uint64_t seed) {
    std::uint64_t words[2];
    std::memcpy(words, address.data(), sizeof(words));
    return hash_of(words[1], hash_of(words[0], seed));
}

inline std::uint64_t hash_of(const Endpoints& ends) {
    const std::uint64_t ports = static_cast<std::uint64_t>(ends.lport) << 16 | ends.rport;
    return hash_of(ends.raddr, hash_of(ends.laddr, hash_of(ends.netns, ports)));
}

}  // namespace tcptrail::report
