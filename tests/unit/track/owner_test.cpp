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

/// A process that looked through /proc/PID/fd held the file when its owner closed it.
TEST(Owner, ALookerIsNeitherCloserNorOwner) {
    Trail& t = trail().connect(B, A).established(1ms).as(kWorker);
    t.step(State::fin_wait1, 1ms, kProcess | TT_F_LOOKED).fin_acked(1ms).closed(1ms);
    EXPECT_EQ(t.who(t.ended().owner), "app/connect");
    EXPECT_EQ(t.ended().closer, 0u);
    EXPECT_EQ(t.transitions[2].actor, 0u);
}

TEST(Owner, ALookerAtASocketThatNobodyIsKnownToHaveIsNotItsOwner) {
    Trail& t = trail().as(kServer).listen(A).child(A, B).fin_received(1ms).as(kWorker);
    t.step(State::last_ack, 1ms, kProcess | TT_F_LOOKED).closed(1ms);
    EXPECT_EQ(t.who(t.ended().owner), "server/inherited");
    EXPECT_EQ(t.ended().closer, 0u);
}

/// Another thread of it read from the socket while it was closed.
TEST(Owner, WhoReadsItsOwnSocketClosesIt) {
    Trail& t = trail().connect(B, A).established(1ms);
    t.step(State::fin_wait1, 1ms, kProcess | TT_F_LOOKED).fin_acked(1ms).closed(1ms);
    EXPECT_EQ(t.who(t.ended().closer), "app");
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

TEST(Owner, ContainersByTheirPaths) {
    const std::string id = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";
    for (const std::string& path :
         {"/docker/" + id, "/system.slice/docker-" + id + ".scope", "/default/" + id,
          "/kubepods.slice/kubepods-pod1.slice/cri-containerd-" + id + ".scope", "/kubepods/burstable/pod1/" + id,
          "/kubepods.slice/crio-" + id + ".scope", "/machine.slice/libpod-" + id + ".scope/container",
          "/machine.slice/libpod-" + id + ".scope/container/system.slice/cron.service"}) {
        EXPECT_EQ(track::container_of(path), id) << path;
    }
    for (const std::string& path :
         {std::string("/"), std::string("/system.slice/nginx.service"), "/x/" + id + "0",
          "/machine.slice/libpod-conmon-" + id + ".scope", "/crio-conmon-" + id + ".scope", "/x/" + id.substr(1)}) {
        EXPECT_EQ(track::container_of(path), "") << path;
    }
}

TEST(Owner, UnitsByTheirPaths) {
    EXPECT_EQ(track::unit_of("/system.slice/nginx.service"), "nginx.service");
    EXPECT_EQ(track::unit_of("/user.slice/user-1000.slice/user@1000.service/app.slice/a.service"), "a.service");
    EXPECT_EQ(track::unit_of("/user.slice/user-1000.slice/session-2.scope"), "session-2.scope");
    EXPECT_EQ(track::unit_of("/system.slice"), "");
    EXPECT_EQ(track::unit_of("/"), "");
}

/// At an accept's exit the descriptor may name another socket by now (another thread's dup2).
TEST(Owner, AnAcceptOfWhatWasNotAcceptedNowSaysNothing) {
    Trail& t = trail().connect(B, A).established(1ms).as(kWorker).accept(1ms).fin_sent(1ms).fin_acked(1ms).closed(1ms);
    EXPECT_EQ(t.who(t.ended().owner), "app/connect");
    EXPECT_EQ(t.ended().role, Role::active);
}

TEST(Owner, TheFirstAcceptStands) {
    Trail& t = trail().as(kServer).listen(A).child(A, B).accept(1ms).as(kWorker).accept(1ms).fin_received(1ms);
    EXPECT_EQ(t.who(t.transitions.back().owner), "server/accept");
}

TEST(Owner, AListenerIsNotAccepted) {
    Trail& t = trail().as(kServer).listen(A).as(kWorker).accept(1ms).closed(1ms, {.flags = kProcess});
    EXPECT_EQ(t.who(t.transitions.back().owner), "server/listen");
}

TEST(Owner, WhatTheKernelItselfAcceptsIsNobodys) {
    Trail& t = trail().as(kServer).listen(A).child(A, B).as({0, 0, "", 0}).accept(1ms).fin_received(1ms);
    EXPECT_EQ(t.who(t.transitions.back().owner), "-/unknown");
}

TEST(Owner, WhatAHolderHadBeforeIsNotAnothersAccept) {
    Trail& t = trail();
    t.older(State::established, A, B).snapshot(TT_SNAP_SOCKETS | TT_SNAP_HOLDERS | TT_SNAP_FIRST);
    t.shows(State::established).holder(kServer).snapshot_end().as(kWorker).accept(1ms).fin_received(1ms);
    EXPECT_EQ(t.who(t.transitions.back().owner), "server/snapshot");
}

/// A listener that two processes accept from: who took a connection unseen (io_uring) is not known until it acts.
TEST(Owner, AnUnseenAcceptFromASharedListenerIsNobodys) {
    Trail& t = trail().as(kServer).listen(A);
    t.child(A, C).as(kWorker).accept(1ms);  // so it is shared
    t.child(A, B).step(State::close_wait, 1ms, TT_F_HAS_SOCKET);
    EXPECT_EQ(t.who(t.transitions.back().owner), "-/unknown");
    t.fin_sent(1ms);
    EXPECT_EQ(t.who(t.transitions.back().owner), "worker/close");
}

TEST(Owner, AnUnseenAcceptFromAListenerOfOneIsItsOwners) {
    Trail& t = trail().as(kServer).listen(A).child(A, B).step(State::close_wait, 1ms, TT_F_HAS_SOCKET);
    EXPECT_EQ(t.who(t.transitions.back().owner), "server/inherited");
}

TEST(Owner, TwoHoldersShareAListener) {
    Trail& t = trail();
    t.older(State::listen, A, {}).snapshot(TT_SNAP_SOCKETS | TT_SNAP_HOLDERS | TT_SNAP_FIRST);
    const std::uint64_t listener = t.cookie();
    t.shows(State::listen).holder(kServer).holder(kWorker).snapshot_end();
    t.child_of(listener, A, B).step(State::close_wait, 1ms, TT_F_HAS_SOCKET);
    EXPECT_EQ(t.who(t.transitions.back().owner), "-/unknown");
}

/// The listener's holders are read after its queue's sockets.
TEST(Owner, WhatStoodInTheQueueIsTheListeners) {
    Trail& t = trail();
    t.older(State::listen, A, {});
    const std::uint64_t listener = t.cookie();
    t.older(State::established, A, B).snapshot(TT_SNAP_SOCKETS | TT_SNAP_HOLDERS | TT_SNAP_FIRST);
    const std::uint64_t child = t.cookie();
    t.shows(State::established, 0ms, {.flags = 0}).socket(listener).shows(State::listen).holder(kServer).snapshot_end();
    t.socket(child).closed(1ms, {.sk_err = 104, .close_flags = 0}).destroy(1ms);
    EXPECT_EQ(t.who(t.ended().owner), "server/inherited");
    EXPECT_EQ(t.ended().role, Role::passive);
}

TEST(Owner, AQueueOfTwoProcessesPortIsNobodys) {
    Trail& t = trail();
    t.older(State::listen, A, {});
    const std::uint64_t one = t.cookie();
    t.older(State::listen, A, {});
    const std::uint64_t other = t.cookie();
    t.older(State::established, A, B).snapshot(TT_SNAP_SOCKETS | TT_SNAP_HOLDERS | TT_SNAP_FIRST);
    const std::uint64_t child = t.cookie();
    t.shows(State::established, 0ms, {.flags = 0});
    t.socket(one)
        .shows(State::listen)
        .holder(kServer)
        .socket(other)
        .shows(State::listen)
        .holder(kWorker)
        .snapshot_end();
    t.socket(child).step(State::close_wait, 1ms);
    EXPECT_EQ(t.who(t.transitions.back().owner), "-/unknown");
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

/// The accept has the socket and has not returned yet.
TEST(Unaccepted, EndIsHeldWhileAnAcceptReturns) {
    Trail& t = trail().as(kServer).listen(A).child(A, B).rst_received(1ms).tick(50ms);
    EXPECT_TRUE(t.endings.empty());
    t.as(kWorker).accept(1ms);
    EXPECT_EQ(t.who(t.ended().owner), "worker/accept");
}

TEST(Unaccepted, AnAcceptThatNobodySeesIsNotAwaitedForLong) {
    Trail& t = trail().as(kServer).listen(A).child(A, B).rst_received(1ms).tick(101ms);
    EXPECT_EQ(t.who(t.ended().owner), "server/inherited");
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
