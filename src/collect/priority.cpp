// SPDX-License-Identifier: Apache-2.0
#include "collect/priority.h"

#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <filesystem>

#include <sched.h>

namespace tcptrail::collect {

std::string take_real_time_priority() {
    std::error_code unreadable;
    for (const auto& task : std::filesystem::directory_iterator("/proc/self/task", unreadable)) {
        sched_param lowest{};
        lowest.sched_priority = sched_get_priority_min(SCHED_RR);
        const int tid = std::atoi(task.path().filename().c_str());
        if (sched_setscheduler(tid, SCHED_RR | SCHED_RESET_ON_FORK, &lowest) != 0 && errno != ESRCH) {
            return std::strerror(errno);
        }
    }
    return unreadable ? unreadable.message() : std::string();
}

}  // namespace tcptrail::collect
