// SPDX-License-Identifier: Apache-2.0
// tcptrail_live [--tcptrail=PATH] [--accuracy | gtest options]
#include <gtest/gtest.h>

#include <cstring>

#include "accuracy.h"
#include "harness.h"
#include "suites.h"

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
    return RUN_ALL_TESTS();
}
