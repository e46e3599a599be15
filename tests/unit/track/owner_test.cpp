// SPDX-License-Identifier: Apache-2.0
// Whose a connection is, and how that is known; kernel.md 2, contract "owner".
#include <gtest/gtest.h>

#include "trail.h"

namespace tcptrail::test {
namespace {

TEST(Owner, ConnectAndListen) {
    Trail& t = trail().as(kServer).listen(A).as(kApp).connect(B, A);
    EXPECT_EQ(t.who(t.transitions[0].owner), "server/listen");
    EXPECT_EQ(t.who(t.transitions[1].owner), "app/connect");
    EXPECT_EQ(t.who(t.transitions[1].actor), "app");
}

TEST(Owner, AcceptedBelongsToTheAcceptor) {
    Trail& t = trail().as(kServer).listen(A).child(A, B).as(kWorker).accept(1ms).fin_received(1ms).fin_sent(1ms);
    EXPECT_EQ(t.who(t.transitions[1].owner), "server/inherited");
    EXPECT_EQ(t.transitions[1].actor, 0u);
    t.closed(1ms);
    EXPECT_EQ(t.who(t.ended().owner), "worker/accept");
    EXPECT_EQ(t.ended().role, Role::passive);
    EXPECT_EQ(t.who(t.ended().closer), "worker");
}

TEST(Owner, TheCloserMayBeAnother) {
    Trail& t = trail().connect(B, A).established(1ms).as(kWorker).fin_sent(1ms).fin_acked(1ms).closed(1ms);
    EXPECT_EQ(t.who(t.ended().owner), "app/connect");
    EXPECT_EQ(t.who(t.ended().closer), "worker");
}

TEST(Owner, AcceptedUnseenByIoUring) {
    Trail& t = trail().as(kServer).listen(A).child(A, B).as(kWorker).fin_sent(1ms);
    EXPECT_EQ(t.who(t.transitions.back().owner), "worker/close");
}

TEST(Owner, ARenameLeavesOldRowsAlone) {
    Trail& t = trail().connect(B, A);
    const ProcessId before = t.transitions.back().owner.process;
    t.describe({kApp.id, kApp.pid, "renamed", kApp.start_ns}).connect(C, A);
    EXPECT_EQ(t.who(before), "app");
    EXPECT_EQ(t.who(t.transitions.back().owner), "renamed/connect");
}

TEST(Owner, AnActorThatNobodyDescribed) {
    Trail& t = trail().unknown_actor().connect(B, A);
    EXPECT_EQ(t.who(t.transitions.back().owner), "?/connect");
    t.describe({999, 300, "late", 9000});
    EXPECT_EQ(t.who(t.transitions.back().owner), "late/connect");
}

TEST(Owner, HolderOfTheSnapshot) {
    Trail& t = trail();
    t.older(State::established, B, A).snapshot(TT_SNAP_SOCKETS | TT_SNAP_HOLDERS | TT_SNAP_FIRST);
    t.shows(State::established).holder(kWorker).holder(kServer).snapshot_end();
    t.step(State::close_wait, 1ms);
    EXPECT_EQ(t.who(t.transitions.back().owner), "server/snapshot");  // it has run longest
}

TEST(Owner, AKernelThreadIsNoHolder) {
    Trail& t = trail();
    t.older(State::established, B, A).snapshot(TT_SNAP_SOCKETS | TT_SNAP_HOLDERS | TT_SNAP_FIRST);
    t.shows(State::established).holder(kWorker, TT_F_KTHREAD).snapshot_end();
    t.step(State::close_wait, 1ms);
    EXPECT_EQ(t.who(t.transitions.back().owner), "-/unknown");
}

TEST(Owner, ASnapshotDoesNotReplaceWhatWasSeen) {
    Trail& t = trail().connect(B, A).established(1ms).snapshot(TT_SNAP_HOLDERS).holder(kWorker).snapshot_end();
    t.step(State::close_wait, 1ms);
    EXPECT_EQ(t.who(t.transitions.back().owner), "app/connect");
}

/// A child that a RST ended before anybody accepted it.
Trail& reset_in_the_queue() {
    return trail().as(kServer).listen(A).child(A, B).closed(1ms, {.sk_err = 104, .close_flags = 0}).as(kWorker);
}

TEST(Unaccepted, EndIsHeldUntilAccept) {
    Trail& t = reset_in_the_queue().tick(5s);
    EXPECT_TRUE(t.endings.empty());
    t.accept(1ms);
    EXPECT_EQ(t.who(t.ended().owner), "worker/accept");
    EXPECT_EQ(t.ended().lifetime_ns, 1'000'000u);
    EXPECT_EQ(t.ended().reason, CloseReason::rst_received);
}

TEST(Unaccepted, EndIsHeldUntilDestroy) {
    Trail& t = reset_in_the_queue().destroy(1s);
    EXPECT_EQ(t.who(t.ended().owner), "server/inherited");
    EXPECT_TRUE(t.ended().complete);
    EXPECT_EQ(t.table().size(), 1u);  // the listener
}

TEST(Unaccepted, EndIsHeldUntilTheEndOfTheRun) {
    Trail& t = reset_in_the_queue().end(1s);
    EXPECT_EQ(t.who(t.ended().owner), "server/inherited");
}

}  // namespace
}  // namespace tcptrail::test
