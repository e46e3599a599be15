// SPDX-License-Identifier: Apache-2.0
#include "reason.h"

#include <cerrno>

namespace tcptrail::track {

namespace {

State old_state(const tt_close& close) {
    return static_cast<State>(close.step.head.old_state);
}

bool flag(const tt_close& close, tt_flags wanted) {
    return (close.step.head.flags & wanted) != 0;
}

bool fact(const tt_close& close, tt_close_flags wanted) {
    return (close.close_flags & wanted) != 0;
}

constexpr std::uint8_t kBothShut = 3;  // RCV_SHUTDOWN | SEND_SHUTDOWN

/// A system call of a process that still has the descriptor.
bool by_holder(const tt_close& close) {
    return flag(close, TT_F_OWNED) && flag(close, TT_F_HAS_SOCKET) && !fact(close, TT_C_DEAD);
}

bool has_unread_data(const tt_close& close) {
    return close.unread > (fact(close, TT_C_DONE) ? 1U : 0U);
}

CloseReason failed_connect(const tt_close& close) {
    switch (close.sk_err) {
        case ECONNREFUSED: return CloseReason::refused;
        case ETIMEDOUT: return CloseReason::connect_timeout;
        case EHOSTUNREACH:  // what ICMP says, net/ipv4/icmp.c and net/ipv6/icmp.c
        case ENETUNREACH:
        case EHOSTDOWN:
        case ENONET:
        case ENOPROTOOPT:
        case EOPNOTSUPP:
        case EPROTO:
        case EACCES: return CloseReason::unreachable;
        case 0:
            // connect() sets SYN_SENT before it looks for a port, and falls back at once when there is none.
            if (close.segs_out == 0 && close.shutdown == 0 && flag(close, TT_F_OWNED)) {
                return close.step.head.lport == 0 ? CloseReason::no_local_port : CloseReason::unknown;
            }
            // In softirq it was a timer or an ICMP message, and before 6.10 the process may take sk_err away before we look.
            return flag(close, TT_F_OWNED) ? CloseReason::connect_cancelled : CloseReason::unknown;
        case ECONNRESET: return CloseReason::rst_received;
        default: return CloseReason::unknown;
    }
}

CloseReason timed_out(const tt_close& close, const Resets& resets) {
    switch (old_state(close)) {
        case State::fin_wait1:
        case State::closing: return CloseReason::fin_wait1_timeout;
        case State::fin_wait2: return CloseReason::fin_wait2_timeout;
        case State::last_ack: return CloseReason::last_ack_timeout;
        default:
            // Keepalive gives up with a RST before the transition; a retransmission gives up in silence, also where
            // nothing left this machine and no retransmission counted.
            if (close.retransmits != 0 || close.probes_out == 0 || !fact(close, TT_C_KEEPOPEN)) {
                return CloseReason::retransmit_timeout;
            }
            if (resets.sent) {
                return CloseReason::keepalive_timeout;
            }
            return resets.complete ? CloseReason::retransmit_timeout : CloseReason::unknown;
    }
}

/// close() of a descriptor that answers by RST where it would have sent a FIN, or after it had sent one.
CloseReason reset_by_holder(const tt_close& close) {
    if (close.shutdown != kBothShut) {
        return CloseReason::disconnect;
    }
    if (has_unread_data(close)) {
        return CloseReason::unread_data_rst;
    }
    return fact(close, TT_C_LINGER) ? CloseReason::linger_rst : CloseReason::unknown;
}

/// tcp_check_oom(): too many orphans, or no memory. Kernels before 6.10 give no reason for the RST.
bool out_of_resources(const tt_close& close, const Resets& resets) {
    return resets.sent && fact(close, TT_C_DEAD) &&
           (resets.sent_reason == kResetAbortOnMemory || resets.sent_reason == 0);
}

CloseReason dead_fin_wait2(const tt_close& close, const Resets& resets) {
    if (fact(close, TT_C_LINGER2)) {
        return CloseReason::linger_rst;
    }
    if (resets.sent && resets.sent_reason == kResetAbortOnMemory) {
        return CloseReason::resource;
    }
    if (resets.sent_last) {
        return CloseReason::late_data_rst;
    }
    if (resets.sent) {
        return CloseReason::fin_wait2_timeout;
    }
    return resets.complete ? CloseReason::local_fin : CloseReason::unknown;
}

CloseReason without_error(const tt_close& close, const Resets& resets) {
    switch (old_state(close)) {
        case State::fin_wait2:
            if (fact(close, TT_C_DONE)) {
                return CloseReason::local_fin;
            }
            return fact(close, TT_C_DEAD) ? dead_fin_wait2(close, resets) : reset_by_holder(close);
        case State::closing:
            return out_of_resources(close, resets) ? CloseReason::resource : CloseReason::simultaneous_fin;
        case State::last_ack:
            if (out_of_resources(close, resets)) {
                return CloseReason::resource;
            }
            if (!resets.complete && !resets.sent && flag(close, TT_F_OWNED)) {
                return CloseReason::unknown;
            }
            return resets.sent_last && by_holder(close) ? reset_by_holder(close) : CloseReason::remote_fin;
        case State::fin_wait1:
            if (by_holder(close)) {
                return reset_by_holder(close);
            }
            return out_of_resources(close, resets) ? CloseReason::resource : CloseReason::unknown;
        case State::established:
        case State::close_wait:
        case State::syn_recv:
            if (!flag(close, TT_F_HAS_SOCKET) && !flag(close, TT_F_OWNED)) {
                return CloseReason::listener_closed;
            }
            return by_holder(close) || close.shutdown == kBothShut ? reset_by_holder(close) : CloseReason::unknown;
        default: return CloseReason::unknown;
    }
}

/// A RST that was received, or tcp_reset() for data that came after the process had stopped to receive: the RST sent tells.
CloseReason reset(const tt_close& close, const Resets& resets) {
    const State old = old_state(close);
    const bool receives_no_more = old != State::established && old != State::syn_recv && old != State::close_wait;
    const bool for_data = resets.sent_reason == kResetAbortOnData || resets.sent_reason == 0;
    constexpr std::uint8_t receive = 1;  // RCV_SHUTDOWN
    if (!resets.complete && !resets.sent && receives_no_more && (close.shutdown & receive) != 0) {
        return CloseReason::unknown;
    }
    return resets.sent && for_data && receives_no_more ? CloseReason::late_data_rst : CloseReason::rst_received;
}

}  // namespace

CloseReason reason_of(const tt_close& close, const Resets& resets) {
    if (close.sk_err == ECONNABORTED) {
        return CloseReason::sock_destroyed;
    }
    if (old_state(close) == State::syn_sent) {
        return failed_connect(close);
    }
    switch (close.sk_err) {
        case 0: return without_error(close, resets);
        case ECONNRESET:
        case EPIPE: return reset(close, resets);
        case ETIMEDOUT: return timed_out(close, resets);
        default:
            // tcp_write_err() prefers what ICMP has said meanwhile.
            return close.sk_err == close.sk_err_soft ? timed_out(close, resets) : CloseReason::unknown;
    }
}

bool awaits_reset(const tt_close& close) {
    constexpr std::uint8_t receive = 1;  // RCV_SHUTDOWN
    switch (old_state(close)) {
        case State::fin_wait1:
            if (close.sk_err == 0) {
                return fact(close, TT_C_DEAD);
            }
            [[fallthrough]];
        case State::fin_wait2: return close.sk_err == ECONNRESET && (close.shutdown & receive) != 0;
        case State::last_ack: return close.sk_err == 0 && flag(close, TT_F_OWNED);
        default: return close.sk_err == ECONNRESET && fact(close, TT_C_DEAD);
    }
}

bool enters_time_wait(const tt_close& close) {
    if (close.sk_err != 0) {
        return false;
    }
    switch (old_state(close)) {
        case State::closing: return true;
        case State::fin_wait2: return fact(close, TT_C_DONE) || (fact(close, TT_C_DEAD) && !fact(close, TT_C_LINGER2));
        default: return false;
    }
}

bool may_abort_late(const tt_close& close) {
    if (!enters_time_wait(close) || !fact(close, TT_C_DEAD)) {
        return false;
    }
    return old_state(close) == State::fin_wait2 ? !fact(close, TT_C_DONE) : flag(close, TT_F_OWNED);
}

bool made_by_actor(const tt_step& step, const tt_close* close) {
    if ((step.head.flags & TT_F_OWNED) == 0 || step.actor == 0) {
        return false;
    }
    const auto old = static_cast<State>(step.head.old_state);
    switch (static_cast<State>(step.head.new_state)) {
        case State::syn_sent:
        case State::listen:
        case State::fin_wait1:
        case State::last_ack: return true;
        case State::close:
            if (close == nullptr) {
                return old == State::listen;
            }
            if (close->sk_err == ECONNABORTED) {
                return true;
            }
            if (close->sk_err != 0) {
                return false;
            }
            if (old == State::fin_wait1 || old == State::fin_wait2) {  // after shutdown(): a RST, no time-wait socket
                return by_holder(*close) && !fact(*close, TT_C_DONE);
            }
            return old == State::listen || old == State::established || old == State::close_wait ||
                   old == State::syn_sent || old == State::syn_recv;
        default: return false;  // what a backlog holds is the network's doing, whoever releases the lock
    }
}

}  // namespace tcptrail::track
