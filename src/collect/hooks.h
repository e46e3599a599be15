// SPDX-License-Identifier: Apache-2.0
// Which programs serve which need on this kernel: the table of first choices and fallbacks is in hooks.cpp.
#pragma once

#include <map>
#include <string>
#include <vector>

#include <tcptrail/result.h>

#include "collect/kernel_btf.h"

struct tcptrail_bpf;

namespace tcptrail::collect {

/// What one need is served by, and what is lost against its first choice.
struct Service {
    std::string need;
    std::string way;   // "none" where nothing serves
    std::string lost;  // empty: nothing
};

struct Hooks {
    std::vector<Service> services;
    std::vector<std::string> notes;  // needs that nothing serves here, one line each
};

/// What shapes the choice, besides the kernel.
struct HookWishes {
    bool tracepoint_only = false;                // no fentry
    bool snapshots = false;                      // a report on what stands now: iterators are required
    std::vector<std::string> without;            // needs that are not to be served: for tests
    std::map<std::string, std::string> refused;  // program -> why: the kernel would not load or attach it
};

/// Switches the programs' loading on or off, before the skeleton is loaded. An error: a need that nothing can replace.
Result<Hooks> choose_hooks(tcptrail_bpf* skeleton, const KernelBtf& kernel, const HookWishes& wishes);

/// Attaches what was loaded; the links belong to the skeleton. False: `wishes.refused` has a program more, and the
/// choice must be made again.
bool attach_hooks(tcptrail_bpf* skeleton, HookWishes& wishes);

}  // namespace tcptrail::collect
