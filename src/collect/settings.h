// SPDX-License-Identifier: Apache-2.0
// What the kernel tells about a network namespace in /proc: settings and counters.
#pragma once

#include <cstdint>

#include "collect/record_buffer.h"

namespace tcptrail::collect {

/// Two TT_NETNS records about the namespace that the calling thread is in: settings, then counters.
void append_settings(RecordBuffer& out, std::uint32_t netns);

}  // namespace tcptrail::collect
