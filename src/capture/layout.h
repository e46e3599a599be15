// SPDX-License-Identifier: Apache-2.0
// What the recording knows of a record's layout: its least size, and where its cookie and its actor stand.
#pragma once

#include <cstdint>
#include <cstring>

#include <tcptrail/wire.h>

namespace tcptrail::capture {

/// The least size of a record of this type; that of tt_head for a type that this version does not know.
/// When a field is appended to a struct after 1.0, the size here stays the old one: older recordings are shorter.
constexpr std::uint16_t least_bytes(std::uint8_t type) {
    switch (type) {
        case TT_STEP:
        case TT_ACCEPT:
        case TT_DESTROY: return sizeof(tt_step);
        case TT_OPEN:
        case TT_ENDPOINT: return sizeof(tt_open);
        case TT_CLOSE: return sizeof(tt_close);
        case TT_PROCESS: return sizeof(tt_process);
        case TT_RESET: return sizeof(tt_reset);
        case TT_TIMEWAIT: return sizeof(tt_timewait);
        case TT_SOCKET: return sizeof(tt_socket);
        case TT_HOLDER: return sizeof(tt_holder);
        case TT_START: return sizeof(tt_start);
        case TT_SNAPSHOT: return sizeof(tt_snapshot);
        case TT_COUNTERS: return sizeof(tt_counters);
        case TT_NETNS: return sizeof(tt_netns);
        case TT_CGROUP: return sizeof(tt_cgroup);
        default: return sizeof(tt_head);
    }
}

/// A record is sound if it can be handed over: it lies within `room` and is as long as its type says at least.
constexpr bool sound(std::uint16_t size, std::uint8_t type, std::size_t room) {
    return size % 8 == 0 && size >= least_bytes(type) && size <= room;
}

/// Columns: bytes 16..23 are a cookie.
constexpr bool has_cookie(std::uint8_t type, std::uint16_t size) {
    if (size < 24) return false;
    return (type >= TT_STEP && type <= TT_ENDPOINT) || (type >= TT_ACCEPT && type <= TT_TIMEWAIT) || type == TT_SOCKET;
}

/// Columns: bytes 24..31 are an actor id.
constexpr bool has_actor(std::uint8_t type, std::uint16_t size) {
    if (size < 32) return false;
    return (type >= TT_STEP && type <= TT_ENDPOINT) || type == TT_ACCEPT || type == TT_DESTROY;
}

template <typename T>
T load(const void* at) {
    T value;
    std::memcpy(&value, at, sizeof value);
    return value;
}

template <typename T>
void store(void* at, T value) {
    std::memcpy(at, &value, sizeof value);
}

}  // namespace tcptrail::capture
