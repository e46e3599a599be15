// SPDX-License-Identifier: Apache-2.0
// `tcptrail life --json`: one line for each ended connection, with its owner, closer, reason, bytes and spans.
#include <gtest/gtest.h>

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

}  // namespace

void register_life_tests() {
    for (const Scene& scene : scenes()) {
        testing::RegisterTest("Life", scene.name.c_str(), nullptr, nullptr, __FILE__, __LINE__,
                              [&scene]() -> testing::Test* { return new LifeScene(scene); });
    }
}

}  // namespace tcptrail::live
