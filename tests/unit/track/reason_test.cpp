// SPDX-License-Identifier: Apache-2.0
// Every row of kernel.md section 4.
#include <gtest/gtest.h>

#include <cerrno>

#include "track/reason.h"
#include "trail.h"

namespace tcptrail::test {
namespace {

using track::Resets;

struct Case {
    const char* row;
    State old;
    Facts facts;
    Resets resets;
    CloseReason reason;
};

constexpr Resets kReceived{.received = true};
constexpr Resets kNone{};
constexpr Resets kUnseen{.complete = false};
constexpr Resets sent(std::uint32_t reason) {  // before the last transition
    return {.sent = true, .received = false, .sent_reason = reason};
}
constexpr Resets sent_last(std::uint32_t reason) {
    return {.sent = true, .received = false, .sent_reason = reason, .sent_last = true};
}
constexpr unsigned kOrphan = TT_C_DEAD;
constexpr unsigned kDone = TT_C_DEAD | TT_C_DONE;
constexpr unsigned kOpen = TT_F_HAS_SOCKET;  // softirq, and a process has it

const Case kTable[] = {
    {"active close", State::fin_wait2, {}, kNone, CloseReason::local_fin},
    {"passive close", State::last_ack, {}, kNone, CloseReason::remote_fin},
    {"simultaneous", State::closing, {}, kNone, CloseReason::simultaneous_fin},
    {"RST received, open",
     State::established,
     {.flags = kOpen, .sk_err = ECONNRESET, .close_flags = 0},
     kReceived,
     CloseReason::rst_received},
    {"RST received in CLOSE_WAIT",
     State::close_wait,
     {.flags = kOpen, .sk_err = EPIPE, .shutdown = 1, .close_flags = TT_C_DONE},
     kReceived,
     CloseReason::rst_received},
    {"RST received after our close, FIN_WAIT1",
     State::fin_wait1,
     {.sk_err = ECONNRESET, .close_flags = kOrphan},
     kReceived,
     CloseReason::rst_received},
    {"RST received after our close, FIN_WAIT2",
     State::fin_wait2,
     {.sk_err = ECONNRESET, .close_flags = kOrphan},
     kReceived,
     CloseReason::rst_received},
    {"RST received after our close, LAST_ACK",
     State::last_ack,
     {.sk_err = ECONNRESET, .close_flags = kDone},
     kReceived,
     CloseReason::rst_received},
    {"SO_LINGER 0",
     State::established,
     {.flags = kProcess, .close_flags = TT_C_LINGER},
     sent(14),
     CloseReason::linger_rst},
    {"SO_LINGER 0, no reason given",
     State::established,
     {.flags = kProcess, .close_flags = TT_C_LINGER},
     sent(0),
     CloseReason::linger_rst},
    {"unread data, ESTABLISHED",
     State::established,
     {.flags = kProcess, .close_flags = 0, .unread = 10},
     sent(11),
     CloseReason::unread_data_rst},
    {"unread data, CLOSE_WAIT",
     State::close_wait,
     {.flags = kProcess, .close_flags = TT_C_DONE, .unread = 11},
     sent(11),
     CloseReason::unread_data_rst},
    {"data for a closed socket",
     State::fin_wait1,
     {.sk_err = ECONNRESET, .close_flags = kOrphan},
     {true, true, 8, true},
     CloseReason::late_data_rst},
    {"data for a closed socket, no reason given",
     State::fin_wait1,
     {.sk_err = ECONNRESET, .close_flags = kOrphan},
     {true, true, 0, true},
     CloseReason::late_data_rst},
    {"data after shutdown of both, FIN_WAIT2",
     State::fin_wait2,
     {.flags = kOpen, .sk_err = ECONNRESET, .close_flags = 0},
     {true, true, 8, true},
     CloseReason::late_data_rst},
    {"data with the ACK of the FIN",
     State::fin_wait2,
     {.close_flags = kOrphan},
     sent_last(8),
     CloseReason::late_data_rst},
    {"dead FIN_WAIT2", State::fin_wait2, {.close_flags = kOrphan}, kNone, CloseReason::local_fin},
    {"dead FIN_WAIT2, timed out as a full socket",
     State::fin_wait2,
     {.close_flags = kOrphan},
     sent(14),
     CloseReason::fin_wait2_timeout},
    {"TCP_LINGER2 below 0",
     State::fin_wait2,
     {.flags = TT_F_OWNED, .close_flags = kOrphan | TT_C_LINGER2},
     sent_last(12),
     CloseReason::linger_rst},
    {"unread data after shutdown, FIN_WAIT1",
     State::fin_wait1,
     {.flags = kProcess, .close_flags = 0, .unread = 3},
     kNone,
     CloseReason::unread_data_rst},
    {"unread data after shutdown, FIN_WAIT2",
     State::fin_wait2,
     {.flags = kProcess, .close_flags = 0, .unread = 3},
     kNone,
     CloseReason::unread_data_rst},
    {"unread data after shutdown, LAST_ACK",
     State::last_ack,
     {.flags = kProcess, .close_flags = TT_C_DONE, .unread = 3},
     sent_last(11),
     CloseReason::unread_data_rst},
    {"acknowledged while the process looks on, LAST_ACK",
     State::last_ack,
     {.flags = kProcess, .close_flags = TT_C_DONE, .unread = 3},
     kNone,
     CloseReason::remote_fin},
    {"SO_LINGER 0 after shutdown, FIN_WAIT2",
     State::fin_wait2,
     {.flags = kProcess, .close_flags = TT_C_LINGER},
     kNone,
     CloseReason::linger_rst},
    {"disconnect after shutdown, FIN_WAIT2",
     State::fin_wait2,
     {.flags = kProcess, .shutdown = 2, .close_flags = 0},
     kNone,
     CloseReason::disconnect},
    {"the peer's FIN while the process looks on, FIN_WAIT2",
     State::fin_wait2,
     {.flags = kProcess, .close_flags = TT_C_DONE, .unread = 3},
     kNone,
     CloseReason::local_fin},
    {"closed by nothing that we know of",
     State::established,
     {.flags = kProcess, .close_flags = 0},
     kNone,
     CloseReason::unknown},
    {"an orphan in FIN_WAIT1 whose namespace goes",
     State::fin_wait1,
     {.close_flags = kOrphan},
     kNone,
     CloseReason::unknown},
    {"no memory, CLOSING",
     State::closing,
     {.flags = TT_F_OWNED, .close_flags = kDone},
     sent_last(13),
     CloseReason::resource},
    {"disconnect",
     State::established,
     {.flags = kProcess, .shutdown = 0, .close_flags = 0},
     sent(14),
     CloseReason::disconnect},
    {"refused",
     State::syn_sent,
     {.flags = kOpen, .sk_err = ECONNREFUSED, .close_flags = 0},
     kReceived,
     CloseReason::refused},
    {"connect timeout",
     State::syn_sent,
     {.flags = kOpen, .sk_err = ETIMEDOUT, .close_flags = 0, .retransmits = 7},
     kNone,
     CloseReason::connect_timeout},
    {"unreachable",
     State::syn_sent,
     {.flags = kOpen, .sk_err = EHOSTUNREACH, .close_flags = 0, .retransmits = 2},
     kNone,
     CloseReason::unreachable},
    {"a host that does not speak TCP",
     State::syn_sent,
     {.flags = kOpen, .sk_err = ENOPROTOOPT, .close_flags = 0, .retransmits = 1},
     kNone,
     CloseReason::unreachable},
    {"connect() fails with a port in hand",
     State::syn_sent,
     {.flags = kProcess, .shutdown = 0, .close_flags = 0, .segs_out = 0, .lport = 40000},
     kNone,
     CloseReason::unknown},
    {"user closes during connect",
     State::syn_sent,
     {.flags = kProcess, .segs_out = 1},
     kNone,
     CloseReason::connect_cancelled},
    {"connect ends in softirq and the process has taken sk_err",
     State::syn_sent,
     {.flags = kOpen, .shutdown = 0, .close_flags = 0, .segs_out = 1},
     kNone,
     CloseReason::unknown},
    {"RST received or data for a closed socket, sent RSTs unseen",
     State::fin_wait1,
     {.sk_err = ECONNRESET, .close_flags = kOrphan},
     kUnseen,
     CloseReason::unknown},
    {"RST received while a process could still read, sent RSTs unseen",
     State::established,
     {.flags = kOpen, .sk_err = ECONNRESET, .shutdown = 0, .close_flags = 0},
     kUnseen,
     CloseReason::rst_received},
    {"the last ACK or too many orphans, sent RSTs unseen",
     State::last_ack,
     {.flags = TT_F_OWNED, .close_flags = kDone},
     kUnseen,
     CloseReason::unknown},
    {"the last ACK, sent RSTs unseen", State::last_ack, {.close_flags = kDone}, kUnseen, CloseReason::remote_fin},
    {"ephemeral ports exhausted",
     State::syn_sent,
     {.flags = kProcess, .shutdown = 0, .close_flags = 0, .segs_out = 0},
     kNone,
     CloseReason::no_local_port},
    {"retransmission timeout",
     State::established,
     {.flags = kOpen, .sk_err = ETIMEDOUT, .close_flags = 0, .retransmits = 15},
     kNone,
     CloseReason::retransmit_timeout},
    {"retransmission timeout, CLOSE_WAIT",
     State::close_wait,
     {.flags = kOpen, .sk_err = ETIMEDOUT, .close_flags = TT_C_DONE, .retransmits = 15},
     kNone,
     CloseReason::retransmit_timeout},
    {"keepalive timeout",
     State::established,
     {.flags = kOpen, .sk_err = ETIMEDOUT, .close_flags = TT_C_KEEPOPEN, .probes_out = 3},
     sent(15),
     CloseReason::keepalive_timeout},
    {"stalled send",
     State::established,
     {.flags = kOpen, .sk_err = ETIMEDOUT, .close_flags = 0, .retransmits = 4, .probes_out = 4},
     kNone,
     CloseReason::retransmit_timeout},
    {"dropped locally",
     State::established,
     {.flags = kOpen, .sk_err = ETIMEDOUT, .close_flags = TT_C_KEEPOPEN, .probes_out = 3},
     kNone,
     CloseReason::retransmit_timeout},
    {"dropped locally, or a RST that went by unseen",
     State::established,
     {.flags = kOpen, .sk_err = ETIMEDOUT, .close_flags = TT_C_KEEPOPEN, .probes_out = 3},
     {.complete = false},
     CloseReason::unknown},
    {"given up, ICMP spoke meanwhile",
     State::established,
     {.flags = kOpen, .sk_err = EHOSTUNREACH, .sk_err_soft = EHOSTUNREACH, .close_flags = 0, .retransmits = 15},
     kNone,
     CloseReason::retransmit_timeout},
    {"orphan FIN_WAIT1 timeout",
     State::fin_wait1,
     {.sk_err = ETIMEDOUT, .close_flags = kOrphan, .retransmits = 8},
     kNone,
     CloseReason::fin_wait1_timeout},
    {"LAST_ACK timeout",
     State::last_ack,
     {.sk_err = ETIMEDOUT, .close_flags = kDone, .retransmits = 8},
     kNone,
     CloseReason::last_ack_timeout},
    {"ss -K, ESTABLISHED",
     State::established,
     {.flags = kProcess, .sk_err = ECONNABORTED, .close_flags = 0},
     sent(14),
     CloseReason::sock_destroyed},
    {"ss -K, SYN_SENT",
     State::syn_sent,
     {.flags = kProcess, .sk_err = ECONNABORTED, .close_flags = 0},
     kNone,
     CloseReason::sock_destroyed},
    {"ss -K, FIN_WAIT2",
     State::fin_wait2,
     {.flags = TT_F_OWNED, .sk_err = ECONNABORTED, .close_flags = kOrphan},
     sent(14),
     CloseReason::sock_destroyed},
    {"listener closed",
     State::established,
     {.shutdown = 0, .close_flags = kOrphan},
     sent(14),
     CloseReason::listener_closed},
    {"too many orphans",
     State::fin_wait1,
     {.flags = TT_F_OWNED, .close_flags = kOrphan},
     sent(13),
     CloseReason::resource},
    {"too many orphans, LAST_ACK",
     State::last_ack,
     {.flags = TT_F_OWNED, .close_flags = kDone},
     sent(13),
     CloseReason::resource},
};

TEST(Reason, EveryRowOfTheTable) {
    for (const Case& c : kTable) {
        EXPECT_EQ(name(track::reason_of(close_record(c.old, c.facts), c.resets)), name(c.reason)) << c.row;
    }
}

TEST(Reason, AFinAloneIsNotUnreadData) {
    const Facts facts{.flags = kProcess, .close_flags = TT_C_DONE | TT_C_LINGER, .unread = 1};
    EXPECT_EQ(track::reason_of(close_record(State::close_wait, facts), sent(14)), CloseReason::linger_rst);
}

TEST(Reason, OnlyWhatEndsByItsFinEntersTimeWait) {
    for (const Case& c : kTable) {
        const bool enters = c.reason == CloseReason::local_fin || c.reason == CloseReason::simultaneous_fin;
        const tt_close close = close_record(c.old, c.facts);
        EXPECT_EQ(track::enters_time_wait(close) && !(c.resets.sent && track::may_abort_late(close)), enters) << c.row;
    }
}

TEST(Reason, WhereSentRstsAreUnseenADeadFinWait2IsUndecided) {
    const tt_close close = close_record(State::fin_wait2, {.close_flags = kOrphan});
    EXPECT_EQ(track::reason_of(close, kUnseen), CloseReason::unknown);
    EXPECT_EQ(track::reason_of(close, kNone), CloseReason::local_fin);
    Trail& t = trail("hook.reset_sent=none (lost: …)\n").connect(B, A).established(2ms).fin_sent(1ms).fin_acked(1ms);
    t.closed(1ms, {.close_flags = kOrphan});
    EXPECT_EQ(t.ended().time_wait, std::nullopt);
}

TEST(Reason, LateDataRstComesAfterTheTransition) {
    Trail& t = trail().connect(B, A).established(2ms).fin_sent(1ms).closed(
        1ms, {.sk_err = ECONNRESET, .close_flags = TT_C_DEAD});
    EXPECT_TRUE(t.endings.empty());  // the verdict waits
    t.reset_sent(10us, 8);
    EXPECT_EQ(t.ended().reason, CloseReason::late_data_rst);
}

TEST(Reason, WithoutALateRstTheVerdictComesSoon) {
    Trail& t = trail().connect(B, A).established(2ms).fin_sent(1ms).closed(
        1ms, {.sk_err = ECONNRESET, .close_flags = TT_C_DEAD});
    t.tick(5ms);
    EXPECT_EQ(t.ended().reason, CloseReason::rst_received);
    EXPECT_EQ(t.ended().lifetime_ns, 4'000'000u);
}

TEST(Reason, DataWithTheAckOfTheFinLeavesNoTimeWait) {
    Trail& t =
        trail().connect(B, A).established(2ms).fin_sent(1ms).fin_acked(1ms).closed(0ms, {.close_flags = TT_C_DEAD});
    EXPECT_TRUE(t.endings.empty());
    t.destroy(1us).reset_sent(10us, 8);  // the kernel destroys an orphan before it answers
    EXPECT_EQ(name(t.ended().reason), name(CloseReason::late_data_rst));
    EXPECT_EQ(t.ended().time_wait, false);
    EXPECT_EQ(t.lines().back(), "1.0 FIN_WAIT2>CLOSE 0us -");
    EXPECT_EQ(t.table().size(), 0U);
}

TEST(Reason, AResetByTheTimeWaitSocketIsNotItsConnections) {
    Trail& t =
        trail().connect(B, A).established(2ms).fin_sent(1ms).fin_acked(1ms).closed(0ms, {.close_flags = TT_C_DEAD});
    t.reset_sent(1ms, 9, State::time_wait).tick(5ms);
    EXPECT_EQ(name(t.ended().reason), name(CloseReason::local_fin));
    EXPECT_EQ(t.ended().time_wait, true);
}

TEST(Reason, ASnapshotThatShowsTheTimeWaitSocketDecides) {
    Trail& t =
        trail().connect(B, A).established(2ms).fin_sent(1ms).fin_acked(1ms).closed(0ms, {.close_flags = TT_C_DEAD});
    t.snapshot(TT_SNAP_SOCKETS | TT_SNAP_REPORT).shows(State::time_wait);
    EXPECT_EQ(t.ended().time_wait, true);
    EXPECT_EQ(t.lines().back(), "1.0 FIN_WAIT2>TIME_WAIT 0us - (FIN_WAIT2)");
}

TEST(Reason, AResetToAStrangerWhileConnectingIsForgotten) {
    Trail& t = trail().connect(B, A).reset_sent(1ms, 1).established(1ms).fin_sent(1ms).fin_acked(1ms).closed(
        1ms, {.close_flags = TT_C_DEAD});
    t.tick(5ms);
    EXPECT_EQ(name(t.ended().reason), name(CloseReason::local_fin));
    EXPECT_EQ(t.ended().time_wait, true);
}

TEST(Reason, TheResetsOfAnEarlierGenerationAreForgotten) {
    Trail& t = trail().connect(B, A).established(1ms).closed(1ms, {.flags = kProcess, .shutdown = 0, .close_flags = 0});
    t.reset_sent(1us, 14).reconnect(1ms).established(1ms).closed(
        1ms, {.flags = kOpen, .sk_err = ETIMEDOUT, .close_flags = TT_C_KEEPOPEN, .probes_out = 3});
    EXPECT_EQ(name(t.endings.back().reason), name(CloseReason::retransmit_timeout));
}

TEST(Reason, ALostRecordMakesTheConnectionsOfItsTimeUncertainAndNoLaterOnes) {
    const Facts by_last_ack{.flags = TT_F_OWNED, .close_flags = TT_C_DEAD | TT_C_DONE};
    Trail& t = trail().connect(B, A).established(1ms).others_lost(1, 1ms);
    t.fin_received(1ms).fin_sent(1ms).closed(1ms, by_last_ack).tick(5ms);
    ASSERT_EQ(t.endings.size(), 1u);
    EXPECT_EQ(name(t.endings.back().reason), name(CloseReason::unknown));
    t.others_lost(1, 1ms);  // told again, not lost again
    t.connect(C, A).established(1ms).fin_received(1ms).fin_sent(1ms).closed(1ms, by_last_ack).tick(5ms);
    ASSERT_EQ(t.endings.size(), 2u);
    EXPECT_EQ(name(t.endings.back().reason), name(CloseReason::remote_fin));
}

/// A time-wait socket's hook that works, and has told of one connection.
Trail& hook_heard() {
    Trail& t = trail(kFentry).connect(C, A).established(1ms).fin_sent(1ms).fin_acked(1ms);
    return t.timewait(TT_TW_HASHED, 0ms).closed(0ms);
}

constexpr std::uint32_t kAbortOnData = 10;  // SK_RST_REASON_TCP_ABORT_ON_DATA

TEST(Reason, WhereNoTimeWaitSocketWasSeenTheResetIsAwaitedThroughAPauseOfTheProcessor) {
    Trail& t = hook_heard().connect(B, A).established(1ms).fin_sent(1ms).fin_acked(1ms).closed(
        1ms, {.close_flags = TT_C_DEAD});
    t.tick(20ms);
    t.reset_sent(1ms, kAbortOnData).tick(5ms);
    ASSERT_EQ(t.endings.size(), 2u);
    EXPECT_EQ(name(t.endings.back().reason), name(CloseReason::late_data_rst));
    EXPECT_EQ(t.endings.back().time_wait, false);
}

TEST(Reason, WhereNeitherTimeWaitSocketNorResetWasSeenItIsUnknown) {
    Trail& t = hook_heard().connect(B, A).established(1ms).fin_sent(1ms).fin_acked(1ms).closed(
        1ms, {.close_flags = TT_C_DEAD});
    t.tick(60ms);
    ASSERT_EQ(t.endings.size(), 2u);
    EXPECT_EQ(name(t.endings.back().reason), name(CloseReason::unknown));
    EXPECT_EQ(t.endings.back().time_wait, std::nullopt);
}

TEST(Reason, ALostRecordAboutAnOwnerLeavesTheReason) {
    const Facts by_last_ack{.flags = TT_F_OWNED, .close_flags = TT_C_DEAD | TT_C_DONE};
    Trail& t = trail().connect(B, A).established(1ms).others_lost(1, 1ms, TT_F_OWNERS);
    t.fin_received(1ms).fin_sent(1ms).closed(1ms, by_last_ack).tick(5ms);
    EXPECT_EQ(name(t.ended().reason), name(CloseReason::remote_fin));
    EXPECT_EQ(t.table().trace_end().lost_other, 1u);
}

}  // namespace
}  // namespace tcptrail::test
