// SPDX-License-Identifier: Apache-2.0
// Two counts of the calls of inet_sock_set_state that no tracer takes part in: the kernel's (a perf counter) and that of a
// BPF program of a few lines. Where the second falls short, this kernel ran no BPF program at all for some calls, so no tracer
// can have seen them, and what a test says of such a time says nothing about ours. (Seen on a 6.18 whose host keeps BPF off
// one process: a softirq that interrupts it runs none either.)
// And the FINs that a tcptrail sent: some test's tracer, beside this one, had the last hold of a socket while it looked through
// all open files, so the closer of that connection is unknown, as it should be.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

namespace tcptrail::live {

class Witness {
public:
    /// Counts from now on, on the whole machine.
    Witness();
    ~Witness();
    Witness(const Witness&) = delete;
    Witness& operator=(const Witness&) = delete;

    /// Why it has nothing to say (a privilege, BPF, tracefs); empty if it counts.
    const std::string& hindrance() const { return hindrance_; }
    /// Calls so far, by the kernel's count.
    std::uint64_t calls() const;
    /// Calls so far for which the kernel ran no BPF program. 0 where it has nothing to say.
    std::uint64_t unseen() const;
    /// Sockets so far that a process named tcptrail closed.
    std::uint64_t closed_by_tracers() const;

private:
    struct Counters;
    std::unique_ptr<Counters> counters_;
    std::string hindrance_;
};

}  // namespace tcptrail::live
