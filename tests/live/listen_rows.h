// SPDX-License-Identifier: Apache-2.0
// What the tests of `listen` share.
#pragma once

#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "arena.h"
#include "harness.h"

namespace tcptrail::live {

constexpr std::uint16_t kOther = 5002;  // beside kPort

inline std::vector<std::string> only(const Arena& arena, std::vector<std::string> args) {
    args.insert(args.end(), {"--netns", std::to_string(arena.inode())});
    return args;
}

/// The rows of a listener on `port`, in the order of the output.
inline std::vector<Json> rows_of(const Output& output, std::uint16_t port) {
    std::vector<Json> found;
    for (const Json& row : output.rows()) {
        if (row["type"] == "listener" && row["lport"] == port) {
            found.push_back(row);
        }
    }
    return found;
}

inline Output look(const Arena& arena, const std::vector<std::string>& more = {}) {
    std::vector<std::string> args = {"listen", "--json"};
    args.insert(args.end(), more.begin(), more.end());
    Output output = run_tcptrail(only(arena, args));
    EXPECT_EQ(output.status, 0) << output.err;
    return output;
}

}  // namespace tcptrail::live
