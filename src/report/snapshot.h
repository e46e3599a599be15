// SPDX-License-Identifier: Apache-2.0
// One whole look at the kernel, gathered from the records of a snapshot: sockets, who holds them, settings and counters.
// For reports on what stands now. Costs the memory of its rows: views that need only a part take the records themselves.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <unordered_map>
#include <vector>

#include <tcptrail/wire.h>

#include "track/table.h"

namespace tcptrail::report {

/// A process's descriptor of a socket.
struct Holder {
    ProcessId process = 0;
    std::uint32_t fd = 0;
};

/// One network namespace, as /proc tells.
struct NetnsFacts {
    MonoNs time = 0;                               // when its counters were read
    std::map<std::string, std::string> settings;   // sysctl names: "net.ipv4.tcp_tw_reuse"
    std::map<std::string, std::int64_t> counters;  // "sockstat.TCP.tw", "TcpExt.ListenDrops", "Tcp.CurrEstab"
};

/// Adds what `record` tells.
void read_facts(const tt_netns& record, NetnsFacts& facts);

struct Snapshot {
    MonoNs began = 0;
    MonoNs ended = 0;
    std::uint32_t what = 0;                                          // enum tt_snapshot_what
    std::vector<tt_socket> sockets;                                  // in the order of the kernel's tables
    std::unordered_map<std::uint64_t, std::vector<Holder>> holders;  // by cookie, in the order of pid and fd
    std::map<std::uint32_t, NetnsFacts> namespaces;                  // by inode number
};

/// Gathers snapshots from a stream. Lives as long as the stream; `table` outlives it and has taken each record before.
class SnapshotGatherer {
public:
    explicit SnapshotGatherer(const ConnectionTable& table) : table_(table) {}

    /// True when `record` was the mark that ends a whole snapshot: latest() is then a new one.
    bool take(const tt_head& record);

    /// The last whole one; nullptr before the first.
    const Snapshot* latest() const { return have_ ? &latest_ : nullptr; }

private:
    const ConnectionTable& table_;
    Snapshot gathering_;
    Snapshot latest_;
    bool open_ = false;
    bool have_ = false;
};

}  // namespace tcptrail::report
