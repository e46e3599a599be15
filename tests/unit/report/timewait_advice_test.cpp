// SPDX-License-Identifier: Apache-2.0
// What `timewait` advises of connections that could be kept, on literal summaries.
#include "report/timewait_advice.h"

#include <gtest/gtest.h>

#include "track/table.h"

namespace tcptrail::report {
namespace {

constexpr std::uint64_t window_ns = 10'000'000'000;
constexpr Address loopback{127, 0, 0, 1};

/// wrk closed 54 connections of 5 ms each to 127.0.0.1:8085 in ten seconds.
TimeWaitSummary closed_by_wrk(double opens_per_s) {
    TimeWaitSummary summary;
    summary.window_ns = window_ns;
    TimeWaitDestination to;
    to.raddr = loopback;
    to.rport = 8085;
    to.created = to.now = 54;
    to.lifetime_s = 0.005;
    TimeWaitOrigin origin;
    origin.role = Role::active;
    origin.owner.process.emplace();
    origin.owner.process->pid = 42;
    origin.owner.process->comm = "wrk";
    origin.created = origin.now = 54;
    origin.destinations.push_back(to);
    summary.origins.push_back(origin);
    PortRow row;
    row.laddr = row.raddr = loopback;
    row.rport = 8085;
    row.rate_per_s = opens_per_s;
    summary.ports.push_back(row);
    return summary;
}

Advice first_of(const TimeWaitSummary& summary) {
    TrackObserver nobody;
    const ConnectionTable table(nobody);
    const PortUse ports(table);
    const std::vector<Advice> advice = timewait_advice(summary, ports);
    return advice.empty() ? Advice{} : advice.front();
}

TEST(TimeWaitAdvice, SpeaksOfTheConnectionsThatLeftTimeWait) {
    const Advice advice = first_of(closed_by_wrk(5.4));
    EXPECT_EQ(advice.id, "reuse_connections");
    EXPECT_EQ(advice.text,
              "wrk (pid 42) leaves 5.4 TIME_WAIT/s of connections to 127.0.0.1:8085 that live for 5.0 ms: one "
              "connection kept open and used again would serve them (rate x lifetime = 0.03) and leave none.");
    EXPECT_EQ(advice.observed, (std::vector<std::pair<std::string, double>>{
                                   {"pid", 42}, {"rate_per_s", 5.4}, {"lifetime_s", 0.005}, {"pool", 1}}));
}

/// The server closed the rest: the pool above is not for these.
TEST(TimeWaitAdvice, SaysThatFarMoreIsOpenedThanLeavesTimeWait) {
    const Advice advice = first_of(closed_by_wrk(17'873.2));
    EXPECT_EQ(advice.text,
              "wrk (pid 42) leaves 5.4 TIME_WAIT/s of connections to 127.0.0.1:8085 that live for 5.0 ms: one "
              "connection kept open and used again would serve them (rate x lifetime = 0.03) and leave none. All opens "
              "there are 17873.2/s; the others left no TIME_WAIT of this process.");
    EXPECT_EQ(advice.observed.back(), (std::pair<std::string, double>{"opens_per_s", 17'873.2}));
}

}  // namespace
}  // namespace tcptrail::report
