// SPDX-License-Identifier: Apache-2.0
// A tracer of Debian's libbpf-tools, run beside ours over the same traffic. It traces the whole machine.
#pragma once

#include <sys/types.h>

#include <string>

#include "sockets.h"

namespace tcptrail::live {

/// Where it is not mounted, for this process alone: the host need not have it, and we do not mount it there.
bool mount_tracefs_apart();

class OtherTracer {
public:
    /// Starts `program` and waits for its heading; available() is false where it is not installed or does not start.
    explicit OtherTracer(const std::string& program);
    ~OtherTracer();
    OtherTracer(const OtherTracer&) = delete;
    OtherTracer& operator=(const OtherTracer&) = delete;

    bool available() const { return works_; }
    /// Waits until it has told what it saw, ends it, and returns its lines after the heading.
    std::string finish();

private:
    pid_t pid_ = -1;
    bool works_ = false;
    Fd from_;
};

/// As "127.0.0.1" for "::ffff:127.0.0.1".
std::string without_mapped(std::string address);

}  // namespace tcptrail::live
