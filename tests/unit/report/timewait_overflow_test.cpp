// SPDX-License-Identifier: Apache-2.0
// Entries made while the buckets were full: what a snapshot and the namespace's counter settle, and what they do not.
#include "report/timewait_overflow.h"

#include <gtest/gtest.h>

namespace tcptrail::report {
namespace {

constexpr std::uint32_t kNetns = 1;

DoubtfulEntry entry(std::uint64_t cookie, std::uint16_t rport = 80, MonoNs time = 10) {
    DoubtfulEntry entry{cookie, time, false, {}};
    entry.entry.role = Role::active;
    entry.entry.owner = {1, Evidence::connect};
    entry.entry.ends.rport = rport;
    return entry;
}

/// standing, gone, anonymous, refused, undecided, left
std::vector<std::uint64_t> counts(const OverflowSettled& settled) {
    return {settled.standing.size(), settled.gone.size(), settled.anonymous,
            settled.refused,         settled.undecided,   settled.left};
}
using Counts = std::vector<std::uint64_t>;

class Overflow : public testing::Test {
protected:
    Overflow() { overflow.settle(kNetns, 0, 100); }  // refusals before the trace

    TimeWaitOverflow overflow;
};

TEST_F(Overflow, TheCounterSaysThatAllWereRefused) {
    overflow.add(kNetns, entry(1));
    overflow.add(kNetns, entry(2, 81));
    EXPECT_EQ(counts(overflow.settle(kNetns, 20, 102)), (Counts{0, 0, 0, 2, 0, 0}));
    EXPECT_EQ(overflow.pending(), 0u);
}

TEST_F(Overflow, TheCounterSaysThatNoneWas) {
    overflow.add(kNetns, entry(1));
    overflow.add(kNetns, entry(2, 81));
    EXPECT_EQ(counts(overflow.settle(kNetns, 20, 100)), (Counts{0, 2, 0, 0, 0, 0}));
}

TEST_F(Overflow, OfANamespaceThatIsGoneNothingIsSettledAnyMore) {
    overflow.add(kNetns, entry(1));
    overflow.add(kNetns + 1, entry(2));
    overflow.settle(kNetns + 2, 0, 7);
    overflow.add(kNetns + 2, entry(3));
    overflow.add(kNetns + 3, entry(5, 80, 15));  // younger than the snapshot
    EXPECT_EQ(overflow.keep({kNetns + 2}, 12), 2u);
    EXPECT_EQ(overflow.pending(), 2u);
    EXPECT_EQ(counts(overflow.settle(kNetns, 20, 0)), (Counts{0, 0, 0, 0, 0, 0})) << "a new one of its number";
    EXPECT_EQ(counts(overflow.settle(kNetns + 2, 20, 8)), (Counts{0, 0, 0, 1, 0, 0}));
}

TEST_F(Overflow, TheSnapshotShowsTheOneThatFoundRoom) {
    for (std::uint64_t cookie = 1; cookie <= 41; ++cookie) {
        overflow.add(kNetns, entry(cookie, static_cast<std::uint16_t>(cookie)));
    }
    EXPECT_TRUE(overflow.shows(kNetns, 1));
    EXPECT_FALSE(overflow.shows(kNetns, 99));
    const OverflowSettled settled = overflow.settle(kNetns, 20, 140);
    EXPECT_EQ(counts(settled), (Counts{1, 0, 0, 40, 0, 0}));
    EXPECT_EQ(settled.standing[0].cookie, 1u);
}

TEST_F(Overflow, OfOneRowItDoesNotMatterWhichWereRefused) {
    for (std::uint64_t cookie = 1; cookie <= 5; ++cookie) {
        overflow.add(kNetns, entry(cookie));
    }
    EXPECT_EQ(counts(overflow.settle(kNetns, 20, 103)), (Counts{0, 2, 0, 3, 0, 0}));
}

TEST_F(Overflow, OfSeveralRowsTheTotalsAreExactAndTheEntriesUndecided) {
    for (std::uint64_t cookie = 1; cookie <= 5; ++cookie) {
        overflow.add(kNetns, entry(cookie, static_cast<std::uint16_t>(cookie)));
    }
    overflow.shows(kNetns, 5);
    EXPECT_EQ(counts(overflow.settle(kNetns, 20, 103)), (Counts{1, 0, 1, 3, 4, 0}));
}

TEST_F(Overflow, WhatCameAfterTheCounterWasReadWaits) {
    overflow.add(kNetns, entry(1, 80, 10));
    overflow.add(kNetns, entry(2, 80, 30));
    EXPECT_EQ(counts(overflow.settle(kNetns, 20, 101)), (Counts{0, 0, 0, 1, 0, 0}));
    EXPECT_EQ(overflow.pending(), 1u);
    EXPECT_EQ(counts(overflow.settle(kNetns, 40, 102)), (Counts{0, 0, 0, 1, 0, 0}));
}

TEST_F(Overflow, ARefusalThatWasCountedBeforeItsEventCameIsNotLost) {
    EXPECT_EQ(counts(overflow.settle(kNetns, 20, 101)), (Counts{0, 0, 0, 0, 0, 0}));
    overflow.add(kNetns, entry(1, 80, 21));
    EXPECT_EQ(counts(overflow.settle(kNetns, 40, 101)), (Counts{0, 0, 0, 1, 0, 0}));
}

TEST(OverflowOfANewNamespace, IsLeftOpenUnlessTheCounterNeverMoved) {
    TimeWaitOverflow overflow;
    overflow.add(kNetns, entry(1));
    EXPECT_EQ(counts(overflow.settle(kNetns, 20, 7)), (Counts{0, 0, 0, 0, 0, 1}));
    overflow.add(2, entry(1));
    EXPECT_EQ(counts(overflow.settle(2, 20, 0)), (Counts{0, 1, 0, 0, 0, 0}));
}

TEST(OverflowBeyondMemory, IsCountedByTheCounter) {
    TimeWaitOverflow overflow(2);
    overflow.settle(kNetns, 0, 0);
    for (std::uint64_t cookie = 1; cookie <= 5; ++cookie) {
        overflow.add(kNetns, entry(cookie));
    }
    EXPECT_EQ(overflow.pending(), 5u);
    EXPECT_EQ(counts(overflow.settle(kNetns, 20, 3)), (Counts{0, 0, 2, 3, 5, 0}));
    EXPECT_EQ(overflow.pending(), 0u);
}

}  // namespace
}  // namespace tcptrail::report
