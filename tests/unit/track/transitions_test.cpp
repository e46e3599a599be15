// SPDX-License-Identifier: Apache-2.0
// What `trace` shows of whole connections; kernel.md 3 and 5, contract "transition".
#include <gtest/gtest.h>

#include "trail.h"

namespace tcptrail::test {
namespace {

using Lines = std::vector<std::string>;

Trail& client_open(const char* hooks = kTracepoint) {
    return trail(hooks).connect(B, A).established(2ms);
}

/// A client that has closed first and whose peer's FIN has come.
Trail& in_time_wait(const char* hooks = kTracepoint) {
    return client_open(hooks).fin_sent(5ms).fin_acked(1ms).closed(1ms);
}

TEST(Transitions, ClientClosesFirst) {
    Trail& t = in_time_wait();
    EXPECT_EQ(t.lines(), (Lines{"1.0 CLOSE>SYN_SENT - app", "1.0 SYN_SENT>ESTABLISHED 2000us -",
                                "1.0 ESTABLISHED>FIN_WAIT1 5000us app", "1.0 FIN_WAIT1>FIN_WAIT2 1000us -",
                                "1.0 FIN_WAIT2>TIME_WAIT 1000us -"}));
    const ConnectionRow& row = t.ended();
    EXPECT_EQ(row.reason, CloseReason::local_fin);
    EXPECT_EQ(row.time_wait, true);
    EXPECT_EQ(row.role, Role::active);
    EXPECT_EQ(row.lifetime_ns, 9'000'000u);
    EXPECT_EQ(row.established_ns, 5'000'000u);
    EXPECT_EQ(t.who(row.closer), "app");
    EXPECT_EQ(row.ends.lport, B.port);  // though the kernel has given the port back
    EXPECT_TRUE(row.complete);
    EXPECT_EQ(t.states(row), (Lines{"SYN_SENT 2000us", "ESTABLISHED 5000us", "FIN_WAIT1 1000us", "FIN_WAIT2 1000us"}));
}

TEST(Transitions, ServerClosesFirst) {
    Trail& t = client_open().fin_received(5ms).fin_sent(3ms).closed(1ms);
    EXPECT_EQ(t.lines(), (Lines{"1.0 CLOSE>SYN_SENT - app", "1.0 SYN_SENT>ESTABLISHED 2000us -",
                                "1.0 ESTABLISHED>CLOSE_WAIT 5000us -", "1.0 CLOSE_WAIT>LAST_ACK 3000us app",
                                "1.0 LAST_ACK>CLOSE 1000us -"}));
    EXPECT_EQ(t.ended().reason, CloseReason::remote_fin);
    EXPECT_EQ(t.ended().time_wait, false);
    EXPECT_EQ(t.table().size(), 0u);
}

TEST(Transitions, OnlyWhatTheObserverHears) {
    Trail& t = trail()
                   .hear(TransitionSet().into(State::time_wait).out_of(State::syn_sent))
                   .connect(B, A)
                   .established(2ms)
                   .fin_sent(5ms)
                   .fin_acked(1ms)
                   .closed(1ms);
    EXPECT_EQ(t.lines(), (Lines{"1.0 SYN_SENT>ESTABLISHED 2000us -", "1.0 FIN_WAIT2>TIME_WAIT 1000us -"}));
    EXPECT_EQ(t.who(t.ended().closer), "app");  // of a transition that was not told
    EXPECT_EQ(t.ended().states.size(), 4U);
    EXPECT_EQ(t.table().trace_end().transitions, 5U);
}

TEST(Transitions, Simultaneous) {
    Trail& t = client_open().fin_sent(5ms).fin_received(1ms).closed(1ms);
    EXPECT_EQ(t.lines().back(), "1.0 CLOSING>TIME_WAIT 1000us -");
    EXPECT_EQ(t.ended().reason, CloseReason::simultaneous_fin);
    EXPECT_EQ(t.ended().time_wait, true);
}

TEST(Transitions, PayloadBytesAreWithoutSynAndFin) {
    Trail& t = client_open().fin_sent(5ms).fin_acked(1ms).closed(1ms, {.bytes_acked = 12, .bytes_received = 11});
    EXPECT_EQ(t.ended().bytes_sent, 10u);
    EXPECT_EQ(t.ended().bytes_received, 10u);
}

TEST(Transitions, ReconnectIsTheNextGeneration) {
    Trail& t = client_open()
                   .closed(1ms, {.flags = kProcess, .shutdown = 0, .close_flags = 0})
                   .reconnect(4ms)
                   .established(2ms)
                   .rst_received(1ms);
    EXPECT_EQ(t.lines(), (Lines{"1.0 CLOSE>SYN_SENT - app", "1.0 SYN_SENT>ESTABLISHED 2000us -",
                                "1.0 ESTABLISHED>CLOSE 1000us app", "1.1 CLOSE>SYN_SENT 4000us app",
                                "1.1 SYN_SENT>ESTABLISHED 2000us -", "1.1 ESTABLISHED>CLOSE 1000us -"}));
    ASSERT_EQ(t.endings.size(), 2u);
    EXPECT_EQ(t.endings[0].reason, CloseReason::disconnect);
    EXPECT_EQ(t.endings[1].generation, 1u);
    EXPECT_EQ(t.endings[1].lifetime_ns, 3'000'000u);
}

TEST(Transitions, ASocketThatConnectsAgainAndAgainIsTheYoungestOfThoseRemembered) {
    Trail& t = trail(kTracepoint, {.dormant = 2});
    const Facts stays{.flags = kProcess, .shutdown = 0, .close_flags = 0};
    t.connect(B, A).established(1ms).closed(1ms, stays);
    t.connect(C, A).established(1ms).closed(1ms, stays);
    for (int i = 0; i < 10; ++i) {
        t.socket(1).reconnect(1ms).established(1ms).closed(1ms, stays);
    }
    t.connect({4, 40000}, A).established(1ms).closed(1ms, stays);  // the second was remembered longest, and goes
    t.socket(1).reconnect(1ms);
    EXPECT_EQ(t.transitions.back().generation, 11u);
    t.socket(2).reconnect(1ms);
    EXPECT_EQ(t.transitions.back().generation, 0u);
}

TEST(Transitions, ReconnectWhileTheRowIsHeldKnowsWhenTheCloseBegan) {
    Trail& t = client_open()
                   .fin_received(1ms)
                   .fin_sent(1ms)
                   .closed(1ms, {.flags = kProcess, .close_flags = TT_C_DONE})  // shutdown(), ACK in the backlog
                   .reconnect(1ms);
    EXPECT_EQ(t.lines().back(), "1.1 CLOSE>SYN_SENT 1000us app");
}

TEST(Transitions, WhatDoesNotChangeTheStateIsIgnored) {
    Trail& t = client_open().fin_sent(5ms).fin_acked(1ms).step(State::fin_wait2, 1ms).closed(1ms);
    EXPECT_EQ(t.lines().size(), 5u);
    EXPECT_EQ(t.lines().back(), "1.0 FIN_WAIT2>TIME_WAIT 2000us -");
    EXPECT_EQ(t.table().trace_end().transitions, 5u);
}

TEST(Backup, DuplicatesAreDroppedAndCounted) {
    Trail& t = client_open().twice().fin_sent(5ms).twice().fin_acked(1ms).closed(1ms);
    EXPECT_EQ(t.lines().size(), 5u);
    EXPECT_EQ(t.table().trace_end().transitions, 5u);
    EXPECT_EQ(t.table().trace_end().missed, 2u);  // the backup counted them as caught
    EXPECT_TRUE(t.ended().complete);
}

TEST(Backup, DuplicateOfALastTransition) {
    Trail& t = client_open().closed(1ms, {.flags = kProcess}).twice();
    EXPECT_EQ(t.endings.size(), 1u);
    EXPECT_EQ(t.table().trace_end().missed, 1u);
    EXPECT_EQ(t.table().trace_end().transitions, 3u);
}

TEST(Backup, DuplicateOfAnEntryIntoTimeWait) {
    Trail& t = client_open()
                   .fin_sent(5ms)
                   .fin_acked(1ms)
                   .closed(1ms, {.flags = TT_F_OWNED})  // out of the backlog
                   .twice();
    EXPECT_EQ(t.lines().size(), 5u);
    EXPECT_EQ(t.endings.size(), 1u);
    EXPECT_EQ(t.table().trace_end().missed, 1u);
    EXPECT_EQ(t.table().trace_end().incomplete_connections, 0u);
}

TEST(Backup, DuplicateOfALastTransitionInSoftirq) {
    Trail& t = client_open().fin_received(1ms).fin_sent(1ms).closed(1ms).twice();
    EXPECT_EQ(t.endings.size(), 1u);
    EXPECT_EQ(t.table().trace_end().incomplete_connections, 0u);
}

TEST(Backup, WhatBothProgramsWroteIsNeitherMissedNorLost) {
    // Three calls were caught, one of them by mistake; two more of those mistakes found no room.
    Trail& t = client_open().twice().counters(5, static_cast<std::uint64_t>(2 - 5), 0);
    EXPECT_EQ(t.table().trace_end().missed, 0u);
    EXPECT_EQ(t.table().trace_end().lost, 3u);
    t.counters(5, static_cast<std::uint64_t>(2 - 1), 0);
    EXPECT_EQ(t.table().trace_end().missed, 2u);
    EXPECT_EQ(t.table().trace_end().lost, 5u);
}

TEST(Break, MarksIncompleteAndAddsNothingToLost) {
    Trail& t = client_open().fin_sent(5ms).lose().fin_acked(1ms).closed(1ms);
    EXPECT_EQ(t.lines().back(), "1.0 FIN_WAIT2>TIME_WAIT - -");
    EXPECT_FALSE(t.ended().complete);
    EXPECT_EQ(t.table().trace_end().incomplete_connections, 1u);
    EXPECT_EQ(t.table().trace_end().lost, 0u);
    EXPECT_EQ(t.table().trace_end().missed, 0u);
}

TEST(Break, DestroyEndsWhatNobodySawClose) {
    Trail& t = client_open().lose().closed(1ms).destroy(1ms);
    EXPECT_FALSE(t.ended().complete);
    EXPECT_EQ(t.ended().reason, CloseReason::unknown);
    EXPECT_EQ(t.ended().time_wait, std::nullopt);
    EXPECT_EQ(t.table().size(), 0u);
}

TEST(Totals, CountsOfTheKernelAreAdded) {
    Trail& t = client_open().counters(3, 4, 5).end();
    const TraceEnd end = t.table().trace_end();
    EXPECT_EQ(end.transitions, 7u);
    EXPECT_EQ(end.lost, 3u);
    EXPECT_EQ(end.missed, 4u);
    EXPECT_FALSE(end.truncated);
    EXPECT_EQ(end.window_ns, static_cast<std::uint64_t>(t.time().count()));
}

TEST(Totals, WithoutAnEndItIsTruncated) {
    EXPECT_TRUE(client_open().table().trace_end().truncated);
}

TEST(TimeWait, ExpiryIsInferred) {
    Trail& t = in_time_wait();
    const MonoNs entry = t.transitions.back().time;
    t.tick(59s);
    EXPECT_EQ(t.table().size(), 1u);
    t.tick(4s);
    ASSERT_EQ(t.transitions.size(), 6u);
    const TransitionRow& row = t.transitions.back();
    EXPECT_EQ(row.old_state, State::time_wait);
    EXPECT_EQ(row.new_state, State::close);
    EXPECT_TRUE(row.inferred);
    EXPECT_GE(row.time - entry, 60'000'000'000u);
    EXPECT_LE(row.time - entry, 62'000'000'000u);
    EXPECT_EQ(t.table().size(), 0u);
    EXPECT_EQ(t.table().trace_end().transitions, 5u);  // inferred ones are not counted
}

TEST(TimeWait, ReuseEndsItEarly) {
    Trail& t = in_time_wait().connect(B, A, 2s).established(1ms);
    const Lines lines = t.lines();
    ASSERT_EQ(lines.size(), 8u);
    EXPECT_EQ(lines[5], "2.0 CLOSE>SYN_SENT - app");
    EXPECT_EQ(lines[6], "1.0 TIME_WAIT>CLOSE 2001000us - inferred");
    EXPECT_EQ(lines[7], "2.0 SYN_SENT>ESTABLISHED 1000us -");
    t.tick(70s);
    EXPECT_EQ(t.lines().size(), 8u);  // and only once
}

TEST(TimeWait, AnotherConnectionDoesNotEndIt) {
    Trail& t = in_time_wait().connect(C, A, 2s).established(1ms);
    EXPECT_EQ(t.lines().size(), 7u);
    EXPECT_EQ(t.table().size(), 2u);
}

constexpr Facts kNoFinYet{.close_flags = TT_C_DEAD, .fin_timeout_s = 4};

TEST(TimeWait, DeadFinWait2) {
    Trail& t = client_open().fin_sent(5ms).fin_acked(1ms).closed(1ms, kNoFinYet);
    t.tick(5ms);  // no RST has followed
    EXPECT_EQ(t.lines().back(), "1.0 FIN_WAIT2>TIME_WAIT 1000us - (FIN_WAIT2)");
    EXPECT_EQ(t.ended().time_wait, true);
    t.tick(3s);
    EXPECT_EQ(t.table().size(), 1u);
    t.tick(64s);  // fin_timeout, and 60 s more if the FIN came, and the wheel
    EXPECT_EQ(t.table().size(), 0u);
    EXPECT_TRUE(t.transitions.back().inferred);
}

TEST(TimeWait, ALongFinTimeoutDoesNotKeepAShortOne) {
    Trail& t = client_open().fin_sent(5ms).fin_acked(1ms).closed(1ms, {.close_flags = TT_C_DEAD, .fin_timeout_s = 60});
    t.connect(C, A).established(1ms).fin_sent(1ms).fin_acked(1ms).closed(1ms, kNoFinYet);
    t.tick(67s);
    EXPECT_EQ(t.table().size(), 1u);
}

TEST(TimeWait, Linger2KeepsNone) {
    Trail& t = client_open().fin_sent(5ms).fin_acked(1ms).closed(
        1ms, {.flags = TT_F_OWNED, .close_flags = TT_C_DEAD | TT_C_LINGER2});
    EXPECT_EQ(t.lines().back().substr(0, 19), "1.0 FIN_WAIT2>CLOSE");
    EXPECT_EQ(t.ended().time_wait, false);
}

TEST(TimeWait, BucketOverflowIsUndecided) {
    const auto outcome = [](std::uint32_t count) {
        return client_open()
            .fin_sent(5ms)
            .fin_acked(1ms)
            .closed(1ms, {.tw_count = count, .tw_max = 2})
            .ended()
            .time_wait;
    };
    EXPECT_EQ(outcome(1), true);
    EXPECT_EQ(outcome(2), std::nullopt);
}

TEST(Fentry, TellsExactly) {
    Trail& t = client_open(kFentry)
                   .fin_sent(5ms)
                   .fin_acked(1ms)
                   .timewait(TT_TW_ENTER, 1ms)
                   .timewait(TT_TW_HASHED, 0ms)
                   .closed(0ms, {.tw_count = 2, .tw_max = 2});
    EXPECT_EQ(t.ended().time_wait, true);
    t.timewait(TT_TW_KILLED, 61s);
    EXPECT_EQ(t.lines().back(), "1.0 TIME_WAIT>CLOSE 61000000us -");
    EXPECT_EQ(t.table().size(), 0u);
}

/// A connection whose time-wait socket the hook tells, and another one of which it says nothing.
std::optional<bool> second_without_hashed(const Facts& facts) {
    Trail& t = client_open(kFentry).fin_sent(1ms).fin_acked(1ms).timewait(TT_TW_HASHED, 0ms).closed(0ms);
    t.connect(C, A).established(1ms).fin_sent(1ms).fin_acked(1ms).closed(1ms, facts);
    EXPECT_EQ(t.lines().back(), "2.0 FIN_WAIT2>CLOSE 1000us -");
    EXPECT_EQ(t.table().trace_end().hooks.at("time_wait"), "fentry/inet_twsk_kill");
    return t.endings.back().time_wait;
}

TEST(Fentry, NoHashedMeansOverflow) {
    EXPECT_EQ(second_without_hashed({.tw_count = 2, .tw_max = 2}), false);
    EXPECT_EQ(second_without_hashed({.tw_count = 0, .tw_max = 0}), false);
}

TEST(Fentry, NoHashedWhereThereWasRoomIsUndecided) {
    EXPECT_EQ(second_without_hashed({.tw_count = 1, .tw_max = 2}), std::nullopt);
}

TEST(Fentry, AHookThatNeverFiresIsNotBelieved) {
    const auto outcome = [](std::uint32_t count) {
        Trail& t = client_open(kFentry).fin_sent(5ms).fin_acked(1ms).closed(1ms, {.tw_count = count, .tw_max = 2});
        EXPECT_EQ(t.table().trace_end().hooks.at("time_wait"), "fentry/inet_twsk_kill (never fired, and should have)");
        return t.ended().time_wait;
    };
    EXPECT_EQ(outcome(1), true);
    EXPECT_EQ(outcome(2), std::nullopt);
}

TEST(Fentry, ALostEndIsInferredSoonAfterItsTime) {
    Trail& t = client_open(kFentry).fin_sent(5ms).fin_acked(1ms).timewait(TT_TW_HASHED, 0ms).closed(0ms).tick(69s);
    EXPECT_EQ(t.table().size(), 1u);
    t.tick(2s);
    EXPECT_EQ(t.lines().back(), "1.0 TIME_WAIT>CLOSE 70000000us - inferred");
}

TEST(Eviction, TheTableIsBoundedAndCounts) {
    Trail& t = trail(kTracepoint, {.connections = 8, .dormant = 4});
    t.listen(A);
    for (std::uint16_t i = 0; i < 100; ++i) {
        t.connect({2, static_cast<std::uint16_t>(1000 + i)}, A).established(1ms);
        ASSERT_LE(t.table().size(), 8u);
    }
    EXPECT_EQ(t.table().trace_end().evicted, 101u - 8u);
    t.child(A, B);
    EXPECT_EQ(t.who(t.transitions.back().owner), "app/inherited");  // listeners stay
}

TEST(Eviction, TimeWaitGoesFirst) {
    Trail& t = trail(kTracepoint, {.connections = 3, .dormant = 4});
    t.connect(B, A).established(1ms);
    t.connect(C, A).established(1ms).fin_sent(1ms).fin_acked(1ms).closed(1ms);
    t.connect({4, 1}, A).established(1ms).connect({5, 1}, A).established(1ms);
    EXPECT_EQ(t.table().trace_end().evicted, 1u);
    t.socket(1).rst_received(1ms);
    EXPECT_TRUE(t.endings.back().complete);
}

}  // namespace
}  // namespace tcptrail::test
