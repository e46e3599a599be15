// SPDX-License-Identifier: Apache-2.0
// Whose a socket is at the moment of a snapshot, for reports on what stands now.
#pragma once

#include <cstdint>
#include <map>
#include <utility>
#include <vector>

#include <tcptrail/rows.h>
#include <tcptrail/wire.h>

#include "report/filter.h"
#include "report/snapshot.h"
#include "report/who.h"
#include "track/table.h"

namespace tcptrail::report {

/// The ends of a socket's row.
Endpoints ends_of(const tt_socket& row);

/// The descriptors of the socket; empty where no process has it.
const std::vector<Holder>& holders_of(std::uint64_t cookie, const Snapshot& snapshot);

/// Names one process for each socket of a snapshot, so that rows by owner add up to the total.
///
/// Of the processes that hold it and pass the filter: the one that the trace saw open or accept it; else the one that has
/// run longest (of a fork's parent and child: the parent). A socket that nobody holds: whoever the trace knows, if that
/// one passes; a request socket, or one that waits in an accept queue: its listener's owner, `inherited`. Else not known:
/// orphans and time-wait sockets of before the trace.
class Ownership {
public:
    /// All outlive it.
    Ownership(const Snapshot& snapshot, const ConnectionTable& table, const Filter& filter);

    Who of(const tt_socket& row) const;

private:
    bool passes(ProcessId id) const;
    /// The listener of a child that nobody has accepted; nullptr where several could be it.
    const tt_socket* listener_of(const tt_socket& row) const;

    const Snapshot& snapshot_;
    const ConnectionTable& table_;
    const Filter& filter_;
    std::multimap<std::pair<std::uint32_t, std::uint16_t>, const tt_socket*> listeners_;  // by netns, port
};

}  // namespace tcptrail::report
