// SPDX-License-Identifier: Apache-2.0
// `tcptrail trace --json`: for every scene the whole output, row by row, is what the kernel did.
#include <gtest/gtest.h>

#include "compare.h"
#include "scene.h"
#include "suites.h"

namespace tcptrail::live {

namespace {

class TraceScene : public testing::Test {
public:
    explicit TraceScene(const Scene& scene) : scene_(scene) {}
    void TestBody() override {
        REQUIRE_TRACING();
        check_scene(scene_.run, "trace", compare_transitions);
    }

private:
    const Scene& scene_;
};

TEST(Trace, ThousandOneAfterAnotherTenTimes) {
    REQUIRE_TRACING();
    for (int round = 1; round <= 10 && !testing::Test::HasFailure(); ++round) {
        SCOPED_TRACE("round " + std::to_string(round));
        check_scene([](Arena& arena, const TraceBegins& begin) { return client_closes_first(arena, begin, 1000); },
                    "trace", compare_transitions);
    }
}

TEST(Trace, ThousandClosedInOneBatchTenTimes) {
    REQUIRE_TRACING();
    for (int round = 1; round <= 10 && !testing::Test::HasFailure(); ++round) {
        SCOPED_TRACE("round " + std::to_string(round));
        check_scene([](Arena& arena, const TraceBegins& begin) { return closed_in_a_batch(arena, begin, 1000); },
                    "trace", compare_transitions);
    }
}

}  // namespace

void check_scene(const std::function<Truth(Arena&, const TraceBegins&)>& scene, const std::string& command,
                 const Comparison& compare) {
    Arena arena;
    Tracer tracer;
    Bounds bounds;
    bounds.netns = arena.inode();
    const Truth truth = scene(arena, [&] {
        tracer.start({command, "--json", "--netns", std::to_string(arena.inode())});
        tracer.await_tracing();
        bounds.begin_ns = wall_clock_ns();
    });
    bounds.end_ns = wall_clock_ns();
    const Output output = tracer.stop();
    EXPECT_EQ(output.status, 0) << output.err;
    const Differences differences = compare(truth, output.rows(), bounds);
    EXPECT_TRUE(differences.empty()) << first_of(differences) << "\nstderr:\n" << output.err;
}

void register_trace_tests() {
    for (const Scene& scene : scenes()) {
        testing::RegisterTest("Trace", scene.name.c_str(), nullptr, nullptr, __FILE__, __LINE__,
                              [&scene]() -> testing::Test* { return new TraceScene(scene); });
    }
}

}  // namespace tcptrail::live
