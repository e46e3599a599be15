// SPDX-License-Identifier: Apache-2.0
// What really happened in a scene, by construction: one Side for each full socket, written as a story.
//     Side::active(tuple, client).closes_first(client)
// Plain facts; nothing here is taken from the program under test.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "arena.h"

namespace tcptrail::live {

/// A process that a row must name. Nobody: the network or a timer did it, or it cannot be known.
struct Named {
    Who who;
    bool may_be_null = false;  // the kernel's facts do not let every tracer tell
};

struct OwnerTruth {
    Who who;                      // pid 0: nobody can know; evidence is then `unknown`
    std::string evidence;         // as in the contract; several, parted by '|', where more than one way leads there
    std::vector<Who> or_else{};   // others that are as true (holders of one socket)
    bool may_be_unknown = false;  // the kernel's facts do not let every tracer tell
};

enum class Mini { no, yes, either };  // whether the time-wait socket was born waiting for the peer's FIN

struct Step {
    std::string from;
    std::string to;
    OwnerTruth owner;
    std::optional<Named> actor;
    Mini mini = Mini::no;
};

enum class Role { active, passive, listener };

struct Side {
    static Side active(const Tuple& tuple, const Who& client);
    /// Accepted by `acceptor`, a child of the listener that `listener` made; accepted before anything else happened.
    static Side passive(const Tuple& tuple, const Who& listener, const Who& acceptor);
    /// A child that nobody accepted.
    static Side queued(const Tuple& tuple, const Who& listener);
    static Side listening(const Tuple& tuple, const Who& owner, const Who& closer);
    /// A connect that began; it ends by ends_by().
    static Side connecting(const Tuple& tuple, const Who& client);
    /// A connection established before the trace began; `owner` as the snapshot must find it.
    static Side older(const Tuple& tuple, Role role, const OwnerTruth& owner);

    Side& step(const std::string& from, const std::string& to, std::optional<Named> actor = {}, Mini mini = Mini::no);
    /// FIN first from this side, by `who`'s close, shutdown or exit; leaves a time-wait socket.
    Side& closes_first(const Who& who, Mini mini = Mini::either);
    /// FIN after the peer's.
    Side& closes_second(const Who& who);
    /// The last step, `from` -> CLOSE, for `reason`; `actor` made it, if a process did.
    Side& ends(const std::string& from, const std::string& reason, std::optional<Named> actor = {});
    Side& because(const std::string& why);
    /// Who sent the first FIN or RST on this side.
    Side& closed_by(const Who& who, bool may_be_null = false);
    Side& bytes(long sent, long received);
    Side& is_generation(int number);
    /// bind() before connect(): the local port is known from the first step on.
    Side& was_bound();

    std::string name;               // for messages
    Tuple tuple;                    // lport 0: none was ever given
    bool any_thread = false;        // the thread's name is the kernel's choice
    bool lport_from_start = false;  // bound before connect(): known at CLOSE -> SYN_SENT
    Role role = Role::active;
    int generation = 0;
    std::vector<Step> steps;
    OwnerTruth owner;  // at the end
    std::optional<Named> closer;
    std::string reason;
    bool time_wait = false;
    bool time_wait_may_end = false;  // the time-wait socket is killed under the trace
    bool before_trace = false;
    bool established = false;
    std::optional<long> bytes_sent;
    std::optional<long> bytes_received;
};

struct Truth {
    std::vector<Side> sides;

    Side& add(Side side);
    /// Transitions that the tracepoint makes for all this.
    long transitions() const;
};

}  // namespace tcptrail::live
