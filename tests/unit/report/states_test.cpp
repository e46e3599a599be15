// SPDX-License-Identifier: Apache-2.0
// `states`: what counts as what, and whose it is, on literal worlds.
#include <gtest/gtest.h>

#include <fmt/format.h>

#include "report/states.h"
#include "world.h"

namespace tcptrail::test {
namespace {

std::string line(const report::StateCounts& counts) {
    std::string text;
    for (const State state : report::standing_states) {
        if (counts.of(state) != 0) {
            text += fmt::format(" {} {}", counts.of(state), name(state));
        }
    }
    return text;
}

/// The whole summary: total, dead FIN_WAIT2s, owners.
std::vector<std::string> lines(const World& world, const report::Filter& filter = {}) {
    const report::StatesSummary summary = report::count_states(*world.gatherer.latest(), world.table, filter);
    std::vector<std::string> all = {fmt::format("total{} dead {}", line(summary.total), summary.time_wait_fin_wait2)};
    for (const report::OwnerStates& row : summary.by_owner) {
        all.push_back(fmt::format("{} {}{}{}", row.who.process ? row.who.process->comm : "?", name(row.who.evidence),
                                  line(row.counts), row.shared != 0 ? fmt::format(" shared {}", row.shared) : ""));
    }
    return all;
}

using Lines = std::vector<std::string>;

tt_socket time_wait(State substate) {
    tt_socket row{};
    row.head.old_state = static_cast<std::uint8_t>(substate);
    return row;
}

/// A file of its own: a process has it.
tt_socket open_file() {
    tt_socket row{};
    row.inode = 77;
    row.head.flags = TT_F_HAS_SOCKET;
    return row;
}

tt_socket orphan() {
    tt_socket row{};
    row.close_flags = TT_C_DEAD;
    return row;
}

TEST(States, CountsAsSsDoes) {
    World world;
    world.snapshot(TT_SNAP_FIRST)
        .socket(1, State::time_wait, B, A, time_wait(State::time_wait))
        .socket(2, State::time_wait, C, A, time_wait(State::fin_wait2))
        .socket(0, State::new_syn_recv, A, B)
        .socket(0, State::new_syn_recv, A, C)
        .socket(3, State::established, B, A, open_file())
        .holder(3, kApp)
        .ends();
    EXPECT_EQ(lines(world), (Lines{"total 2 SYN_RECV 1 ESTABLISHED 1 FIN_WAIT2 1 TIME_WAIT dead 1",
                                   "? unknown 2 SYN_RECV 1 FIN_WAIT2 1 TIME_WAIT", "app snapshot 1 ESTABLISHED"}));
}

TEST(States, ASocketOfSeveralCountsOnceForTheOneThatHasRunLongest) {
    World world;
    world.snapshot(TT_SNAP_FIRST)
        .socket(1, State::established, A, B, open_file())
        .holder(1, kWorker)
        .holder(1, kServer, 4)
        .holder(1, kServer, 5)
        .ends();
    EXPECT_EQ(lines(world), (Lines{"total 1 ESTABLISHED dead 0", "server snapshot 1 ESTABLISHED shared 1"}));
    report::Filter filter;
    filter.comms = {"worker"};
    EXPECT_EQ(lines(world, filter), (Lines{"total 1 ESTABLISHED dead 0", "worker snapshot 1 ESTABLISHED shared 1"}));
}

TEST(States, ASocketReadTwiceCountsOnce) {
    World world;
    world.snapshot(TT_SNAP_FIRST)
        .socket(1, State::established, A, B, open_file())
        .socket(1, State::close_wait, A, B, open_file())
        .ends();
    EXPECT_EQ(lines(world), (Lines{"total 1 ESTABLISHED dead 0", "? unknown 1 ESTABLISHED"}));
}

TEST(States, WhatWaitsInAListenersQueuesIsItsOwners) {
    World world;
    world.snapshot(TT_SNAP_FIRST)
        .listener(1, {0, 80}, open_file())
        .socket(2, State::established, A, B)
        .socket(0, State::new_syn_recv, A, C)
        .socket(3, State::last_ack, A, {4, 1}, orphan())
        .holder(1, kServer)
        .ends();
    EXPECT_EQ(lines(world), (Lines{"total 1 LISTEN 1 SYN_RECV 1 ESTABLISHED 1 LAST_ACK dead 0",
                                   "server snapshot 1 LISTEN 1 SYN_RECV 1 ESTABLISHED", "? unknown 1 LAST_ACK"}));
}

TEST(States, OfTwoListenersOnAPortTheOneWithTheAddressTakesTheChild) {
    World world;
    world.snapshot(TT_SNAP_FIRST)
        .listener(1, {0, 80}, open_file())
        .listener(2, A, open_file())
        .socket(3, State::established, A, B)
        .holder(1, kApp)
        .holder(2, kServer)
        .ends();
    EXPECT_EQ(lines(world), (Lines{"total 2 LISTEN 1 ESTABLISHED dead 0", "server snapshot 1 LISTEN 1 ESTABLISHED",
                                   "app snapshot 1 LISTEN"}));
}

/// REUSEPORT: either could have it.
TEST(States, AChildOfTwoEqualListenersIsNobodys) {
    World world;
    world.snapshot(TT_SNAP_FIRST)
        .listener(1, A, open_file())
        .listener(2, A, open_file())
        .socket(3, State::established, A, B)
        .holder(1, kApp)
        .holder(2, kServer)
        .ends();
    EXPECT_EQ(lines(world), (Lines{"total 2 LISTEN 1 ESTABLISHED dead 0", "? unknown 1 ESTABLISHED",
                                   "app snapshot 1 LISTEN", "server snapshot 1 LISTEN"}));
}

/// Accepted under the trace and left behind: the trace knows whose it was. Passed on: who holds it now counts.
TEST(States, TheTraceKnowsWhatNobodyHolds) {
    World world;
    world.process(kServer).snapshot(TT_SNAP_FIRST).listener(1, A, open_file()).holder(1, kServer).ends();
    world.wait(1s).child(2, 1, A, B).accept(2, kServer).child(3, 1, A, C).accept(3, kServer);
    world.step(2, State::established, State::fin_wait1, kProcess, &kServer);
    world.wait(1s)
        .snapshot()
        .listener(1, A, open_file())
        .socket(2, State::fin_wait1, A, B, orphan())
        .socket(3, State::established, A, C, open_file())
        .holder(1, kServer)
        .holder(3, kWorker)
        .ends();
    EXPECT_EQ(lines(world), (Lines{"total 1 LISTEN 1 ESTABLISHED 1 FIN_WAIT1 dead 0",
                                   "server snapshot 1 LISTEN 1 FIN_WAIT1", "worker snapshot 1 ESTABLISHED"}));
}

TEST(States, EndsOfTheFilterHideRowsAndNotTheTotal) {
    World world;
    world.snapshot(TT_SNAP_FIRST)
        .socket(1, State::established, A, B, open_file())
        .socket(2, State::established, B, A, open_file())
        .holder(1, kServer)
        .holder(2, kApp)
        .ends();
    report::Filter filter;
    filter.lports = {A.port};
    EXPECT_EQ(lines(world, filter), (Lines{"total 2 ESTABLISHED dead 0", "server snapshot 1 ESTABLISHED"}));
}

}  // namespace
}  // namespace tcptrail::test
