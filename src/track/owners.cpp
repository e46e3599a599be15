// SPDX-License-Identifier: Apache-2.0
// Whose a connection is: what connects, accepts, listeners, holders and closes prove. A wrong owner is worse than none.
#include <algorithm>
#include <map>
#include <utility>
#include <vector>

#include "table.h"

namespace tcptrail {

using track::Connection;

namespace {

bool is_any(const Address& address) {
    return std::all_of(address.begin(), address.end(), [](std::uint8_t byte) { return byte == 0; });
}

/// Whether a SYN to `child`'s local end may have met `listener`; a child's socket is of its listener's family.
bool may_come_from(const Connection& child, const Connection& listener) {
    return child.ends.family == listener.ends.family &&
           (is_any(listener.ends.laddr) || listener.ends.laddr == child.ends.laddr);
}

}  // namespace

bool ConnectionTable::is_same_process(ProcessId a, ProcessId b) const {
    if (a == b) {
        return true;
    }
    const Process* one = processes_.find(a);
    const Process* other = processes_.find(b);
    return one != nullptr && other != nullptr && one->pid == other->pid && one->start_ns == other->start_ns;
}

/// Who made this transition; 0: the network, or nobody that can be known. Of another's socket a looker is not the closer.
ProcessId ConnectionTable::actor_of(const Connection& connection, const tt_step& step, const tt_close* close) {
    if (!track::made_by_actor(step, close)) {
        return 0;
    }
    const ProcessId actor = processes_.of_actor(step.actor);
    const bool looked = (step.head.flags & TT_F_LOOKED) != 0;
    return looked && !is_same_process(actor, connection.owner.process) ? ProcessId{0} : actor;
}

/// A child is its listener's until a process is seen to take it.
void ConnectionTable::inherit(Connection& child) {
    if (child.owner.process != 0 || child.accepted || child.listener == 0) {
        return;
    }
    const Connection* listener = find_connection(child.listener);
    if (listener != nullptr && listener->owner.process != 0 && !(child.taken && listener->shared)) {
        child.owner = {listener->owner.process, Evidence::inherited};
    }
}

/// What stood in an accept queue when the trace began carries no listener. Those of its port must all be one process's.
void ConnectionTable::inherit_queued() {
    const auto place = [](const Connection& connection) {
        return std::pair(connection.ends.netns, connection.ends.lport);
    };
    std::multimap<std::pair<std::uint32_t, std::uint16_t>, const Connection*> listeners;
    std::vector<std::uint64_t> children;
    connections_.each([&](const Connection& connection) {
        if (connection.state == State::listen) {
            if (connection.owner.process != 0) {
                listeners.emplace(place(connection), &connection);
            }
            return;
        }
        const bool born = connection.role == Role::passive && !connection.before_trace && !connection.taken;
        if (connection.owner.process == 0 && !connection.accepted && (connection.queued || born)) {
            children.push_back(connection.cookie);
        }
    });
    for (const std::uint64_t cookie : children) {
        Connection& child = *find_connection(cookie);
        const Connection* listener = nullptr;
        bool several = false;
        const auto range = listeners.equal_range(place(child));
        for (auto it = range.first; it != range.second; ++it) {
            if (may_come_from(child, *it->second)) {
                several |= listener != nullptr && !is_same_process(listener->owner.process, it->second->owner.process);
                listener = it->second;
            }
        }
        if (listener != nullptr && !several) {
            child.role = Role::passive;
            child.listener = listener->cookie;
            inherit(child);
        }
    }
}

/// `other` took a child of this listener: where that is not the listener's owner, an accept that nobody saw proves nothing.
void ConnectionTable::share_listener(const Connection& child, ProcessId other) {
    Connection* listener = child.listener != 0 ? find_connection(child.listener) : nullptr;
    if (listener != nullptr && other != 0 && listener->owner.process != 0 &&
        !is_same_process(listener->owner.process, other)) {
        listener->shared = true;
    }
}

void ConnectionTable::name_owner(Connection& connection, const tt_step& step, const tt_close* close) {
    const bool has_socket = (step.head.flags & TT_F_HAS_SOCKET) != 0;
    connection.taken = connection.taken || has_socket;
    if (connection.role == Role::passive) {
        inherit(connection);
    }
    // A process has it, and nobody was seen to accept it: io_uring, or no accept hook serves.
    const bool unseen = connection.role == Role::passive && !connection.accepted && has_socket &&
                        connection.owner.evidence == Evidence::inherited;
    if (!track::made_by_actor(step, close)) {
        const Connection* listener = unseen ? find_connection(connection.listener) : nullptr;
        if (listener != nullptr && listener->shared) {
            connection.owner = {};
        }
        return;
    }
    if (unseen && accept_hook_ == HookHeard::not_yet) {
        accept_hook_ = HookHeard::no;
    }
    const ProcessId actor = actor_of(connection, step, close);
    if (actor == 0 && (step.head.flags & TT_F_LOOKED) != 0) {
        return;
    }
    switch (static_cast<State>(step.head.new_state)) {
        case State::syn_sent: connection.owner = {actor, Evidence::connect}; return;
        case State::listen: connection.owner = {actor, Evidence::listen}; return;
        default: break;
    }
    if (has_socket && (connection.owner.process == 0 || unseen) && !connection.accepted &&
        !is_same_process(connection.owner.process, actor)) {
        connection.owner = {actor, Evidence::close};
        share_listener(connection, actor);
    }
}

void ConnectionTable::on_accept(const tt_step& step) {
    if (accept_hook_ != HookHeard::none) {
        accept_hook_ = HookHeard::yes;
    }
    if (!limits_.rows) {
        return;
    }
    Connection* connection = find_connection(step.cookie);
    // At the system call's exit another thread may have put another socket at the number. A socket that was accepted
    // before, that connected or that listens is such a one.
    if (connection == nullptr || connection->accepted || connection->role == Role::active ||
        connection->state == State::listen) {
        return;
    }
    const ProcessId actor = processes_.of_actor(step.actor);
    if (connection->owner.evidence == Evidence::snapshot && !is_same_process(connection->owner.process, actor)) {
        return;  // a process had it before
    }
    connection->accepted = true;
    connection->role = Role::passive;
    // No actor: the kernel itself took it (a kernel thread's listener).
    connection->owner = actor != 0 ? Owner{actor, Evidence::accept} : Owner{};
    share_listener(*connection, actor);
    if (held_.contains(step.cookie)) {
        release(step.cookie);
    }
}

void ConnectionTable::on_holder(const tt_holder& row) {
    const ProcessId holder = processes_.describe_holder(row);
    Connection* connection = find_connection(row.cookie);
    if (connection == nullptr || connection->held || (row.process.head.flags & TT_F_KTHREAD) != 0) {
        return;
    }
    const Evidence evidence = connection->owner.evidence;
    if ((evidence == Evidence::unknown && !connection->accepted) ||
        (evidence == Evidence::inherited && !connection->accepted)) {
        connection->owner = {holder, Evidence::snapshot};
        return;
    }
    if (connection->state == State::listen && !is_same_process(connection->owner.process, holder)) {
        connection->shared = true;
    }
    if (evidence == Evidence::snapshot) {
        // Several hold it (fork, a passed descriptor): the one that has run longest is the likeliest to have opened it.
        const Process* known = processes_.find(connection->owner.process);
        const Process* other = processes_.find(holder);
        if (known != nullptr && other != nullptr && other->start_ns < known->start_ns) {
            connection->owner.process = holder;
        }
    }
}

}  // namespace tcptrail
