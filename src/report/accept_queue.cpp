// SPDX-License-Identifier: Apache-2.0
#include "report/accept_queue.h"

#include <algorithm>

namespace tcptrail::report {
namespace {

template <typename T>
const T* as(const tt_head& head) {
    return head.size >= sizeof(T) ? reinterpret_cast<const T*>(&head) : nullptr;
}

State old_of(const tt_head& head) {
    return static_cast<State>(head.old_state);
}

State new_of(const tt_head& head) {
    return static_cast<State>(head.new_state);
}

constexpr std::size_t most_held = 1 << 16;  // they are io_uring's then, and no snapshot comes to say so

}  // namespace

std::uint32_t AcceptQueue::high() const {
    const std::uint32_t most = std::max(high_seen, limit + 1);  // one over the limit is the kernel's way
    return exact ? std::max(high_seen, std::min(high_events, most)) : high_seen;
}

void AcceptQueues::take(const tt_head& record) {
    switch (record.type) {
        case TT_OPEN:
            if (const auto* open = as<tt_open>(record)) {
                on_step(open->step, open->listener);
            }
            break;
        case TT_STEP:
            if (const auto* step = as<tt_step>(record)) {
                on_step(*step, 0);
            }
            break;
        case TT_CLOSE:
            if (const auto* close = as<tt_close>(record)) {
                on_close(*close);
            }
            break;
        case TT_ACCEPT:
            if (const auto* step = as<tt_step>(record)) {
                on_accept(*step);
            }
            break;
        case TT_DESTROY:
            if (const auto* step = as<tt_step>(record)) {
                const auto found = children_.find(step->cookie);
                found != children_.end() && found->second.held ? escaped(step->cookie) : leave(step->cookie);
            }
            break;
        case TT_SOCKET:
            if (const auto* row = as<tt_socket>(record)) {
                on_socket(*row);
            }
            break;
        case TT_SNAPSHOT:
            if (const auto* mark = as<tt_snapshot>(record)) {
                on_snapshot(*mark);
            }
            break;
        case TT_COUNTERS:
            if (const auto* counters = as<tt_counters>(record)) {
                on_counters(*counters);
            }
            break;
        default: break;
    }
}

const AcceptQueue* AcceptQueues::find(std::uint64_t listener) const {
    const auto found = queues_.find(listener);
    return found != queues_.end() ? &found->second : nullptr;
}

void AcceptQueues::clear() {
    for (auto& [cookie, queue] : queues_) {
        queue.high_events = queue.waiting + queue.older;
        queue.high_seen = 0;
        queue.exact = true;
        queue.established = queue.accepted = 0;
        queue.waits_ns = {};
    }
}

AcceptQueue* AcceptQueues::known(std::uint64_t listener) {
    return const_cast<AcceptQueue*>(find(listener));
}

void AcceptQueues::establish(Child& child, MonoNs time) {
    AcceptQueue& to = queue(child.listener);
    ++to.established;
    if (child.accepted) {
        to.waits_ns.add(0);
        return;
    }
    child.since = time;
    ++to.waiting;
    to.high_events = std::max(to.high_events, to.waiting + to.older);
}

void AcceptQueues::leave(std::uint64_t cookie) {
    const auto found = children_.find(cookie);
    if (found == children_.end()) {
        return;
    }
    if (AcceptQueue* const from = known(found->second.listener); from != nullptr && found->second.since != 0) {
        from->waiting -= from->waiting > 0 ? 1 : 0;
    }
    children_.erase(found);
}

void AcceptQueues::hold(std::uint64_t cookie) {
    if (const auto found = children_.find(cookie); found != children_.end() && !found->second.held) {
        found.value().held = true;
        held_.push_back(cookie);
        if (held_.size() == most_held) {
            let_go();
        }
    }
}

void AcceptQueues::let_go() {
    for (const std::uint64_t cookie : held_) {
        if (const auto found = children_.find(cookie); found != children_.end() && found->second.held) {
            escaped(cookie);
        }
    }
    held_.clear();
}

void AcceptQueues::escaped(std::uint64_t cookie) {
    if (const auto found = children_.find(cookie); found != children_.end()) {
        if (AcceptQueue* const from = known(found->second.listener)) {
            from->exact = false;
        }
        leave(cookie);
    }
}

void AcceptQueues::on_step(const tt_step& step, std::uint64_t listener) {
    if (listener != 0 && listener != step.cookie &&
        (old_of(step.head) == State::listen || old_of(step.head) == State::syn_recv)) {
        children_[step.cookie].listener = listener;
    }
    if (old_of(step.head) == State::syn_recv) {
        const auto found = children_.find(step.cookie);
        if (found != children_.end() && found->second.since == 0) {
            establish(found.value(), step.head.time);
            if (found->second.accepted) {
                children_.erase(found);
            }
        }
    } else if ((step.head.flags & TT_F_HAS_SOCKET) != 0) {
        hold(step.cookie);
    }
}

void AcceptQueues::on_close(const tt_close& close) {
    const tt_head& head = close.step.head;
    if (old_of(head) == State::listen) {
        queues_.erase(close.step.cookie);
        return;
    }
    if (old_of(head) == State::syn_recv) {
        leave(close.step.cookie);
    } else if ((head.flags & TT_F_HAS_SOCKET) != 0 || (close.close_flags & TT_C_DEAD) != 0) {
        hold(close.step.cookie);  // not yet escaped: what the peer sent may be worked off within accept() itself
    }                             // else it is closed and waits on: accept() will take it all the same
}

void AcceptQueues::on_accept(const tt_step& step) {
    if (const auto found = children_.find(step.cookie); found != children_.end()) {
        if (found->second.since == 0) {
            ++queue(found->second.listener).accepted;
            found.value().accepted = true;
            return;
        }
        if (AcceptQueue* const from = known(found->second.listener)) {
            ++from->accepted;
            from->waits_ns.add(step.head.time - found->second.since);
        }
        leave(step.cookie);
        return;
    }
    const track::Connection* const connection = table_.connection(step.cookie);
    for (auto& [cookie, from] : queues_) {
        if (from.older > 0 && connection != nullptr && from.lport == connection->ends.lport &&
            from.netns == connection->ends.netns) {
            --from.older;
            ++from.accepted;
            return;
        }
    }
}

void AcceptQueues::on_socket(const tt_socket& row) {
    if (new_of(row.head) == State::listen) {
        const bool fresh = known(row.cookie) == nullptr;
        AcceptQueue& shown = queue(row.cookie);
        shown.netns = row.netns;
        shown.lport = row.head.lport;
        shown.limit = row.max_ack_backlog;
        shown.high_seen = std::max(shown.high_seen, row.ack_backlog);
        const std::uint32_t unexplained = row.ack_backlog > shown.waiting ? row.ack_backlog - shown.waiting : 0;
        shown.exact = shown.exact && (!fresh || anew_ || unexplained == 0);
        shown.older = anew_ || fresh ? unexplained : std::min(shown.older, unexplained);
        shown.high_events = std::max(shown.high_events, shown.waiting + shown.older);
        return;
    }
    if (row.inode != 0) {
        hold(row.cookie);
    }
}

/// Between the moment in which a process gets a connection and the one in which the hook tells lies next to nothing: an
/// accept that has not been told by the end of the snapshot will not be.
void AcceptQueues::on_snapshot(const tt_snapshot& mark) {
    if ((mark.what & TT_SNAP_MARK) == 0 || (mark.head.flags & TT_F_END) == 0) {
        return;
    }
    let_go();
    anew_ = false;
    std::erase_if(queues_,
                  [&](const auto& queue) {  // those whose close was lost: the tracker keeps each listener that stands
                      return table_.connection(queue.first) == nullptr;
                  });
}

void AcceptQueues::on_counters(const tt_counters& counters) {
    const std::uint64_t lost = counters.lost + counters.lost_other + counters.missed;
    if (lost == lost_) {
        return;
    }
    lost_ = lost;
    anew_ = true;
    children_.clear();
    for (auto& [cookie, queue] : queues_) {
        queue.waiting = queue.older = 0;
        queue.exact = false;
    }
}

}  // namespace tcptrail::report
