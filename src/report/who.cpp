// SPDX-License-Identifier: Apache-2.0
#include "report/who.h"

namespace tcptrail::report {

WhoKey key_of(const Process* process) {
    return process != nullptr ? WhoKey{process->pid, process->start_ns, process->comm} : WhoKey{};
}

const Process* known_process(const Owner& owner, const ProcessDirectory& processes) {
    return owner.evidence == Evidence::unknown ? nullptr : processes.find(owner.process);
}

Who who_of(const Process* process, Evidence evidence) {
    if (process == nullptr) {
        return {};
    }
    Who who{*process, evidence};
    who.process->thread.clear();
    return who;
}

}  // namespace tcptrail::report
