// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

namespace tcptrail::track {

/// Spreads a number whose low bits alone are no hash.
constexpr std::uint64_t mix(std::uint64_t value) {
    value *= 0x9e3779b97f4a7c15ULL;
    return value ^ value >> 32;
}

}  // namespace tcptrail::track
