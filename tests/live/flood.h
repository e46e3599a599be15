// SPDX-License-Identifier: Apache-2.0
// A SYN flood with spoofed sources, inside the arena alone: run it in one of its processes. The arena needs a route to
// 10.99.0.0/16 that leads nowhere ("dev lo" does), so that the SYN-ACKs are sent and nobody answers.
#pragma once

#include <cstdint>

namespace tcptrail::live {

struct Flood {
    std::uint16_t port;
    int per_s;
    int ms;  // how long
};

/// Every fourth SYN comes from here; the others come from addresses of their own.
inline constexpr const char* kLoudSource = "10.99.255.1";

/// To 127.0.0.1. Bounded; throws if a packet cannot be sent.
void flood_with_syns(const Flood& flood);

}  // namespace tcptrail::live
