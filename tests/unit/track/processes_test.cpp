// SPDX-License-Identifier: Apache-2.0
// What is remembered of processes, and that what is forgotten is never taken for another.
#include "track/processes.h"

#include <algorithm>
#include <optional>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "trail.h"

namespace tcptrail::test {
namespace {

constexpr TableLimits kSmall{.processes = 8};

/// Number n of those that only live to connect.
Actor passer(std::uint64_t n) {
    return {1000 + n, static_cast<std::uint32_t>(1000 + n), "passer", 10'000 + n};
}

/// That many processes come, connect, are refused and go.
void pass(Trail& t, std::uint64_t from, std::uint64_t to) {
    for (std::uint64_t n = from; n < to; ++n) {
        t.describe(passer(n)).as(passer(n)).connect(C, A).closed(1ms, {.sk_err = 111});
    }
}

TEST(Processes, TheOwnerAndTheCloserOfALiveConnectionStay) {
    Trail t(kTracepoint, kSmall);
    t.connect(B, A).established(1ms).as(kWorker).fin_sent(1ms).fin_acked(1ms);  // opened by app, closed by worker
    const std::uint64_t old = t.cookie();
    pass(t, 0, 1000);
    t.socket(old).closed(1ms).tick(10ms);
    EXPECT_EQ(t.who(t.endings.back().owner), "app/connect");
    EXPECT_EQ(t.who(t.endings.back().closer), "worker");
}

TEST(Processes, EachOfThemIsTheRightOne) {
    Trail t(kTracepoint, kSmall);
    for (std::uint64_t n = 0; n < 1000; ++n) {
        pass(t, n, n + 1);
        const Process* owner = t.table().find(t.endings.back().owner.process);
        ASSERT_NE(owner, nullptr);
        EXPECT_EQ(owner->pid, 1000 + n);
    }
}

TEST(Processes, AForgottenOneIsUnknownUntilItIsDescribedAgain) {
    Trail t(kTracepoint, kSmall);
    t.connect(B, A).closed(1ms, {.sk_err = 111});
    const ProcessId before = t.endings.back().owner.process;
    EXPECT_EQ(t.who(before), "app");
    pass(t, 0, 100);
    EXPECT_EQ(t.who(before), "?");
    t.as(kApp).connect(B, A);
    EXPECT_EQ(t.who(t.transitions.back().owner), "?/connect");
    const ProcessId after = t.transitions.back().owner.process;
    t.describe(kApp);
    EXPECT_EQ(t.who(after), "app");
    EXPECT_EQ(t.who(before), "?") << "the number is given once";
    t.connect(C, A);
    EXPECT_EQ(t.who(t.transitions.back().owner), "app/connect");
}

TEST(Processes, ThoseThatHoldSocketsDoNotPushOutThoseThatAct) {
    Trail t(kTracepoint, kSmall);
    t.older(State::established, B, A).snapshot(TT_SNAP_SOCKETS | TT_SNAP_HOLDERS | TT_SNAP_FIRST);
    t.shows(State::established);
    for (std::uint64_t n = 0; n < 100; ++n) {
        t.holder(passer(n));
    }
    t.snapshot_end().as(kApp).connect(C, A);
    EXPECT_EQ(t.who(t.transitions.back().owner), "app/connect");
}

TEST(Processes, AnOldNameOfAProcessOutlivesItsNewOne) {
    Trail t(kTracepoint, kSmall);
    t.connect(B, A).established(1ms);
    const std::uint64_t old = t.cookie();
    t.describe({kApp.id, kApp.pid, "renamed", kApp.start_ns});  // and opens nothing under it
    pass(t, 0, 100);
    t.socket(old).fin_received(1ms);
    EXPECT_EQ(t.who(t.transitions.back().owner), "app/connect");
    pass(t, 100, 200);
    t.socket(old).closed(1ms);
    pass(t, 200, 300);
    EXPECT_EQ(t.who(t.transitions.front().owner.process), "?");
}

TEST(Processes, OnesThatNobodyDescribesAreBoundedToo) {
    track::Processes processes(100);
    std::size_t most = 0;
    for (std::uint64_t actor = 1; actor <= 10'000; ++actor) {
        processes.of_actor(actor);
        most = std::max(most, processes.size());
        if (processes.crowded()) {
            processes.forget([](const auto&) {});
        }
    }
    EXPECT_EQ(most, 150U);
}

TEST(Processes, WhatIsReferredToIsBeyondTheBound) {
    track::Processes processes(10);
    tt_process record{};
    std::vector<ProcessId> kept;
    for (std::uint64_t actor = 1; actor <= 1000; ++actor) {
        record.id = actor;
        record.tgid = static_cast<std::uint32_t>(actor);
        processes.describe(record);
        if (actor % 10 == 0) {
            kept.push_back(processes.of_actor(actor));
        }
        if (processes.crowded()) {
            processes.forget([&](const auto& mark) { std::for_each(kept.begin(), kept.end(), mark); });
        }
    }
    ASSERT_EQ(kept.size(), 100U);
    for (std::size_t i = 0; i < kept.size(); ++i) {
        ASSERT_NE(processes.find(kept[i]), nullptr);
        EXPECT_EQ(processes.find(kept[i])->pid, (i + 1) * 10);
    }
    EXPECT_LE(processes.size(), 100U + 10 + 5);
}

TEST(Processes, APathIsRememberedAmongTheLast) {
    track::Processes processes(100);
    const auto name = [&](std::uint64_t id) {
        tt_cgroup record{};
        record.id = id;
        processes.name_cgroup(record, "/system.slice/a" + std::to_string(id) + ".service");
    };
    const auto unit_now = [&](std::uint64_t cgroup) -> std::optional<std::string> {
        static std::uint64_t actor = 0;
        tt_process record{};
        record.id = ++actor;
        record.cgroup = cgroup;
        processes.describe(record);
        return processes.find(processes.of_actor(actor))->unit;
    };
    for (std::uint64_t id = 1; id <= 1000; ++id) {
        name(id);
    }
    EXPECT_EQ(unit_now(901), "a901.service");
    EXPECT_EQ(unit_now(1000), "a1000.service");
    EXPECT_EQ(unit_now(1), std::nullopt);
    name(1);
    EXPECT_EQ(unit_now(1), "a1.service");
}

TEST(RecentMap, HoldsTheLastAndAtMostTwiceAsMany) {
    track::RecentMap<int, int> map(10);
    for (int i = 0; i < 1000; ++i) {
        map.set(i, 2 * i);
        map.set(0, i);  // one that is set again and again
        ASSERT_LE(map.size(), 20U);
        for (int last = std::max(1, i - 8); last <= i; ++last) {
            ASSERT_NE(map.find(last), nullptr);
            EXPECT_EQ(*map.find(last), 2 * last);
        }
        ASSERT_NE(map.find(0), nullptr);
        EXPECT_EQ(*map.find(0), i);
    }
    EXPECT_EQ(map.find(900), nullptr);
}

}  // namespace
}  // namespace tcptrail::test
