// SPDX-License-Identifier: Apache-2.0
// The witness has something to say wherever a trace can be made: one that is blind would pass a call that no tracer can have
// seen for a defect of ours.
#include <gtest/gtest.h>
#include <sys/mount.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cstdio>

#include "harness.h"
#include "scene.h"
#include "witness.h"

namespace tcptrail::live {

namespace {

/// What a witness says that begins in a mount namespace of its own, where `prepare` has been.
std::string hindrance_after(void (*prepare)()) {
    const Shared<std::array<char, 200>> told;
    const pid_t child = fork();
    if (child == 0) {
        if (!unshare_mounts()) {
            _exit(1);
        }
        prepare();
        const Witness witness;
        std::snprintf(told->data(), told->size(), "%s", witness.hindrance().c_str());
        _exit(0);
    }
    int status = 0;
    waitpid(child, &status, 0);
    return status == 0 ? std::string(told->data()) : "the child ended with " + std::to_string(status);
}

TEST(Witness, SpeaksWhereTracefsIsMounted) {
    REQUIRE_TRACING();
    EXPECT_EQ(hindrance_after([] { (void)mount("tracefs", "/sys/kernel/tracing", "tracefs", 0, nullptr); }), "");
}

TEST(Witness, SpeaksWhereTracefsIsNotMounted) {
    REQUIRE_TRACING();
    EXPECT_EQ(hindrance_after([] {
                  while (umount2("/sys/kernel/tracing", MNT_DETACH) == 0) {
                  }
              }),
              "");
}

TEST(Witness, CountsAtLeastWhatAScenesTruthIs) {
    REQUIRE_TRACING();
    const Witness witness;
    Arena arena;
    const Truth truth = client_closes_first(
        arena, [] {}, 100);
    EXPECT_GE(witness.calls(), static_cast<std::uint64_t>(truth.transitions()));  // others' are counted as well
}

}  // namespace

}  // namespace tcptrail::live
