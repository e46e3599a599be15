// SPDX-License-Identifier: Apache-2.0
// The ledger of TIME_WAIT, on worlds written in the tracker's language.
#include "report/timewait.h"

#include <gtest/gtest.h>

#include <fmt/format.h>

#include "trail.h"

namespace tcptrail::report {
namespace {

using namespace test;
using Lines = std::vector<std::string>;

constexpr const char* kSettings =
    "net.ipv4.ip_local_port_range=40000 40009\nnet.ipv4.ip_local_reserved_ports=40009\nnet.ipv4.tcp_tw_reuse=0\n"
    "net.ipv4.tcp_timestamps=1\n";

class Forwarder final : public TrackObserver {
public:
    Forwarder(TimeWaitReport& report, std::vector<ConnectFailedRow>& failed) : report_(report), failed_(failed) {}

private:
    void on_transition(const TransitionRow& row) override { report_.on_transition(row); }
    void on_ended(const ConnectionRow& row) override {
        if (auto failed = report_.on_ended(row)) {
            failed_.push_back(std::move(*failed));
        }
    }

    TimeWaitReport& report_;
    std::vector<ConnectFailedRow>& failed_;
};

std::string nullable(const std::optional<std::uint64_t>& value) {
    return value ? std::to_string(*value) : "null";
}

struct World {
    explicit World(const char* hooks = kTracepoint, Filter wanted = {})
        : filter(std::move(wanted)), trail(hooks), report(trail.table(), filter), forwarder(report, failed) {
        trail.also = &forwarder;
        trail.on_record = [this](const tt_head& record) { report.on_record(record); };
    }

    /// A snapshot without sockets; the rows of one come between its halves.
    World& begin(unsigned what) {
        trail.snapshot(TT_SNAP_SOCKETS | what);
        return *this;
    }
    World& counters(std::int64_t tw, std::int64_t overflow = 0) {
        trail.sockets_end().netns(kSettings);
        return counted(fmt::format("sockstat.TCP.tw={}\nTcpExt.TCPTimeWaitOverflow={}\n", tw, overflow));
    }
    World& counted(const std::string& lines) {
        trail.netns(lines, TT_F_COUNTERS);
        return *this;
    }
    World& nothing_before() {
        begin(TT_SNAP_FIRST).counters(0);
        trail.mark();
        return *this;
    }
    /// A connection of `app` from B's host and this port, closed first by it.
    void app_closes(std::uint16_t port, const Facts& facts = {}) {
        trail.as(kApp).connect({2, port}, A).established(1ms).fin_sent(8ms).fin_acked(1ms).closed(0ms, facts);
    }
    /// One that `server` accepted and closed first.
    void server_closes(End remote) {
        trail.as(kServer).child(A, remote).accept(0ms).fin_sent(5ms).fin_acked(1ms).closed(1ms);
    }
    TimeWaitSummary summary() { return report.summary(Trail::kStart, trail.table().now()); }

    static std::string totals(const TimeWaitSummary& s) {
        return fmt::format(
            "kernel {} explained {} before {} ownerless {} | created {} mini {} ended {} overflow {} "
            "undecided {}",
            nullable(s.kernel_now), nullable(s.explained_now), nullable(s.before_trace_now), nullable(s.ownerless_now),
            s.created, s.entered_as_fin_wait2, s.ended, nullable(s.overflow), s.undecided);
    }
    /// "app closed by app, active: 2 created 1 now; 10.0.0.1 r80 2/1"
    static Lines origins(const TimeWaitSummary& s) {
        Lines lines;
        for (const TimeWaitOrigin& origin : s.origins) {
            std::string line = fmt::format(
                "{} closed by {}, {}: {} created {} now;", origin.owner.process ? origin.owner.process->comm : "?",
                origin.closer ? origin.closer->comm : "?", name(origin.role), origin.created, origin.now);
            for (const TimeWaitDestination& to : origin.destinations) {
                line += fmt::format(" {} {} {}/{}", to.raddr ? to_string(*to.raddr, to.family) : "many",
                                    to.rport   ? fmt::format("r{}", *to.rport)
                                    : to.lport ? fmt::format("l{}", *to.lport)
                                               : "-",
                                    to.created, to.now);
            }
            lines.push_back(line);
        }
        return lines;
    }
    /// "10.0.0.2 > 10.0.0.1:80 of 9: 1 + 2 app 3"
    static Lines ports(const TimeWaitSummary& s) {
        Lines lines;
        for (const PortRow& row : s.ports) {
            std::string line = fmt::format(
                "{} > {} of {}: {} + {}", to_string(row.laddr, row.family), to_string(row.raddr, row.family, row.rport),
                row.available ? std::to_string(*row.available) : "null", row.in_use, row.time_wait);
            for (const PortHolder& holder : row.owners) {
                line += fmt::format(" {} {}", holder.owner.process->comm, holder.ports);
            }
            lines.push_back(line);
        }
        return lines;
    }

    Filter filter;
    Trail trail;
    TimeWaitReport report;
    std::vector<ConnectFailedRow> failed;
    Forwarder forwarder;
};

constexpr unsigned kLast = TT_SNAP_REPORT | TT_SNAP_LAST;

TEST(TimeWaitReport, CountsByOwnerCloserRoleAndDestination) {
    World w;
    w.nothing_before();
    w.trail.as(kServer).listen(A);
    w.app_closes(40000);
    w.app_closes(40001);
    w.server_closes(C);
    w.begin(kLast);
    w.trail.socket(2).shows(State::time_wait).socket(4).shows(State::time_wait);
    w.counters(2).trail.mark().end();
    const TimeWaitSummary s = w.summary();
    EXPECT_EQ(World::totals(s),
              "kernel 2 explained 2 before 0 ownerless 0 | created 3 mini 0 ended 1 overflow 0 undecided 0");
    EXPECT_EQ(World::origins(s), (Lines{"app closed by app, active: 2 created 1 now; 10.0.0.1 r80 2/1",
                                        "server closed by server, passive: 1 created 1 now; 10.0.0.3 l80 1/1"}));
    EXPECT_EQ(World::ports(s), (Lines{"10.0.0.2 > 10.0.0.1:80 of 9: 0 + 1 app 1"}));
}

TEST(TimeWaitReport, TheKindThatWaitsForThePeersFinIsCounted) {
    World w;
    w.nothing_before();
    w.app_closes(40000, {.close_flags = TT_C_DEAD});
    w.trail.tick(5ms);  // no RST has followed
    EXPECT_EQ(
        World::totals(w.summary()),
        "kernel null explained null before null ownerless null | created 1 mini 1 ended 0 overflow 0 undecided 0");
}

TEST(TimeWaitReport, OlderOnesAreCountedApartWhateverCookieTheyGet) {
    World w;
    w.trail.older(State::time_wait, {2, 40005}, A).older(State::time_wait, {2, 40006}, A);
    w.begin(TT_SNAP_FIRST);
    w.trail.socket(1).shows(State::time_wait).socket(2).shows(State::time_wait);
    w.counters(2).trail.mark();
    w.app_closes(40000);
    w.begin(kLast);
    w.trail.socket(1).shows(State::time_wait).socket(3).shows(State::time_wait);
    w.trail.older(State::time_wait, {2, 40006}, A).shows(State::time_wait);  // the second: a cookie of its own by now
    w.trail.older(State::time_wait, {2, 40007}, A).shows(State::time_wait);  // one that nobody saw enter
    w.counters(4).trail.mark().end();
    EXPECT_EQ(World::totals(w.summary()),
              "kernel 4 explained 1 before 2 ownerless 0 | created 1 mini 0 ended 0 overflow 0 undecided 0");
}

TEST(TimeWaitReport, EntersBetweenTheRowsAndTheKernelsCountIsExplainedAndLaterOnesAreNot) {
    World w;
    w.nothing_before();
    w.app_closes(40000);
    w.begin(TT_SNAP_REPORT);
    w.trail.shows(State::time_wait);
    w.app_closes(40001);  // after the rows were read
    w.counters(2);
    w.app_closes(40002);  // after the kernel's count
    w.trail.mark();
    const TimeWaitSummary s = w.summary();
    EXPECT_EQ(World::totals(s),
              "kernel 2 explained 2 before 0 ownerless 0 | created 3 mini 0 ended 0 overflow 0 undecided 0");
    EXPECT_EQ(s.origins[0].now, 2u);
}

TEST(TimeWaitReport, EndsAfterTheKernelsCountStoodThen) {
    World w(kFentry);
    w.nothing_before();
    w.trail.connect({2, 40000}, A)
        .established(1ms)
        .fin_sent(1ms)
        .fin_acked(1ms)
        .timewait(TT_TW_HASHED, 0ms)
        .closed(1ms);
    w.begin(TT_SNAP_REPORT);
    w.trail.shows(State::time_wait);
    w.counters(1);
    w.trail.timewait(TT_TW_KILLED, 1ms).mark();
    EXPECT_EQ(World::totals(w.summary()),
              "kernel 1 explained 1 before 0 ownerless 0 | created 1 mini 0 ended 1 overflow 0 undecided 0");
}

TEST(TimeWaitReport, WhatHappenedBetweenTheCountAndItsRecordIsJudgedByTheCountsTime) {
    World w(kFentry);
    w.nothing_before();
    const auto hashed = [&](std::uint16_t port) {
        w.trail.connect({2, port}, A).established(1ms).fin_sent(1ms).fin_acked(1ms);
        w.trail.timewait(TT_TW_HASHED, 0ms).closed(1ms);
    };
    hashed(40000);
    hashed(40001);
    w.begin(TT_SNAP_REPORT);
    w.trail.socket(1).shows(State::time_wait).socket(2).shows(State::time_wait).sockets_end();
    w.trail.socket(1).timewait(TT_TW_KILLED, 1ms);
    const MonoNs read = w.trail.table().now();  // one stood
    w.trail.socket(2).timewait(TT_TW_KILLED, 1ms);
    hashed(40002);
    w.counted(fmt::format("sockstat.TCP.tw=1\nsockstat.read_ns={}\n", read)).trail.mark();
    const TimeWaitSummary s = w.summary();
    EXPECT_EQ(World::totals(s),
              "kernel 1 explained 1 before 0 ownerless 0 | created 3 mini 0 ended 2 overflow 0 undecided 0");
    EXPECT_EQ(World::origins(s), (Lines{"app closed by app, active: 3 created 1 now; 10.0.0.1 r80 3/1"}));
}

TEST(TimeWaitReport, EndsInANamespaceThatWasNotCountedStandNowhere) {
    World w(kFentry);
    w.nothing_before();
    w.trail.connect({2, 40000}, A).established(1ms).fin_sent(1ms).fin_acked(1ms);
    w.trail.timewait(TT_TW_HASHED, 0ms).closed(1ms);
    w.trail.snapshot(TT_SNAP_SOCKETS | TT_SNAP_REPORT, kNetns + 1).sockets_end();
    w.trail.timewait(TT_TW_KILLED, 1ms).mark();
    EXPECT_EQ(World::totals(w.summary()),
              "kernel 0 explained 0 before 0 ownerless 0 | created 1 mini 0 ended 1 overflow 0 undecided 0");
}

TEST(TimeWaitReport, WithoutASnapshotOfTheMomentTheKernelsCountIsNotKnown) {
    World w;
    w.nothing_before();
    w.app_closes(40000);
    w.begin(TT_SNAP_REPORT);
    w.trail.shows(State::time_wait);
    w.counters(1).trail.mark().tick(1s);
    const TimeWaitSummary s = w.summary();  // cut a second after the snapshot
    EXPECT_EQ(
        World::totals(s),
        "kernel null explained null before null ownerless null | created 1 mini 0 ended 0 overflow 0 undecided 0");
    EXPECT_EQ(s.origins[0].now, 1u) << "by the model";
    w.report.clear(w.trail.table().now());
    w.trail.tick(62s);
    EXPECT_EQ(
        World::totals(w.summary()),
        "kernel null explained null before null ownerless null | created 0 mini 0 ended 1 overflow 0 undecided 0");
}

TEST(TimeWaitReport, TheWindowBeginsAnewAndWhatStandsStays) {
    World w;
    w.nothing_before();
    w.app_closes(40000);
    w.report.clear(w.trail.table().now());
    const TimeWaitSummary s = w.summary();
    EXPECT_EQ(s.created, 0u);
    EXPECT_EQ(World::origins(s), (Lines{"app closed by app, active: 0 created 1 now; 10.0.0.1 r80 0/1"}));
}

TEST(TimeWaitReport, FullBucketsAreSettledByTheSnapshotAndTheCounter) {
    World w;
    w.nothing_before();
    for (std::uint16_t i = 0; i < 5; ++i) {
        w.app_closes(static_cast<std::uint16_t>(40000 + i), {.tw_count = std::min(i + 1U, 2U), .tw_max = 2});
    }
    EXPECT_EQ(
        World::totals(w.summary()),
        "kernel null explained null before null ownerless null | created 1 mini 0 ended 0 overflow null undecided 4");
    w.begin(kLast);
    w.trail.socket(1).shows(State::time_wait).socket(2).shows(State::time_wait);
    w.counters(2, 3).trail.mark().end();
    const TimeWaitSummary s = w.summary();
    EXPECT_EQ(World::totals(s),
              "kernel 2 explained 2 before 0 ownerless 0 | created 2 mini 0 ended 0 overflow 3 undecided 0");
    EXPECT_EQ(World::origins(s), (Lines{"app closed by app, active: 2 created 2 now; 10.0.0.1 r80 2/2"}));
    EXPECT_EQ(World::ports(s), (Lines{"10.0.0.2 > 10.0.0.1:80 of 9: 0 + 2 app 2"}));
}

TEST(TimeWaitReport, OneThatASnapshotProvedEndsWhenALaterOneDoesNotShowIt) {
    World w;
    w.nothing_before();
    w.app_closes(40000, {.tw_count = 1, .tw_max = 1});
    w.begin(TT_SNAP_REPORT);
    w.trail.shows(State::time_wait);
    w.counters(1).trail.mark();
    EXPECT_EQ(w.summary().explained_now, 1u);
    w.report.clear(w.trail.table().now());
    w.begin(kLast).counters(0).trail.mark().end();
    EXPECT_EQ(World::totals(w.summary()),
              "kernel 0 explained 0 before 0 ownerless 0 | created 0 mini 0 ended 1 overflow 0 undecided 0");
}

TEST(TimeWaitReport, TheHookTellsOfEachWhetherThereWasRoom) {
    World w(kFentry);
    w.nothing_before();
    w.trail.connect({2, 40000}, A)
        .established(1ms)
        .fin_sent(1ms)
        .fin_acked(1ms)
        .timewait(TT_TW_HASHED, 0ms)
        .closed(1ms);
    w.app_closes(40001, {.tw_count = 1, .tw_max = 1});  // never hashed
    EXPECT_EQ(
        World::totals(w.summary()),
        "kernel null explained null before null ownerless null | created 1 mini 0 ended 0 overflow 1 undecided 0");
}

TEST(TimeWaitReport, AFilterNarrowsRowsAndNoTotals) {
    Filter filter;
    filter.comms = {"server"};
    World w(kTracepoint, filter);
    w.nothing_before();
    w.trail.as(kServer).listen(A);
    w.app_closes(40000);
    w.server_closes(C);
    const TimeWaitSummary s = w.summary();
    EXPECT_EQ(s.created, 2u);
    EXPECT_EQ(World::origins(s), (Lines{"server closed by server, passive: 1 created 1 now; 10.0.0.3 l80 1/1"}));
    EXPECT_TRUE(s.ports.empty());
}

TEST(TimeWaitReport, PortsThatProcessesChoseAreNotAvailable) {
    World w;
    w.nothing_before();
    w.trail.as(kServer).listen({1, 40003});                    // a listener in the range
    w.trail.as(kApp).connect({2, 40000}, A).established(1ms);  // takes no port from the others: counts in use
    w.trail.older(State::established, {2, 40001}, A).shows(State::established, 0ms, {.flags = TT_F_BOUND});
    const TimeWaitSummary s = w.summary();
    EXPECT_EQ(World::ports(s), (Lines{"10.0.0.2 > 10.0.0.1:80 of 7: 1 + 0 app 1"}));
}

TEST(TimeWaitReport, SettingsOfANamespaceThatIsGoneAreForgotten) {
    World w;
    w.nothing_before();
    w.trail.connect({2, 40000}, A).established(1ms);
    w.trail.snapshot(TT_SNAP_SOCKETS | TT_SNAP_REPORT, kNetns + 1).sockets_end().hole().mark();
    EXPECT_EQ(World::ports(w.summary()), (Lines{"10.0.0.2 > 10.0.0.1:80 of 9: 1 + 0 app 1"}))
        << "there is a hole in it";
    w.trail.snapshot(TT_SNAP_SOCKETS | TT_SNAP_REPORT, kNetns + 1).sockets_end().mark();
    EXPECT_EQ(World::ports(w.summary()), (Lines{"10.0.0.2 > 10.0.0.1:80 of null: 1 + 0 app 1"}));
}

TEST(TimeWaitReport, AConnectWithoutAPortIsToldAtOnceWithTheHolders) {
    World w;
    w.nothing_before();
    w.app_closes(40000);
    w.trail.as(kWorker).connect({2, 40001}, A).established(1ms);
    const Facts no_port{.flags = kProcess, .shutdown = 0, .close_flags = 0, .segs_out = 0};
    w.trail.as(kServer).connect({2, 0}, A).closed(0ms, no_port);
    ASSERT_EQ(w.failed.size(), 1u);
    EXPECT_EQ(w.trail.who(w.failed[0].owner), "server/connect");
    Lines holders;
    for (const PortHolder& holder : w.failed[0].holders) {
        holders.push_back(fmt::format("{} {}", holder.owner.process->comm, holder.ports));
    }
    EXPECT_EQ(holders, (Lines{"app 1", "worker 1"}));
    w.trail.connect({2, 0}, A, 10ms).closed(0ms, no_port).connect({2, 0}, A, 10ms).closed(0ms, no_port);
    EXPECT_EQ(w.failed.size(), 1u) << "within a second of the first";
    w.trail.connect({2, 0}, A, 1s).closed(0ms, no_port);
    ASSERT_EQ(w.failed.size(), 2u);
    EXPECT_EQ(w.failed[1].count, 3u);
    w.trail.connect({2, 0}, A, 10ms).closed(0ms, no_port);
    const auto untold = w.report.untold_failures();
    ASSERT_EQ(untold.size(), 1u);
    EXPECT_EQ(untold[0].count, 1u);
    EXPECT_EQ(w.summary().ports[0].failed_connects, 5u);
}

TEST(TimeWaitReport, AFullTableFoldsDestinationsAndSaysSo) {
    Trail& trail = test::trail();
    TimeWaitLedger ledger(trail.table(), 2);
    const auto entry = [](std::uint8_t host, ProcessId owner) {
        TimeWaitEntry entry;
        entry.role = Role::active;
        entry.owner = {owner, Evidence::connect};
        entry.ends.raddr = {10, 0, 0, host};
        entry.ends.rport = 80;
        return entry;
    };
    const ProcessId app = trail.table().process_of(kApp.id);
    for (std::uint8_t host = 1; host <= 5; ++host) {
        ledger.add(entry(host, app));
    }
    ledger.add(entry(6, trail.table().process_of(kServer.id)));
    ledger.add(entry(7, trail.table().process_of(kWorker.id)));
    TimeWaitSummary s;
    s.origins = ledger.origins(0);
    EXPECT_EQ(World::origins(s),
              (Lines{"app closed by ?, active: 5 created 0 now; many - 3/0 10.0.0.1 r80 1/0 10.0.0.2 r80 1/0",
                     "server closed by ?, active: 1 created 0 now; many - 1/0"}));
    EXPECT_EQ(ledger.left_out(), 1u);
}

}  // namespace
}  // namespace tcptrail::report
