// SPDX-License-Identifier: Apache-2.0
// Why a connection ended: the decision table, on what the last transition showed.
#pragma once

#include <tcptrail/rows.h>
#include <tcptrail/wire.h>

namespace tcptrail::track {

/// What was seen of RSTs on this socket.
struct Resets {
    bool sent = false;
    bool received = false;
    std::uint32_t sent_reason = 0;  // enum sk_rst_reason; 0: none given
    bool sent_last = false;         // after the last transition
    bool complete = true;           // no RST went by unseen
};

/// sk_rst_reason values that tell something (include/net/rstreason.h, 6.10 and later).
inline constexpr std::uint32_t kResetAbortOnData = 8;
inline constexpr std::uint32_t kResetAbortOnMemory = 13;

CloseReason reason_of(const tt_close& close, const Resets& resets);
/// A RST that follows the transition may still change the answer.
bool awaits_reset(const tt_close& close);
/// The last transition leaves a time-wait socket behind, if there is room for one, and if nothing that
/// may_abort_late() speaks of follows.
bool enters_time_wait(const tt_close& close);
/// An orphan's last step looks the same whether a time-wait socket takes its place, or the segment that acknowledged its
/// FIN brought data too, or memory ran out: then no time-wait socket is made, and a RST follows.
bool may_abort_late(const tt_close& close);
/// The current task, holding the lock, made this transition itself; the network could not have.
bool made_by_actor(const tt_step& step, const tt_close* close);

}  // namespace tcptrail::track
