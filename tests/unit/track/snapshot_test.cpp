// SPDX-License-Identifier: Apache-2.0
// Sockets older than the trace, races with the iterators, and the sweep after a loss.
#include <gtest/gtest.h>

#include "trail.h"

namespace tcptrail::test {
namespace {

constexpr unsigned kFirst = TT_SNAP_SOCKETS | TT_SNAP_FIRST;
constexpr unsigned kResync = TT_SNAP_SOCKETS | TT_SNAP_RESYNC;

TEST(Snapshot, BeforeTheTrace) {
    Trail& t = trail();
    t.older(State::established, B, A).snapshot(kFirst).shows(State::established).snapshot_end();
    t.fin_sent(1ms).fin_acked(1ms).closed(1ms);
    EXPECT_EQ(t.lines().front(), "1.0 ESTABLISHED>FIN_WAIT1 - app");
    const ConnectionRow& row = t.ended();
    EXPECT_TRUE(row.before_trace);
    EXPECT_TRUE(row.complete);
    EXPECT_EQ(row.opened, std::nullopt);
    EXPECT_EQ(row.lifetime_ns, std::nullopt);
    EXPECT_EQ(row.established_ns, std::nullopt);
    EXPECT_EQ(row.bytes_sent, std::nullopt);  // whether a SYN is in it is not known
    EXPECT_EQ(row.ends.rport, A.port);
}

TEST(Snapshot, AnEventBeforeTheFirstSnapshotIsNoLoss) {
    Trail& t = trail();
    t.older(State::established, B, A).step(State::close_wait, 1ms);
    t.nothing_before();
    EXPECT_EQ(t.table().trace_end().incomplete_connections, 0u);
}

TEST(Snapshot, AnEndBeforeTheFirstSnapshotIsNoLoss) {
    Trail& t = trail();
    t.older(State::last_ack, B, A).endpoint(1ms).closed(0ms);
    EXPECT_TRUE(t.ended().before_trace);
    EXPECT_EQ(t.ended().ends.rport, A.port);
    EXPECT_TRUE(t.ended().complete);
    EXPECT_EQ(t.table().trace_end().incomplete_connections, 0u);
}

TEST(Snapshot, WhatStandsInNeitherIsIncomplete) {
    Trail& t = trail().nothing_before().older(State::established, B, A).fin_received(1ms);
    EXPECT_EQ(t.table().trace_end().incomplete_connections, 1u);
}

TEST(Snapshot, ARowOlderThanAnEventChangesNothing) {
    Trail& t = trail().connect(B, A).established(5ms).snapshot(kFirst);
    t.fin_received(2ms).shows(State::established, -1ms).snapshot_end().fin_sent(2ms).closed(1ms);
    EXPECT_TRUE(t.ended().complete);
    EXPECT_EQ(t.lines()[3], "1.0 CLOSE_WAIT>LAST_ACK 3000us app");
}

TEST(Snapshot, ARowOlderThanTheEndMakesNoGhost) {
    Trail& t = trail().connect(B, A).established(5ms).fin_received(1ms).fin_sent(1ms).snapshot(kFirst);
    t.closed(2ms).shows(State::last_ack, -1ms).snapshot_end();
    EXPECT_EQ(t.table().size(), 0u);
    t.snapshot(kResync).snapshot_end();
    EXPECT_EQ(t.endings.size(), 1u);
}

TEST(Snapshot, ADifferentStateMeansALoss) {
    Trail& t = trail().nothing_before().connect(B, A).established(5ms).lose().fin_received(2ms).snapshot(kResync);
    t.shows(State::close_wait).snapshot_end().fin_sent(1ms).closed(1ms);
    EXPECT_FALSE(t.ended().complete);
    EXPECT_EQ(t.lines()[2], "1.0 CLOSE_WAIT>LAST_ACK - app");
    EXPECT_EQ(t.table().trace_end().incomplete_connections, 1u);
}

TEST(Sweep, AfterALossEndsWhatIsGone) {
    Trail& t =
        trail().nothing_before().connect(B, A).established(5ms).lose().closed(1ms).snapshot(kResync).snapshot_end();
    EXPECT_FALSE(t.ended().complete);
    EXPECT_EQ(t.ended().reason, CloseReason::unknown);
    EXPECT_EQ(t.ended().time_wait, std::nullopt);
    EXPECT_EQ(t.table().size(), 0u);
}

TEST(Sweep, WhatIsFoundInTimeWaitHasEndedUnseen) {
    Trail& t = trail().nothing_before().connect(B, A).established(5ms).lose().fin_sent(1ms).lose().fin_acked(1ms);
    t.lose().closed(1ms).tick(1ms).snapshot(kResync).shows(State::time_wait).snapshot_end().tick(10ms);
    EXPECT_FALSE(t.ended().complete);
    EXPECT_EQ(t.ended().reason, CloseReason::unknown);
    EXPECT_EQ(t.table().size(), 1u);
    EXPECT_EQ(t.table().trace_end().transitions, 2u);
    t.snapshot(kResync).snapshot_end();
    EXPECT_EQ(t.table().size(), 0u);
    EXPECT_EQ(t.endings.size(), 1u);
    EXPECT_EQ(t.table().trace_end().incomplete_connections, 1u);
}

/// The kernel makes the time-wait socket first, and then the last transition of the full one.
TEST(Sweep, WhatIsFoundInTimeWaitMayBeAboutToTellItsEnd) {
    Trail& t = trail().nothing_before().connect(B, A).established(5ms).fin_sent(1ms).fin_acked(1ms);
    t.snapshot(kResync).shows(State::time_wait).snapshot_end().closed(1ms).tick(1s);
    ASSERT_EQ(t.endings.size(), 1u);
    EXPECT_TRUE(t.ended().complete);
    EXPECT_EQ(t.ended().reason, CloseReason::local_fin);
    EXPECT_EQ(t.ended().time_wait, true);
    EXPECT_EQ(t.table().trace_end().incomplete_connections, 0u);
}

TEST(Sweep, SparesWhatIsShownAndWhatIsYounger) {
    Trail& t = trail().nothing_before().connect(B, A).established(5ms).snapshot(kResync).shows(State::established);
    t.connect(C, A).established(1ms).snapshot_end();
    EXPECT_TRUE(t.endings.empty());
    EXPECT_EQ(t.table().size(), 2u);
}

TEST(Sweep, EndsATimeWaitThatIsGone) {
    Trail& t = trail().nothing_before().connect(B, A).established(5ms).fin_sent(1ms).fin_acked(1ms).closed(1ms);
    t.snapshot(kResync).shows(State::time_wait).snapshot_end();
    EXPECT_EQ(t.table().size(), 1u);
    t.snapshot(kResync).snapshot_end();
    EXPECT_EQ(t.table().size(), 0u);
    EXPECT_TRUE(t.transitions.back().inferred);
    EXPECT_TRUE(t.ended().complete);
}

}  // namespace
}  // namespace tcptrail::test
