// SPDX-License-Identifier: Apache-2.0
// What the kernel tells about a network namespace in /proc: settings and counters.
#pragma once

#include "collect/namespaces.h"
#include "collect/record_buffer.h"

namespace tcptrail::collect {

/// Two TT_NETNS records about `place`, which the calling thread is in: settings, then counters. Beside the sysctls the
/// settings have "netns.path", by which nsenter finds it, and for our own what sysctl_files.h tells.
void append_settings(RecordBuffer& out, const Namespace& place);

}  // namespace tcptrail::collect
