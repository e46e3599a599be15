// SPDX-License-Identifier: Apache-2.0
// Real-time priority for the threads of this process. A task of another session or cgroup than the load's may wait for seconds
// until a busy Linux runs it, whatever its nice value: seen on 6.18, where two threads that take turns (a server and its
// client on one core) keep every other group's tasks away for up to 3.6 s, and the logs hold less than that of a flood.
#pragma once

#include <string>

namespace tcptrail::collect {

/// SCHED_RR, the lowest of its priorities, for every thread that there is now, not for later ones; it ends with the process.
/// Empty, or why the kernel refuses: no CAP_SYS_NICE and no RLIMIT_RTPRIO, or a cgroup without a share of real time.
std::string take_real_time_priority();

}  // namespace tcptrail::collect
