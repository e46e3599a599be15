// SPDX-License-Identifier: Apache-2.0
// What the doctor's rules are given: gathered from literal worlds.
#include <gtest/gtest.h>

#include "report/evidence.h"
#include "trail.h"

namespace tcptrail::test {
namespace {

using report::EvidenceGatherer;
using report::NetnsEvidence;

class World final : private TrackObserver {
public:
    World() : gatherer_(trail.table()) {
        trail.also = this;
        trail.on_record = [this](const tt_head& record) { gatherer_.on_record(record); };
    }

    NetnsEvidence only() const {
        const auto all = gatherer_.evidence(Trail::kStart, trail.table().now());
        EXPECT_EQ(all.size(), 1U);
        return all.empty() ? NetnsEvidence{} : all.front();
    }

    Trail trail;

private:
    void on_transition(const TransitionRow& row) override { gatherer_.on_transition(row); }
    void on_ended(const ConnectionRow& row) override { gatherer_.on_ended(row); }

    EvidenceGatherer gatherer_;
};

TEST(Evidence, EndedConnectionsByProcessAndDestination) {
    World world;
    Trail& trail = world.trail;
    trail.nothing_before();
    for (const std::uint16_t port : {40'000, 40'001, 40'002}) {
        trail.as(kApp).connect({2, port}, A).established(1ms).fin_sent(3ms).fin_acked(0ms).closed(0ms);
    }
    trail.as(kWorker).connect({2, 40'003}, A).rst_received(1ms);
    const NetnsEvidence evidence = world.only();
    EXPECT_EQ(evidence.netns, kNetns);
    ASSERT_EQ(evidence.ended.size(), 2U);
    const report::EndedGroup& most = evidence.ended.front();
    EXPECT_EQ(most.who.process->comm, "app");
    EXPECT_EQ(most.role, Role::active);
    EXPECT_EQ(most.rport, A.port);
    EXPECT_EQ(most.ended, 3U);
    EXPECT_EQ(most.time_wait, 3U);
    EXPECT_EQ(most.count(CloseReason::local_fin), 3U);
    EXPECT_NEAR(most.mean_lifetime_s(), 0.004, 1e-9);
    EXPECT_EQ(evidence.connected_to(most), 3U);
    EXPECT_FALSE(evidence.before) << "no snapshot at the end: nothing to compare";
}

TEST(Evidence, CountsWhatIsBeyondItsBounds) {
    World world;
    Trail& trail = world.trail;
    trail.nothing_before();
    for (std::uint16_t port = 1; port <= 10'002; ++port) {  // one that opened and ended, for each
        trail.as(kApp).connect({2, 40'000}, {1, port}).established(1ms).rst_received(1ms);
    }
    trail.as(kApp).connect({2, 40'000}, {1, 7}).established(1ms).rst_received(1ms);  // a known one
    const NetnsEvidence evidence = world.only();
    EXPECT_EQ(evidence.connected.size(), 10'000U);
    EXPECT_EQ(evidence.ended.size(), 10'000U);
    EXPECT_EQ(evidence.left_out, 4U) << "two openings and two ends";
    EXPECT_EQ(evidence.connected_to(evidence.ended.front()), 2U);
    EXPECT_EQ(evidence.ended.front().rport, 7U);
}

TEST(Evidence, FailuresAreNotCountedWhereSuccessFoundNoRoom) {
    World world;
    Trail& trail = world.trail;
    trail.nothing_before();
    for (std::uint16_t port = 1; port <= 10'000; ++port) {
        trail.as(kApp).connect({2, 40'000}, {1, port}).established(1ms);  // and they stay
    }
    trail.as(kApp).connect({2, 40'000}, {1, 20'000}).established(1ms);
    trail.as(kApp).connect({2, 40'001}, {1, 20'000}).rst_received(1ms);
    const NetnsEvidence evidence = world.only();
    EXPECT_TRUE(evidence.ended.empty());
    EXPECT_EQ(evidence.left_out, 2U) << "one that opened, one that was refused";
}

TEST(Evidence, FormerListenersAreCountedBeyondAThousand) {
    World world;
    Trail& trail = world.trail;
    trail.nothing_before();
    for (std::uint16_t port = 1; port <= 1'001; ++port) {
        trail.as(kServer).listen({1, port}).closed(1ms);
    }
    trail.as(kServer).listen({1, 7}).closed(1ms);  // a known one
    const NetnsEvidence evidence = world.only();
    EXPECT_EQ(evidence.former.size(), 1'000U);
    EXPECT_EQ(evidence.left_out, 1U);
}

/// A recording without a last snapshot: what stands is what the tracker knows.
TEST(Evidence, WithoutALastSnapshot) {
    World world;
    world.trail.listen(A).nothing_before();
    world.trail.as(kApp).connect({2, 40'000}, {3, 80}).established(1ms);
    world.trail.child(A, {4, 1000}).fin_received(1ms);
    const NetnsEvidence evidence = world.only();
    EXPECT_FALSE(evidence.now.complete);
    EXPECT_EQ(evidence.now.count(State::established), 1U);
    EXPECT_EQ(evidence.now.count(State::close_wait), 1U);
    EXPECT_EQ(evidence.now.listeners.size(), 1U);
    ASSERT_EQ(evidence.now.destinations.size(), 1U);
    EXPECT_EQ(evidence.now.destinations.begin()->first.rport, 80);
    EXPECT_EQ(evidence.now.destinations.begin()->second.live, 1U);
    EXPECT_EQ(evidence.accepted, (std::map<std::uint16_t, std::uint64_t>{{A.port, 1}}));
    EXPECT_EQ(evidence.grown("TcpExt.ListenOverflows"), 0U);
}

TEST(Evidence, AListenerThatWentAway) {
    World world;
    world.trail.as(kServer).listen(A).nothing_before();
    world.trail.step(State::close, 1ms, kProcess);
    const NetnsEvidence evidence = world.only();
    ASSERT_EQ(evidence.former.size(), 1U);
    EXPECT_EQ(evidence.former.at(A.port).who.process->comm, "server");
}

}  // namespace
}  // namespace tcptrail::test
