// SPDX-License-Identifier: Apache-2.0
// `closewait`: ages, what is unread, holders, growth and leaks, on literal worlds.
#include <gtest/gtest.h>

#include <fmt/format.h>

#include "report/closewait.h"
#include "trail.h"

namespace tcptrail::test {
namespace {

using report::CloseWaitProcess;
using report::CloseWaitReport;
using report::CloseWaitRow;
using report::CloseWaitSummary;

constexpr unsigned kFirst = TT_SNAP_SOCKETS | TT_SNAP_HOLDERS | TT_SNAP_FIRST;
constexpr unsigned kReport = TT_SNAP_SOCKETS | TT_SNAP_HOLDERS | TT_SNAP_REPORT;

std::uint64_t ns(Gap gap) {
    return static_cast<std::uint64_t>(gap.count());
}

/// A Trail whose story a CloseWaitReport hears, cut where the story says.
class World final : private TrackObserver {
public:
    explicit World(Gap older_than = 5s, report::Filter filter = {})
        : filter_(std::move(filter)), report_(trail.table(), filter_, ns(older_than)) {
        trail.also = this;
        trail.on_record = [this](const tt_head& record) { report_.take(record); };
        trail.listen(A).nothing_before();
    }

    /// Accepted by kServer and closed by the peer `gap` after.
    World& waits(std::uint16_t port, Gap gap = 1ms) {
        trail.child(A, {2, port}).as(kServer).accept(0ms).fin_received(gap);
        return *this;
    }
    /// It is closed by its process.
    World& closed(std::uint64_t cookie, Gap gap) {
        trail.socket(cookie).as(kServer).fin_sent(gap).closed(1ms);
        return *this;
    }

    /// One line for the whole, for each process, for each connection.
    std::vector<std::string> cut() {
        const MonoNs to = Trail::kStart + ns(trail.time());
        const CloseWaitSummary summary = report_.cut(from_, to);
        from_ = to;
        std::vector<std::string> lines = {fmt::format("now {} older {}", summary.now, summary.older)};
        for (const CloseWaitProcess& process : summary.processes) {
            lines.push_back(fmt::format("{} now {} older {} growth {:.2f}{} oldest {}ms",
                                        process.who.process ? process.who.process->comm : "?", process.now,
                                        process.older, process.growth_per_s.value_or(0), process.leak ? " LEAK" : "",
                                        process.oldest_ns / 1'000'000));
            for (const CloseWaitRow& row : process.rows) {
                lines.push_back(line(row));
            }
        }
        return lines;
    }

    /// The process lines of cut().
    std::vector<std::string> processes() {
        std::vector<std::string> lines = cut();
        std::erase_if(lines, [](const std::string& text) { return text.starts_with("  ") || text.starts_with("now"); });
        return lines;
    }

    Trail trail;

private:
    static std::string line(const CloseWaitRow& row) {
        std::string text =
            fmt::format("  {}{}ms {} {}", row.age_is_lower_bound ? ">" : "", row.age_ns / 1'000'000, row.ends.rport,
                        row.unread ? fmt::format("{} {}", name(*row.unread), *row.unread_bytes) : "?");
        if (!row.holders) {
            return text + " ?";
        }
        text += *row.accepted ? "" : " queued";
        for (const auto& holder : *row.holders) {
            text += fmt::format(" {}:{}", holder.comm, holder.fd);
        }
        return text;
    }

    void on_transition(const TransitionRow& row) override { report_.heard(row); }
    void on_ended(const ConnectionRow& row) override { report_.heard(row); }

    report::Filter filter_;
    CloseWaitReport report_;
    MonoNs from_ = Trail::kStart;
};

using Lines = std::vector<std::string>;

TEST(CloseWait, TellsTheThreeKindsAndWhoHoldsThem) {
    World world(1s);
    world.waits(1001).waits(1002).waits(1003);
    Trail& t = world.trail;
    t.tick(2s).snapshot(kReport);
    t.socket(2).shows(State::close_wait, 0ms, {.unread = 38});
    t.socket(3).shows(State::close_wait, 0ms, {.unread = 1});
    t.socket(4).shows(State::close_wait, 0ms, {.unread = 0});
    t.socket(2).holder(kServer, 0, 7).socket(3).holder(kWorker, 0, 5).holder(kServer, 0, 8).socket(4).holder(kServer);
    t.snapshot_end().end(0ms);
    EXPECT_EQ(world.cut(), (Lines{
                               "now 3 older 3",
                               "server now 3 older 3 growth 1.49 oldest 2006ms",
                               "  2006ms 1001 data 37 server:7",
                               "  2004ms 1002 fin_only 0 server:8 worker:5",
                               "  2002ms 1003 eof_read 0 server:3",
                           }));
}

TEST(CloseWait, AnOlderOneIsAsOldAsTheTraceAtLeast) {
    World world(1s);
    Trail& t = world.trail;
    t.older(State::close_wait, A, {2, 1001}).snapshot(kFirst).shows(State::close_wait).holder(kServer).snapshot_end();
    t.tick(3s).snapshot(kReport).shows(State::close_wait, 0ms, {.unread = 1}).holder(kServer).snapshot_end();
    EXPECT_EQ(world.cut(), (Lines{
                               "now 1 older 1",
                               "server now 1 older 1 growth 0.00 oldest 3003ms",
                               "  >3003ms 1001 fin_only 0 server:3",
                           }));
}

TEST(CloseWait, TheLastAckOfAnOlderOneIsNoEarlierThanItsFin) {
    World world(1s);
    Trail& t = world.trail;
    t.older(State::close_wait, A, {2, 1001}).snapshot(kFirst);
    t.shows(State::close_wait, 0ms, {.unread = 1, .last_recv_ms = 60'000}).holder(kServer).snapshot_end();
    // An ACK since makes a later snapshot's bound weaker; the first one's still holds.
    t.tick(3s).snapshot(kReport).shows(State::close_wait, 0ms, {.unread = 1, .last_recv_ms = 100}).holder(kServer);
    t.snapshot_end();
    EXPECT_EQ(world.cut(), (Lines{
                               "now 1 older 1",
                               "server now 1 older 1 growth 0.00 oldest 62993ms",
                               "  >62993ms 1001 fin_only 0 server:3",
                           }));
}

TEST(CloseWait, OneThatNobodyAcceptedWaitsInTheQueue) {
    World world(1s);
    Trail& t = world.trail;
    t.socket(1).as(kApp).child(A, {2, 1001}).fin_received(1ms).tick(2s).snapshot(kReport);
    t.shows(State::close_wait, 0ms, {.flags = 0, .unread = 6}).snapshot_end();
    EXPECT_EQ(world.cut(), (Lines{
                               "now 1 older 1",
                               "app now 1 older 1 growth 0.50 oldest 2002ms",
                               "  2002ms 1001 data 5 queued",
                           }));
}

TEST(CloseWait, WithoutASnapshotOfTheMomentUnreadAndHoldersAreNotKnown) {
    World world(1s);
    Trail& t = world.waits(1001).trail;
    t.snapshot(kReport).shows(State::close_wait, 0ms, {.unread = 1}).holder(kServer).snapshot_end().tick(3s);
    EXPECT_EQ(world.cut(), (Lines{
                               "now 1 older 1",
                               "server now 1 older 1 growth 0.33 oldest 3002ms",
                               "  3002ms 1001 ? ?",
                           }));
}

TEST(CloseWait, OnlyTheOldAreListedAndAllAreCounted) {
    World world;
    world.waits(1001).trail.tick(5s);
    world.waits(1002).trail.tick(1s);
    EXPECT_EQ(world.cut(), (Lines{
                               "now 2 older 1",
                               "server now 2 older 1 growth 0.33 oldest 6002ms",
                               "  6002ms 1001 ? ?",
                           }));
}

TEST(CloseWait, WhatOnlyGrowsIsALeak) {
    World world;
    for (std::uint16_t port = 1001; port <= 1003; ++port) {
        world.waits(port).trail.tick(2s);
    }
    world.trail.tick(5s);
    EXPECT_EQ(world.processes(), (Lines{"server now 3 older 3 growth 0.27 LEAK oldest 11004ms"}));
    world.trail.tick(3s);  // it need not grow in each window to be one
    EXPECT_EQ(world.processes(), (Lines{"server now 3 older 3 growth 0.00 LEAK oldest 14004ms"}));
}

TEST(CloseWait, TwoAreNoLeak) {
    World world;
    world.waits(1001).trail.tick(4s);
    world.waits(1002).trail.tick(6s);
    EXPECT_EQ(world.processes(), (Lines{"server now 2 older 2 growth 0.20 oldest 10002ms"}));
}

TEST(CloseWait, ABurstIsNoLeak) {
    World world;
    for (std::uint16_t port = 1001; port <= 1010; ++port) {
        world.waits(port);
    }
    world.trail.tick(9s);
    EXPECT_EQ(world.processes(), (Lines{"server now 10 older 10 growth 1.11 oldest 9018ms"}));
}

TEST(CloseWait, WhatStaysForAMomentIsNoLeak) {
    World world;
    for (std::uint16_t port = 1001; port <= 1020; ++port) {
        world.waits(port).closed(2 + port - 1001U, 1s);
    }
    world.waits(2000);
    EXPECT_EQ(world.cut(), (Lines{"now 1 older 0", "server now 1 older 0 growth 0.05 oldest 0ms"}));
}

TEST(CloseWait, WhoLetsAnOldOneGoIsNoLeakUntilItGrowsAgain) {
    World world;
    for (std::uint16_t port = 1001; port <= 1004; ++port) {
        world.waits(port).trail.tick(3s);
    }
    world.closed(2, 1s).trail.tick(5s);
    EXPECT_EQ(world.processes(), (Lines{"server now 3 older 3 growth 0.17 oldest 15005ms"}));
    for (std::uint16_t port = 1005; port <= 1007; ++port) {
        world.waits(port).trail.tick(3s);
    }
    world.trail.tick(5s);
    EXPECT_EQ(world.processes(), (Lines{"server now 6 older 6 growth 0.21 LEAK oldest 29011ms"}));
}

TEST(CloseWait, WhatShrinksIsNoLeakAndItsGrowthIsNegative) {
    World world(1s);
    for (std::uint16_t port = 1001; port <= 1004; ++port) {
        world.waits(port).trail.tick(1s);
    }
    world.cut();
    world.closed(2, 1s).closed(3, 1ms);
    world.trail.tick(999ms);
    EXPECT_EQ(world.processes(), (Lines{"server now 2 older 2 growth -1.00 oldest 4004ms"}));
}

TEST(CloseWait, ThoughAllAreListedAMomentIsStillAMoment) {
    World world(0s);
    for (std::uint16_t port = 1001; port <= 1003; ++port) {
        world.waits(port).waits(2000 + port).closed(2 * (port - 1000U) + 1, 100ms).trail.tick(1s);
    }
    EXPECT_EQ(world.processes(), (Lines{"server now 3 older 3 growth 0.90 LEAK oldest 3313ms"}));
}

TEST(CloseWait, TwoProcessesAreTwoRowsTheLeakFirst) {
    World world(1s);
    Trail& t = world.trail;
    for (std::uint16_t port = 1001; port <= 1009; ++port) {
        t.child(A, {2, port}).as(kWorker).accept(0ms).fin_received(0ms);
    }
    for (std::uint16_t port = 2001; port <= 2003; ++port) {
        world.waits(port).trail.tick(1s);
    }
    EXPECT_EQ(world.processes(), (Lines{"server now 3 older 3 growth 0.99 LEAK oldest 3004ms",
                                        "worker now 9 older 9 growth 2.98 oldest 3014ms"}));
}

TEST(CloseWait, AFilterHidesRowsNotTotals) {
    report::Filter filter;
    filter.pids = {kWorker.pid};
    World world(1s, filter);
    Trail& t = world.waits(1001).waits(1002).trail;
    t.tick(2s).snapshot(kReport);
    t.socket(2).shows(State::close_wait).socket(3).shows(State::close_wait);
    t.socket(2).holder(kServer, 0, 4).socket(3).holder(kServer, 0, 5).holder(kWorker, 0, 6).snapshot_end();
    EXPECT_EQ(world.cut(), (Lines{
                               "now 2 older 2",
                               "server now 1 older 1 growth 0.50 oldest 2002ms",
                               "  2002ms 1002 eof_read 0 server:5 worker:6",
                           }));
}

}  // namespace
}  // namespace tcptrail::test
