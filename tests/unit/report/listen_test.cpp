// SPDX-License-Identifier: Apache-2.0
// `listen`: queues followed by events, whose the counts are, what a flood is, on literal worlds.
#include <gtest/gtest.h>

#include "report/listen.h"
#include "report/syn_flood.h"
#include "world.h"

namespace tcptrail::test {
namespace {

using report::DropFacts;
using report::is_syn_flood;
using report::LimitBy;
using report::ListenerRow;
using report::ListenReport;

constexpr std::uint64_t kListener = 1;
constexpr std::uint32_t kNever = ~0U;

struct Queue {
    std::uint32_t now = 0;
    std::uint32_t limit = 128;
    std::uint32_t syn = 0;
    std::uint32_t drops = 0;
    std::uint32_t cookie_ms = kNever;
};

tt_socket facts(const Queue& queue) {
    tt_socket row{};
    row.inode = 77;
    row.head.flags = TT_F_HAS_SOCKET;
    row.ack_backlog = queue.now;
    row.max_ack_backlog = queue.limit;
    row.syn_qlen = queue.syn;
    row.drops = queue.drops;
    row.last_recv_ms = queue.cookie_ms;
    return row;
}

tt_socket held() {
    tt_socket row{};
    row.inode = 78;
    row.head.flags = TT_F_HAS_SOCKET;
    return row;
}

constexpr const char* kSettings =
    "net.core.somaxconn=4096\nnet.ipv4.tcp_syncookies=1\nnet.ipv4.tcp_max_syn_backlog=2048\n";

class Listening : public testing::Test {
protected:
    Listening() {
        world.on_record = [this](const tt_head& record) { report.take(record); };
    }
    /// A snapshot with one listener on A.
    void shows(const Queue& queue, const char* counters = "", std::uint32_t what = TT_SNAP_REPORT) {
        world.wait(1s).snapshot(what).listener(kListener, A, facts(queue)).settings(kSettings).counters(counters);
        world.holder(kListener, kServer).ends();
    }
    ListenerRow cut() {
        const auto summary = report.cut();
        return summary && !summary->rows.empty() ? summary->rows.front() : ListenerRow{};
    }

    World world;
    report::Filter filter;
    ListenReport report{world.table, filter};
};

TEST_F(Listening, EventsShowWhatStoodBetweenTwoSnapshots) {
    shows({}, "", TT_SNAP_FIRST);
    world.wait(1ms).child(2, kListener, A, B).wait(1ms).child(3, kListener, A, C);
    world.wait(5ms).accept(2, kServer).wait(5ms).accept(3, kServer);
    shows({});
    const ListenerRow row = cut();
    EXPECT_EQ(row.accept_now, 0U);
    EXPECT_EQ(row.accept_high, 2U);
    EXPECT_TRUE(row.high_exact);
    EXPECT_EQ(row.established, 2U);
    EXPECT_EQ(row.accepted, 2U);
    EXPECT_EQ(row.waits_ns.max(), 10'000'000U);
    EXPECT_EQ(row.who.process->comm, "server");
}

TEST_F(Listening, WhatStoodBeforeTheTraceCountsUntilItIsAccepted) {
    shows({.now = 3}, "", TT_SNAP_FIRST);
    world.wait(1ms).child(2, kListener, A, B);
    shows({.now = 4});
    EXPECT_EQ(cut().accept_high, 4U);
    world.wait(1ms).accept(2, kServer);
    shows({.now = 0});
    EXPECT_EQ(cut().accept_high, 4U) << "as the window began";
    shows({.now = 0});
    EXPECT_EQ(cut().accept_high, 0U);
}

TEST_F(Listening, AClosedChildWaitsOn) {
    shows({}, "", TT_SNAP_FIRST);
    world.wait(1ms).child(2, kListener, A, B).wait(1ms).close(2, State::established);
    world.wait(1ms).child(3, kListener, A, C);
    shows({.now = 2});
    const ListenerRow row = cut();
    EXPECT_EQ(row.accept_high, 2U);
    EXPECT_TRUE(row.high_exact);
}

TEST_F(Listening, AListenerThatClosedIsForgottenThoughItsChildrenLeaveAfterIt) {
    report::AcceptQueues queues(world.table);
    world.on_record = [&](const tt_head& record) { queues.take(record); };
    shows({}, "", TT_SNAP_FIRST);
    world.wait(1ms).child(2, kListener, A, B).wait(1ms).child(3, kListener, A, C);
    ASSERT_NE(queues.find(kListener), nullptr);
    EXPECT_EQ(queues.find(kListener)->waiting, 2U);
    world.wait(1ms).close(kListener, State::listen);
    world.close(2, State::established).destroyed(2).close(3, State::established).destroyed(3);
    EXPECT_EQ(queues.find(kListener), nullptr);
}

TEST_F(Listening, AListenerWhoseCloseWasLostIsForgottenWithTheNextSnapshot) {
    report::AcceptQueues queues(world.table);
    world.on_record = [&](const tt_head& record) { queues.take(record); };
    shows({}, "", TT_SNAP_FIRST);
    ASSERT_NE(queues.find(kListener), nullptr);
    world.wait(1s).snapshot(TT_SNAP_REPORT | TT_SNAP_SOCKETS).ends();
    EXPECT_EQ(queues.find(kListener), nullptr);
}

TEST_F(Listening, TheHighWaterMarkNeverPassesWhatTheKernelAllows) {
    shows({.limit = 1}, "", TT_SNAP_FIRST);
    for (std::uint64_t i = 0; i < 5; ++i) {
        world.wait(1ms).child(2 + i, kListener, A, {2, static_cast<std::uint16_t>(1000 + i)});
    }
    shows({.now = 2, .limit = 1});
    EXPECT_EQ(cut().accept_high, 2U);
}

/// io_uring: a process has it, and no accept was told.
TEST_F(Listening, AnAcceptThatEscapedMakesTheMarkASnapshots) {
    shows({}, "", TT_SNAP_FIRST);
    world.wait(1ms).child(2, kListener, A, B);
    world.wait(1s)
        .snapshot()
        .listener(kListener, A, facts({}))
        .socket(2, State::established, A, B, held())
        .settings(kSettings)
        .ends();
    const ListenerRow row = cut();
    EXPECT_FALSE(row.high_exact);
    EXPECT_EQ(row.accept_high, 0U);
}

TEST_F(Listening, ASnapshotBetweenAcceptAndItsRecordIsNoEscape) {
    shows({}, "", TT_SNAP_FIRST);
    world.wait(1ms).child(2, kListener, A, B);
    world.wait(1s).snapshot().listener(kListener, A, facts({})).socket(2, State::established, A, B, held());
    world.accept(2, kServer).settings(kSettings).ends();
    const ListenerRow row = cut();
    EXPECT_TRUE(row.high_exact);
    EXPECT_EQ(row.accept_high, 1U);
}

/// The kernel queues a child before its handshake's last transition: another CPU may accept it in between.
TEST_F(Listening, AnAcceptBeforeEstablishedCounts) {
    shows({}, "", TT_SNAP_FIRST);
    world.wait(1ms).born(2, kListener, A, B).accept(2, kServer).step(2, State::syn_recv, State::established);
    shows({});
    const ListenerRow row = cut();
    EXPECT_EQ(row.established, 1U);
    EXPECT_EQ(row.accepted, 1U);
    EXPECT_EQ(row.accept_high, 0U);
    EXPECT_TRUE(row.high_exact);
}

/// The peer's RST comes between the accept and the hook that tells of it.
TEST_F(Listening, AResetBetweenAcceptAndItsRecordIsNoEscape) {
    shows({}, "", TT_SNAP_FIRST);
    world.wait(1ms).child(2, kListener, A, B).close(2, State::established, kProcess, &kServer);
    world.accept(2, kServer);
    shows({});
    const ListenerRow row = cut();
    EXPECT_EQ(row.accepted, 1U);
    EXPECT_TRUE(row.high_exact);
}

TEST_F(Listening, ASnapshotThatWasShownIsNotShownAgain) {
    shows({}, "", TT_SNAP_FIRST);
    EXPECT_TRUE(report.cut());
    EXPECT_FALSE(report.cut());
}

TEST_F(Listening, WhichLimitBites) {
    shows({.limit = 128}, "", TT_SNAP_FIRST);
    EXPECT_EQ(cut().limit_by, LimitBy::listen);
    shows({.limit = 4096});
    EXPECT_EQ(cut().limit_by, LimitBy::somaxconn);
    shows({.limit = 8192});
    EXPECT_EQ(cut().limit_by, std::nullopt) << "somaxconn was higher when listen() was called";
}

TEST_F(Listening, WithoutCookiesAQuarterOfTheSynBacklogIsKept) {
    world.snapshot(TT_SNAP_FIRST).listener(kListener, A, facts({.limit = 4096}));
    world.settings("net.core.somaxconn=4096\nnet.ipv4.tcp_syncookies=0\nnet.ipv4.tcp_max_syn_backlog=2048\n").ends();
    const ListenerRow row = cut();
    EXPECT_EQ(row.syn_limit, 1536U);
    EXPECT_EQ(row.limit_by, LimitBy::tcp_max_syn_backlog);
}

TEST_F(Listening, ACookieCountIsTheOnlySenders) {
    const auto both = [&](std::uint32_t first_ms, std::uint32_t second_ms) {
        world.wait(1s).snapshot().listener(1, A, facts({.cookie_ms = first_ms}));
        world.listener(2, {0, 81}, facts({.cookie_ms = second_ms})).settings(kSettings);
        world.counters("TcpExt.SyncookiesSent=40\n").ends();
        std::map<std::uint64_t, std::optional<std::uint64_t>> sent;
        const auto summary = report.cut();
        for (const ListenerRow& row : summary->rows) {
            sent[row.cookie] = row.since_start.syn_cookies;
        }
        return sent;
    };
    EXPECT_EQ(both(500, kNever), (std::map<std::uint64_t, std::optional<std::uint64_t>>{{1, 40}, {2, 0}}));
    EXPECT_EQ(both(500, 90'000),
              (std::map<std::uint64_t, std::optional<std::uint64_t>>{{1, std::nullopt}, {2, std::nullopt}}));
}

TEST(DropShare, IsExactWhereNobodyElseDropped) {
    // A refused ACK counts twice in sk_drops and once in ListenDrops.
    const DropFacts alone{.sk_drops = 258, .listen_drops = 253, .listen_overflows = 250};
    EXPECT_EQ(report::drops_of(alone), 253U);
    EXPECT_EQ(report::overflows_of(alone), 250U);
}

TEST(DropShare, IsTheSocketsOwnWhereAllAddsUp) {
    const DropFacts shared{.sk_drops = 8, .sk_drops_others = 2, .listen_drops = 10, .listen_overflows = 10};
    EXPECT_EQ(report::drops_of(shared), 8U);
    EXPECT_EQ(report::overflows_of(shared), 8U);
}

TEST(DropShare, IsNeverTheNamespacesWhereOthersDropToo) {
    const DropFacts twice{.sk_drops = 12, .sk_drops_others = 2, .listen_drops = 10, .listen_overflows = 10};
    EXPECT_EQ(report::drops_of(twice), 12U);
    EXPECT_EQ(report::overflows_of(twice), std::nullopt);
}

TEST(DropShare, OfOverflowsIsNotKnownOtherwise) {
    const DropFacts mixed{.sk_drops = 8, .sk_drops_others = 2, .listen_drops = 10, .listen_overflows = 4};
    EXPECT_EQ(report::overflows_of(mixed), std::nullopt);
    const DropFacts gone{.sk_drops = 8, .listen_drops = 1000, .listen_overflows = 1000};
    EXPECT_EQ(report::drops_of(gone), 8U) << "a listener that is gone had the others";
    EXPECT_EQ(report::overflows_of(gone), std::nullopt);
    const DropFacts filtered{.sk_drops = 8, .sees_all = false, .listen_drops = 8, .listen_overflows = 3};
    EXPECT_EQ(report::overflows_of(filtered), std::nullopt);
    const DropFacts clean{.sk_drops_others = 5, .listen_drops = 5, .listen_overflows = 5};
    EXPECT_EQ(report::overflows_of(clean), 0U);
}

constexpr std::uint64_t kSecond = 1'000'000'000;

TEST(SynFlood, FillsTheQueueAndStays) {
    EXPECT_TRUE(is_syn_flood({.window_ns = kSecond, .open = 3000, .stale = 2000, .fresh = 1000, .limit = 4096}));
    EXPECT_TRUE(
        is_syn_flood({.window_ns = kSecond, .open = 17, .stale = 17, .limit = 16, .completed = 100, .cookies = 1500}));
    // The kernel has just thrown the old ones out of a full queue.
    EXPECT_TRUE(is_syn_flood(
        {.window_ns = kSecond, .open = 17, .stale = 2, .fresh = 17, .open_before = 17, .limit = 16, .cookies = 1500}));
    // And the fresh ones have not come yet.
    EXPECT_TRUE(
        is_syn_flood({.window_ns = kSecond, .open = 2, .fresh = 2, .open_before = 17, .limit = 16, .cookies = 1500}));
    EXPECT_TRUE(is_syn_flood({.window_ns = kSecond, .limit = 128, .cookies = 900, .always_cookies = true}));
}

TEST(SynFlood, IsNotAHighLoad) {
    // 5,000 connections a second with 100 ms of round trip, 1 % lost.
    EXPECT_FALSE(
        is_syn_flood({.window_ns = kSecond, .open = 550, .stale = 50, .fresh = 540, .limit = 4096, .completed = 5000}));
    // The same at a queue of 5: cookies come back.
    EXPECT_FALSE(is_syn_flood({.window_ns = kSecond,
                               .open = 6,
                               .stale = 6,
                               .open_before = 6,
                               .limit = 5,
                               .completed = 5000,
                               .cookies = 550}));
    // A herd whose SYN-ACKs are under way.
    EXPECT_FALSE(is_syn_flood({.window_ns = kSecond, .open = 17, .fresh = 17, .limit = 16, .cookies = 480}));
}

TEST(SynFlood, IsNotAPortScanNorOneThatIsOver) {
    EXPECT_FALSE(is_syn_flood({.window_ns = kSecond, .open = 20, .stale = 20, .fresh = 1, .limit = 4096}));
    EXPECT_FALSE(is_syn_flood({.window_ns = kSecond, .open = 1, .stale = 1, .fresh = 1, .limit = 1}));
    EXPECT_FALSE(is_syn_flood({.window_ns = kSecond, .open = 4000, .stale = 4000, .fresh = 0, .limit = 4096}));
    EXPECT_FALSE(is_syn_flood({.window_ns = 0, .open = 4000, .stale = 4000, .fresh = 4000, .limit = 4096}));
}

}  // namespace
}  // namespace tcptrail::test
