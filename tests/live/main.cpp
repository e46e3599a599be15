// SPDX-License-Identifier: Apache-2.0
// tcptrail_live [--tcptrail=PATH] [--accuracy | gtest options]
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstring>

#include "accuracy.h"
#include "harness.h"
#include "suites.h"
#include "witness.h"

namespace {

constexpr int kTries = 3;

int wait_for(pid_t child) {
    int status = 0;
    while (waitpid(child, &status, 0) < 0 && errno == EINTR) {
    }
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

/// Runs the tests in a child of its own; again, at most twice, where they fail and the kernel kept BPF from calls that
/// they are about, or another test's tracer closed a socket. scripts/lib/count-tests counts the last try and lists those before it.
int run_tests() {
    if (GTEST_FLAG_GET(list_tests)) {
        return RUN_ALL_TESTS();
    }
    for (int left = kTries; true;) {
        const tcptrail::live::Witness witness;
        std::fflush(nullptr);
        const pid_t child = fork();
        if (child == 0) {
            prctl(PR_SET_PDEATHSIG, SIGKILL);
            return RUN_ALL_TESTS();
        }
        const int status = wait_for(child);
        const auto unseen = static_cast<unsigned long long>(witness.unseen());
        const auto closed = static_cast<unsigned long long>(witness.closed_by_tracers());
        if (unseen > 0) {
            std::printf("[  WITNESS ] this kernel ran no BPF program for %llu transitions\n", unseen);
        }
        if (status != 0 && closed > 0) {
            std::printf("[  WITNESS ] tracers that looked through all files closed %llu sockets\n", closed);
        }
        if (status != 0 && !witness.hindrance().empty()) {
            std::printf("[  WITNESS ] has nothing to say: %s\n", witness.hindrance().c_str());
        }
        if (status == 0 || unseen + closed == 0 || --left == 0) {
            return status;
        }
        std::printf("[  AGAIN   ] %d tries are left\n", left);
    }
}

}  // namespace

int main(int argc, char** argv) {
    testing::InitGoogleTest(&argc, argv);
    bool accuracy = false;
    for (int i = 1; i < argc; ++i) {
        constexpr const char* kOption = "--tcptrail=";
        if (std::strncmp(argv[i], kOption, std::strlen(kOption)) == 0) {
            tcptrail::live::set_binary_path(argv[i] + std::strlen(kOption));
        } else if (std::strcmp(argv[i], "--accuracy") == 0) {
            accuracy = true;
        } else {
            std::fprintf(stderr, "usage: %s [--tcptrail=PATH] [--accuracy | --gtest_filter=...]\n", argv[0]);
            return 2;
        }
    }
    if (accuracy) {
        return tcptrail::live::print_accuracy();
    }
    tcptrail::live::register_trace_tests();
    tcptrail::live::register_life_tests();
    tcptrail::live::register_owner_tests();
    tcptrail::live::register_scene_tests();
    tcptrail::live::register_replay_tests();
    tcptrail::live::register_hook_tests();
    tcptrail::live::register_together_tests();
    return run_tests();
}
