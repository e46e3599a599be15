// SPDX-License-Identifier: Apache-2.0
// Which close reasons are made to happen here, by which scene, and which cannot be and are left to the unit tests.
#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <memory>
#include <set>

#include "suites.h"

namespace tcptrail::live {

namespace {

struct Row {
    const char* reason;
    const char* scene;  // nullptr: cannot be made to happen here; `why` says why, tests/unit shows the verdict
    const char* why = "";
};

const std::vector<Row>& table() {
    static const std::vector<Row> rows = {
        {"local_fin", "ClientClosesFirst"},
        {"remote_fin", "ClientClosesFirst"},
        {"simultaneous_fin", "SimultaneousClose"},
        {"rst_received", "LingerZero"},
        {"linger_rst", "LingerZero"},
        {"unread_data_rst", "UnreadData"},
        {"late_data_rst", "LateData"},
        {"refused", "Refused"},
        {"connect_timeout", "ConnectTimeout"},
        {"connect_cancelled", "ConnectCancelled"},
        {"unreachable", "Unreachable"},
        {"no_local_port", "NoLocalPort"},
        {"retransmit_timeout", "RetransmitTimeout"},
        {"keepalive_timeout", "KeepaliveTimeout"},
        {"fin_wait1_timeout", "FinWait1Timeout"},
        {"last_ack_timeout", "LastAckTimeout"},
        {"disconnect", "DisconnectAndReconnect"},
        {"sock_destroyed", "SockDestroy"},
        {"listener_closed", "ListenerClosedWithQueuedChild"},
        {"fin_wait2_timeout", "FinWait2Timeout"},
        {"resource", nullptr, "tcp_max_orphans and tcp_mem belong to the whole machine"},
    };
    return rows;
}

const Scene* scene_named(const std::string& name) {
    const auto found =
        std::find_if(scenes().begin(), scenes().end(), [&](const Scene& scene) { return scene.name == name; });
    return found == scenes().end() ? nullptr : &*found;
}

/// One trace over all scenes, each in its own namespace: the reasons of each connection, joined by the namespace.
TEST(Reason, EveryReasonThatCanBeMadeIsTold) {
    REQUIRE_TRACING();
    Tracer tracer;
    tracer.start({"life", "--json"});
    tracer.await_tracing();
    std::set<std::string> names;
    for (const Row& row : table()) {
        if (row.scene != nullptr) {
            names.insert(row.scene);
        }
    }
    std::vector<std::unique_ptr<Arena>> arenas;
    std::map<std::uint32_t, std::multiset<std::string>> truths;
    for (const std::string& name : names) {
        const Scene* scene = scene_named(name);
        ASSERT_NE(scene, nullptr) << name;
        arenas.push_back(std::make_unique<Arena>());
        for (const Side& side : scene->run(*arenas.back(), [] {}).sides) {
            if (side.role != Role::listener) {
                truths[arenas.back()->inode()].insert(side.reason);
            }
        }
    }
    const Output output = tracer.stop();
    ASSERT_EQ(output.status, 0) << output.err;
    std::map<std::uint32_t, std::multiset<std::string>> told;
    std::set<std::string> kinds;
    for (const Json& row : output.rows()) {
        if (row.value("type", "") == "connection" && truths.contains(row["netns"].get<std::uint32_t>())) {
            told[row["netns"]].insert(row["close_reason"].get<std::string>());
            kinds.insert(row["close_reason"].get<std::string>());
        }
    }
    EXPECT_EQ(told, truths);
    for (const Row& row : table()) {
        EXPECT_EQ(kinds.contains(row.reason), row.scene != nullptr) << row.reason << " " << row.why;
    }
    EXPECT_GE(kinds.size(), 15U);
}

TEST(Reason, TheTableNamesScenesThatMakeWhatTheySay) {
    for (const Row& row : table()) {
        EXPECT_TRUE(row.scene == nullptr || scene_named(row.scene) != nullptr) << row.reason;
    }
}

}  // namespace

}  // namespace tcptrail::live
