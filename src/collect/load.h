// SPDX-License-Identifier: Apache-2.0
// From the skeleton to programs that run: settings, loading, attaching, and errors that say what is missing.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "collect/hooks.h"
#include "collect/live_source.h"
#include "collect/log_reader.h"
#include "collect/skeleton.h"

namespace tcptrail::collect {

/// Loaded and attached, not yet enabled. Owns the programs, maps and links.
struct Loaded {
    struct Destroy {
        void operator()(tcptrail_bpf* skeleton) const { tcptrail_bpf__destroy(skeleton); }
    };
    std::unique_ptr<tcptrail_bpf, Destroy> skeleton;
    LogLayout logs;
    Hooks hooks;
};

Result<Loaded> load_programs(const Options& options);

/// How often the kernel's recursion guard kept on_set_state from running, since it was loaded.
std::uint64_t main_program_misses(const Loaded& loaded);

/// The same of those whose every run writes a record, and in whose stead nothing runs.
struct OtherMisses {
    std::uint64_t owners = 0;  // accepts and renames
    std::uint64_t others = 0;  // resets and time-wait sockets
    std::uint64_t all() const { return owners + others; }
};
OtherMisses other_program_misses(const Loaded& loaded);

/// The text of TT_START: lines key=value.
std::string start_text(const Loaded& loaded, const Options& options);

}  // namespace tcptrail::collect
