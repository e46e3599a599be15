// SPDX-License-Identifier: Apache-2.0
// Which programs are loaded on this kernel, and how they are attached.
#pragma once

#include <string>
#include <vector>

#include <tcptrail/result.h>

struct tcptrail_bpf;

namespace tcptrail::collect {

/// What serves each need; the names go into TT_START as hook.*.
struct Hooks {
    std::string transition = "tp_btf";
    std::string accept;     // fentry, tracepoint, none
    std::string time_wait;  // fentry, model
    std::string reset;      // tp_btf+reason, tp_btf
};

/// Probes the kernel and switches the programs' loading on or off; before the skeleton is loaded.
Hooks choose_hooks(tcptrail_bpf* skeleton, bool tracepoint_only);

/// Attaches what was loaded; the links belong to the skeleton. What cannot be had goes to `notes` and `hooks`.
Result<bool> attach_hooks(tcptrail_bpf* skeleton, Hooks& hooks, std::vector<std::string>& notes);

}  // namespace tcptrail::collect
