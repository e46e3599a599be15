// SPDX-License-Identifier: Apache-2.0
// `tcptrail life --json`: one line for each ended connection, with its owner, closer, reason, bytes and spans.
#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <sstream>

#include "suites.h"

namespace tcptrail::live {

namespace {

class LifeScene : public testing::Test {
public:
    explicit LifeScene(const Scene& scene) : scene_(scene) {}
    void TestBody() override {
        REQUIRE_TRACING();
        check_scene(scene_.run, "life", compare_connections);
    }

private:
    const Scene& scene_;
};

/// The summary counts what the lines before it told, no more and no less.
TEST(Life, SummaryAddsUp) {
    REQUIRE_TRACING();
    Arena arena;
    Tracer tracer;
    tracer.start({"life", "--json", "--netns", std::to_string(arena.inode())});
    tracer.await_tracing();
    client_closes_first(
        arena, [] {}, 30);
    linger_reset(
        arena, [] {}, 10);
    const Output output = tracer.stop();
    ASSERT_EQ(output.status, 0) << output.err;
    std::map<std::string, int> reasons_told;
    Json summary;
    int summaries = 0;
    int connections = 0;
    for (const Json& row : output.rows()) {
        if (row["type"] == "connection") {
            ++reasons_told[row["close_reason"]];
            ++connections;
        } else if (row["type"] == "life") {
            summary = row;
            ++summaries;
        }
    }
    EXPECT_EQ(connections, 80);
    ASSERT_EQ(summaries, 1);
    EXPECT_EQ(summary["ended"], 80);
    std::map<std::string, int> reasons_summed;
    int ended = 0;
    int last = 1 << 30;
    for (const Json& group : summary["by"]) {
        ended += group["ended"].get<int>();
        EXPECT_LE(group["ended"], last) << "the largest first";
        last = group["ended"];
        for (const auto& [reason, n] : group["reasons"].items()) {
            reasons_summed[reason] += n.get<int>();
        }
        const Json& life = group["lifetime_us"];
        EXPECT_LE(life["p50"], life["p90"]);
        EXPECT_LE(life["p90"], life["p99"]);
        EXPECT_LE(life["p99"], life["max"]);
    }
    EXPECT_EQ(ended, 80);
    EXPECT_EQ(reasons_summed, reasons_told);
}

/// Text for people: lines of IPv4 fit 120 columns, the summary included.
TEST(Life, TextFits120Columns) {
    REQUIRE_TRACING();
    for (const char* command : {"trace", "life"}) {
        Arena arena;
        Tracer tracer;
        tracer.start({command, "--netns", std::to_string(arena.inode())});
        tracer.await_tracing();
        client_closes_first(
            arena, [] {}, 5);
        linger_reset(
            arena, [] {}, 2);
        const Output output = tracer.stop();
        EXPECT_EQ(output.status, 0) << output.err;
        std::istringstream lines(output.out);
        int seen = 0;
        for (std::string line; std::getline(lines, line); ++seen) {
            const auto columns = std::count_if(line.begin(), line.end(), [](char c) { return (c & 0xc0) != 0x80; });
            EXPECT_LE(columns, 120) << line;
            EXPECT_EQ(line.find('\x1b'), std::string::npos) << "colour where there is no terminal: " << line;
        }
        EXPECT_GT(seen, 10) << output.out;
        EXPECT_NE(output.out.find("127.0.0.1:5001"), std::string::npos) << output.out;
        EXPECT_NE(output.out.find("tt-client"), std::string::npos) << output.out;
    }
}

}  // namespace

void register_life_tests() {
    for (const Scene& scene : scenes()) {
        testing::RegisterTest("Life", scene.name.c_str(), nullptr, nullptr, __FILE__, __LINE__,
                              [&scene]() -> testing::Test* { return new LifeScene(scene); });
    }
}

}  // namespace tcptrail::live
