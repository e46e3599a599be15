// SPDX-License-Identifier: Apache-2.0
// What snapshots add: sockets older than the trace, their holders, and the end of what was lost.
#include <algorithm>
#include <cstring>

#include "table.h"

namespace tcptrail {

using track::Connection;

void ConnectionTable::on_snapshot(const tt_snapshot& record) {
    const bool end = (record.head.flags & TT_F_END) != 0;
    snapshot_open_ = true;
    if ((record.what & TT_SNAP_MARK) != 0 && end) {
        if (!snapshot_done_) {
            inherit_queued();
            make_room();
        }
        snapshot_done_ = true;
        snapshot_open_ = false;
        ended_.clear();
    }
    if ((record.what & TT_SNAP_SOCKETS) == 0) {
        return;
    }
    if (!end) {
        snapshot_began_ = record.head.time;
        ++snapshot_;
        return;
    }
    if ((record.what & TT_SNAP_FIRST) == 0) {
        sweep(record.netns);
    }
}

/// A machine that had so many time-wait sockets before the trace will have as many of the trace's soon, and a flood is no time to
/// fetch their memory: where the machine is a guest, that was a quarter of what `timewait` took.
void ConnectionTable::make_room() {
    constexpr std::size_t at_most = std::size_t{1} << 18;  // 45 MiB; tcp_max_tw_buckets of a large machine
    if (limits_.rows) {
        connections_.make_room(std::min({older_time_wait_, at_most, limits_.connections}));
    }
}

void ConnectionTable::on_socket(const tt_socket& row) {
    const auto state = static_cast<State>(row.head.new_state);
    older_time_wait_ += state == State::time_wait && !snapshot_done_ ? 1 : 0;
    if (row.cookie == 0 || state == State::new_syn_recv) {
        return;
    }
    const bool queued = (row.head.flags & TT_F_HAS_SOCKET) == 0 && (row.close_flags & TT_C_DEAD) == 0 &&
                        (state == State::established || state == State::close_wait);
    Connection* connection = find_connection(row.cookie);
    if (connection != nullptr) {
        connection->seen = snapshot_;
        connection->queued = queued;
        connection->bound |= connection->before_trace && (row.head.flags & TT_F_BOUND) != 0;
        if (state == State::time_wait && undecided_.contains(row.cookie)) {
            release(row.cookie);  // here it is
            return;
        }
        if (state == State::time_wait && connection->state != State::time_wait && !connection->held &&
            row.head.time > connection->last_time) {
            unseen_due_.push_back(row);
            return;
        }
        if (state != State::time_wait && connection->state != State::time_wait && connection->state != state &&
            row.head.time > connection->last_time && !connection->held) {
            mark_incomplete(*connection);  // a transition between the last one and now was lost
            connection->state = state;
            connection->last_time = row.head.time;
            connection->in_state_known = false;
        }
        if (connection->addresses) {
            return;
        }
    } else {
        const bool dormant =
            state != State::listen && dormant_.contains(row.cookie);  // a listener's row can only be newer
        if (state == State::time_wait || state == State::close || dormant) {
            return;
        }
        if (const auto ended = ended_.find(row.cookie); ended != ended_.end() && row.head.time <= ended->second) {
            return;  // the row was read before the end that the stream told first
        }
        connection = &create(row.cookie);
        connection->before_trace = true;
        connection->bound = (row.head.flags & TT_F_BOUND) != 0;
        connection->state = state;
        connection->last_time = row.head.time;
        connection->seen = snapshot_;
        connection->queued = queued;
        if (snapshot_done_) {
            mark_incomplete(*connection);  // it was opened under the trace, and that was lost
        }
    }
    tt_open open{};
    open.step.head = row.head;
    open.step.cookie = row.cookie;
    open.netns = row.netns;
    open.family = row.family;
    open.rport = row.rport;
    std::memcpy(open.laddr, row.laddr, sizeof(open.laddr));
    std::memcpy(open.raddr, row.raddr, sizeof(open.raddr));
    open.listener = state == State::listen ? 0 : row.listener;
    adopt(*connection, open);
}

/// It stood in TIME_WAIT when a snapshot was taken. Nothing told of its end since: its last transitions were lost.
void ConnectionTable::end_unseen(const tt_socket& row) {
    Connection* const found = find_connection(row.cookie);
    if (found == nullptr || found->held || found->state == State::time_wait || found->last_time >= row.head.time) {
        return;
    }
    Connection& connection = *found;
    mark_incomplete(connection);
    tt_close close{};
    close.step.head.time = row.head.time;
    close.step.head.old_state = static_cast<std::uint8_t>(connection.state);
    if (row.head.old_state == static_cast<std::uint8_t>(State::time_wait)) {
        close.close_flags = TT_C_DONE;
    } else {  // the timer of a dead FIN_WAIT2; TIME_WAIT may follow it
        close.fin_timeout_s = static_cast<tt_u16>(std::min<std::uint32_t>(row.remaining_ms / 1000, 0xffff));
    }
    finish(connection, close);
    if (limits_.rows) {
        enter_time_wait(connection, close);
    } else {
        erase(row.cookie);
    }
}

/// Sockets of the namespace that stood before this snapshot and are not in it have ended unseen.
void ConnectionTable::sweep(std::uint32_t netns) {
    std::vector<std::uint64_t> gone;
    connections_.each([&](const Connection& connection) {
        if (!connection.held && connection.addresses && connection.ends.netns == netns &&
            connection.seen != snapshot_ && connection.last_time < snapshot_began_ &&
            connection.state != State::syn_sent) {
            gone.push_back(connection.cookie);
        }
    });
    std::sort(gone.begin(), gone.end());
    for (const std::uint64_t cookie : gone) {
        Connection* connection = find_connection(cookie);
        if (connection->state == State::time_wait) {
            end_time_wait(cookie, now_, true);
            continue;
        }
        mark_incomplete(*connection);
        if (connection->state != State::listen) {
            tt_close close{};
            close.step.head.time = now_;
            close.step.head.old_state = static_cast<std::uint8_t>(connection->state);
            finish(*connection, close);
        }
        erase(cookie);
    }
}

}  // namespace tcptrail
