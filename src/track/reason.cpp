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

CloseReason failed_connect(const tt_close& close) {
    switch (close.sk_err) {
        case ECONNREFUSED: return CloseReason::refused;
        case ETIMEDOUT: return CloseReason::connect_timeout;
        case EHOSTUNREACH:
        case ENETUNREACH: return CloseReason::unreachable;
        case 0:
            // connect() sets SYN_SENT before it looks for a port, and falls back at once when there is none.
            if (close.segs_out == 0 && close.shutdown == 0 && close.step.head.lport == 0 && flag(close, TT_F_OWNED)) {
                return CloseReason::no_local_port;
            }
            return CloseReason::connect_cancelled;
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
            // Keepalive gives up with a RST before the transition; a retransmission gives up in silence.
            if (close.retransmits == 0 && close.probes_out > 0 && resets.sent) {
                return CloseReason::keepalive_timeout;
            }
            return CloseReason::retransmit_timeout;
    }
}

CloseReason without_error(const tt_close& close, const Resets& resets) {
    const State old = old_state(close);
    const bool held = flag(close, TT_F_OWNED) && flag(close, TT_F_HAS_SOCKET);
    switch (old) {
        case State::fin_wait2:
            if (held && !fact(close, TT_C_DEAD) && close.shutdown != kBothShut && !fact(close, TT_C_DONE)) {
                return CloseReason::disconnect;
            }
            return CloseReason::local_fin;
        case State::closing: return CloseReason::simultaneous_fin;
        case State::last_ack:
            return resets.sent && resets.sent_reason == kResetAbortOnMemory ? CloseReason::resource
                                                                            : CloseReason::remote_fin;
        case State::fin_wait1:
            if (held && !fact(close, TT_C_DEAD) && close.shutdown != kBothShut) {
                return CloseReason::disconnect;
            }
            return CloseReason::resource;
        case State::established:
        case State::close_wait:
        case State::syn_recv: {
            if (!flag(close, TT_F_HAS_SOCKET) && !flag(close, TT_F_OWNED)) {
                return CloseReason::listener_closed;
            }
            const std::uint32_t fin = fact(close, TT_C_DONE) ? 1 : 0;
            if (close.shutdown == kBothShut) {
                return close.unread > fin ? CloseReason::unread_data_rst : CloseReason::linger_rst;
            }
            return held ? CloseReason::disconnect : CloseReason::unknown;
        }
        default: return CloseReason::unknown;
    }
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
        case EPIPE:
            // tcp_reset() runs for data that came for a closed socket too: the RST that was sent tells.
            if (resets.sent && (resets.sent_reason == kResetAbortOnData || resets.sent_reason == 0)) {
                return CloseReason::late_data_rst;
            }
            return CloseReason::rst_received;
        case ETIMEDOUT:
        case EHOSTUNREACH:
        case ENETUNREACH: return timed_out(close, resets);
        default: return CloseReason::unknown;
    }
}

bool awaits_reset(const tt_close& close) {
    const State old = old_state(close);
    if (close.sk_err == ECONNRESET && fact(close, TT_C_DEAD)) {
        return true;
    }
    return close.sk_err == 0 && old == State::last_ack && flag(close, TT_F_OWNED);
}

bool enters_time_wait(const tt_close& close) {
    const State old = old_state(close);
    if ((old != State::fin_wait2 && old != State::closing) || close.sk_err != 0) {
        return false;
    }
    if (without_error(close, {}) == CloseReason::disconnect) {
        return false;
    }
    return !(fact(close, TT_C_LINGER2) && !fact(close, TT_C_DONE));
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
            return old == State::listen || old == State::established || old == State::close_wait ||
                   old == State::syn_sent || old == State::syn_recv;
        default: return false;  // what a backlog holds is the network's doing, whoever releases the lock
    }
}

}  // namespace tcptrail::track
