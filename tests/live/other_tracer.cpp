// SPDX-License-Identifier: Apache-2.0
#include "other_tracer.h"

#include <poll.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/wait.h>
#include <unistd.h>

#include "compare.h"
#include "harness.h"

namespace tcptrail::live {

bool mount_tracefs_apart() {
    constexpr const char* kWhere = "/sys/kernel/tracing";
    return access((std::string(kWhere) + "/events").c_str(), X_OK) == 0 ||
           (unshare_mounts() && mount("tracefs", kWhere, "tracefs", 0, nullptr) == 0);
}

OtherTracer::OtherTracer(const std::string& program) {
    if (!have_program(program)) {
        return;
    }
    int ends[2];
    if (pipe(ends) != 0) {
        raise("pipe");
    }
    from_ = Fd(ends[0]);
    pid_ = fork();
    if (pid_ == 0) {
        (void)mount_tracefs_apart();
        dup2(ends[1], STDOUT_FILENO);
        dup2(ends[1], STDERR_FILENO);  // "lost N events"
        close(ends[0]);
        close(ends[1]);
        execlp("stdbuf", "stdbuf", "-oL", program.c_str(), nullptr);
        _exit(127);
    }
    close(ends[1]);
    char byte = 0;
    while (byte != '\n' && read(from_.get(), &byte, 1) == 1) {  // the heading: it is attached
    }
    works_ = byte == '\n';
}

OtherTracer::~OtherTracer() {
    if (pid_ > 0) {
        kill(pid_, SIGKILL);
        waitpid(pid_, nullptr, 0);
    }
}

std::string OtherTracer::finish() {
    std::string text;
    char buffer[65536];
    pollfd wanted{from_.get(), POLLIN, 0};
    const auto take = [&] {
        const ssize_t n = read(from_.get(), buffer, sizeof buffer);
        text.append(buffer, n > 0 ? static_cast<std::size_t>(n) : 0);
        return n > 0;
    };
    // It polls, and drops what it has not read when it is stopped. Others' traffic need not fall silent, though.
    const std::int64_t deadline = wall_clock_ns() + 2'000'000'000;
    while (wall_clock_ns() < deadline && poll(&wanted, 1, 300) == 1 && take()) {
    }
    kill(pid_, SIGINT);
    while (take()) {
    }
    waitpid(pid_, nullptr, 0);
    pid_ = -1;
    return text;
}

std::string without_mapped(std::string address) {
    const std::string prefix = "::ffff:";
    return address.starts_with(prefix) ? address.substr(prefix.size()) : address;
}

}  // namespace tcptrail::live
