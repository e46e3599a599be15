// SPDX-License-Identifier: Apache-2.0
// One look at all sockets, their holders and their namespaces' settings.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "collect/live_source.h"
#include "collect/record_buffer.h"

namespace tcptrail::collect {

struct SnapshotResult {
    RecordBuffer records;
    std::string note;   // what could not be seen; empty: nothing
    std::string error;  // not empty: an iterator failed
};

/// Reads everything in a helper thread, which may change its namespace; `meanwhile` runs in the calling one until that
/// is done, every few ms. `tcp_link` and `file_link` are descriptors of iterator links and stay the caller's; -1: there is none, and that part
/// is left out, marks included.
/// `what` names the parts wanted, and why.
SnapshotResult take_snapshot(const Options& options, int tcp_link, int file_link, std::uint32_t what,
                             const std::function<void()>& meanwhile);

}  // namespace tcptrail::collect
