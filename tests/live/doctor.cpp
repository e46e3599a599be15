// SPDX-License-Identifier: Apache-2.0
#include "doctor.h"

#include <gtest/gtest.h>

#include "stage.h"

namespace tcptrail::live {
namespace {

Who serve_until_killed(Arena& arena, bool closes_first) {
    const Cue listening;
    const Who server = arena.spawn("tt-server", [&] {
        const Fd listener = listen_on(Net::v4, kPort);
        listening.give();
        for (;;) {
            const Fd fd = accept_blocking(listener.get());
            put(fd.get(), 1);
            if (!closes_first) {
                await_eof(fd.get());
            }
        }
    });
    listening.take();
    return server;
}

}  // namespace

void Ward::begin(const BeforeExec& before_exec) {
    tracer_.start(
        {"doctor", "--json", "-d", "60s", "--netns", std::to_string(ill.inode()) + "," + std::to_string(well.inode())},
        before_exec);
    tracer_.await_tracing();
}

void Ward::end() {
    output_ = tracer_.stop();
    findings_.clear();
    bool high = false;
    for (const Json& row : output_.rows()) {
        if (row.value("type", "") == "finding") {
            findings_.push_back(row);
            high = high || row["severity"] == "high";
            const std::set<std::string> fields{"type", "id",      "severity", "title",        "observed",
                                               "why",  "command", "effect",   "will_not_help"};
            std::set<std::string> have;
            for (const auto& [key, value] : row.items()) {
                have.insert(key);
            }
            EXPECT_EQ(have, fields) << row;
        }
    }
    EXPECT_EQ(output_.last_row().value("type", ""), "trace_end");
    EXPECT_EQ(output_.status, high ? 4 : 0) << output_.err;
}

std::set<std::string> Ward::found(const Arena& arena) const {
    std::set<std::string> ids;
    for (const Json& row : findings_) {
        if (row["observed"]["netns"] == arena.inode()) {
            EXPECT_TRUE(ids.insert(row["id"]).second) << "told twice: " << row;
        }
    }
    return ids;
}

Json Ward::finding(const Arena& arena, const std::string& id) const {
    for (const Json& row : findings_) {
        if (row["observed"]["netns"] == arena.inode() && row["id"] == id) {
            return row;
        }
    }
    return Json::object();
}

void come_and_go(int times, int pace_ms) {
    for (int i = 0; i < times; ++i) {
        const Fd fd = dial(Net::v4, kPort);
        get(fd.get(), 1);
        if (pace_ms > 0) {
            sleep_ms(pace_ms);
        }
    }
}

Who serve(Arena& arena) {
    return serve_until_killed(arena, false);
}

Who serve_and_close(Arena& arena) {
    return serve_until_killed(arena, true);
}

}  // namespace tcptrail::live
