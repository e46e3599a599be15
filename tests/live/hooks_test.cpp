// SPDX-License-Identifier: Apache-2.0
// Each hook in turn is missing (--without-hook): every row of `trace` and `life` is right, or says that it does not know.
#include <gtest/gtest.h>

#include <algorithm>
#include <set>

#include "less_certain.h"
#include "suites.h"

namespace tcptrail::live {

namespace {

struct Need {
    const char* name;
    const char* instead;  // what serves it then
    std::vector<const char*> scenes;
};

const std::vector<Need>& needs() {
    static const std::vector<Need> table = {
        {"backup", "none", {"ClientClosesFirst", "ClosedInABatch", "SimultaneousClose"}},
        {"destroy", "none", {"ClientClosesFirst", "ListenerClosedWithQueuedChild", "ResetBeforeAccept", "LateData"}},
        {"accept", "none", {"ServerClosesFirst", "ResetBeforeAccept", "ForkingServer", "PassedSocket", "KilledOwner"}},
        {"reset_sent",
         "none",
         {"LingerZero", "UnreadData", "LateData", "KeepaliveTimeout", "RetransmitTimeout", "DisconnectAndReconnect",
          "SockDestroy", "ServerClosesFirst"}},
        {"reset_received", "sk_err", {"LingerZero", "Refused", "LateData", "UnreadData", "ResetBeforeAccept"}},
        {"rename", "repeat", {"RenamedBetween", "NamedThreads", "ForkingServer"}},
        {"time_wait", "model", {"SilentPeer", "SimultaneousClose", "HalfClose", "LingerZero"}},
        {"sockets", "none", {"ClientClosesFirst", "OpenedBefore", "OpenedBeforeHeldByTwo", "OwnerGoneBefore"}},
        {"holders", "none", {"ClientClosesFirst", "OpenedBefore", "OpenedBeforeHeldByTwo", "OwnerGoneBefore"}},
    };
    return table;
}

const Scene& scene_named(const std::string& name) {
    for (const auto* table : {&scenes(), &owner_scenes()}) {
        for (const Scene& scene : *table) {
            if (scene.name == name) {
                return scene;
            }
        }
    }
    throw std::runtime_error("no scene " + name);
}

void judge(const Need& need, Truth truth, const Output& output, const Bounds& bounds, const Comparison& compare) {
    EXPECT_EQ(output.status, 0) << output.err;
    std::vector<Json> rows = output.rows();
    ASSERT_FALSE(rows.empty()) << output.err;
    const std::string serves = rows.back().value("hooks", Json::object()).value(need.name, "");
    EXPECT_TRUE(serves.starts_with(need.instead)) << need.name << " is served by " << serves;
    forgive_ignorance(truth, rows);
    const Differences differences = compare(truth, rows, bounds);
    EXPECT_TRUE(differences.empty()) << first_of(differences) << "\nstderr:\n" << output.err;
}

class WithoutHook : public testing::Test {
public:
    explicit WithoutHook(const Need& need) : need_(need) {}
    void TestBody() override {
        REQUIRE_TRACING();
        for (const char* name : need_.scenes) {
            SCOPED_TRACE(name);
            play(scene_named(name));
        }
    }

private:
    void play(const Scene& scene) const {
        Arena arena;
        Tracer trace;
        Tracer life;
        Bounds bounds;
        bounds.netns = arena.inode();
        const std::vector<std::string> options = {"--json", "--netns", std::to_string(arena.inode()), "--without-hook",
                                                  need_.name};
        const Truth truth = scene.run(arena, [&] {
            for (const auto& [tracer, command] : {std::pair(&trace, "trace"), std::pair(&life, "life")}) {
                std::vector<std::string> args = {command};
                args.insert(args.end(), options.begin(), options.end());
                tracer->start(args);
            }
            trace.await_tracing();
            life.await_tracing();
            bounds.begin_ns = wall_clock_ns();
        });
        bounds.end_ns = wall_clock_ns();
        judge(need_, truth, trace.stop(), bounds, compare_transitions);
        judge(need_, truth, life.stop(), bounds, compare_connections);
    }

    const Need& need_;
};

TEST(Hooks, WithoutTransitionsThereIsNoTrace) {
    REQUIRE_TRACING();
    const Output output = run_tcptrail({"trace", "--without-hook", "transition"});
    EXPECT_EQ(output.status, 3);
    EXPECT_EQ(output.out, "");
    EXPECT_EQ(output.err, "tcptrail: no hook serves transition (--without-hook)\n");
}

TEST(Hooks, EveryNeedIsInTheTable) {
    REQUIRE_TRACING();
    const Output output = run_tcptrail({"trace", "--json", "-d", "1ms"});
    std::set<std::string> told;
    const Json end = output.last_row();
    for (const auto& [need, way] : end["hooks"].items()) {
        told.insert(need);
    }
    std::set<std::string> tested = {"transition"};
    for (const Need& need : needs()) {
        tested.insert(need.name);
    }
    EXPECT_EQ(told, tested);
}

TEST(Hooks, TheSwitchIsNotInTheHelp) {
    const Output help = run_tcptrail({"--help"});
    EXPECT_EQ(help.out.find("without-hook"), std::string::npos) << help.out;
    EXPECT_EQ(run_tcptrail({"trace", "--without-hook", "magic"}).status, geteuid() == 0 ? 2 : 3);
}

}  // namespace

void register_hook_tests() {
    for (const Need& need : needs()) {
        testing::RegisterTest("Hooks", (std::string("Without_") + need.name).c_str(), nullptr, nullptr, __FILE__,
                              __LINE__, [&need]() -> testing::Test* { return new WithoutHook(need); });
    }
}

}  // namespace tcptrail::live
