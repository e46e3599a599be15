// SPDX-License-Identifier: Apache-2.0
#include "truth.h"

namespace tcptrail::live {

Side Side::connecting(const Tuple& tuple, const Who& client) {
    Side side;
    side.name = client.comm;
    side.tuple = tuple;
    side.role = Role::active;
    side.owner = {client, "connect"};
    side.step("CLOSE", "SYN_SENT", Named{client});
    return side;
}

Side Side::active(const Tuple& tuple, const Who& client) {
    Side side = connecting(tuple, client);
    side.step("SYN_SENT", "ESTABLISHED");
    side.established = true;
    return side;
}

Side Side::queued(const Tuple& tuple, const Who& listener) {
    Side side;
    side.name = listener.comm;
    side.tuple = tuple;
    side.role = Role::passive;
    side.owner = {listener, "inherited"};
    side.step("LISTEN", "SYN_RECV").step("SYN_RECV", "ESTABLISHED");
    side.established = true;
    return side;
}

Side Side::passive(const Tuple& tuple, const Who& listener, const Who& acceptor) {
    Side side = queued(tuple, listener);
    side.name = acceptor.comm;
    side.owner = {acceptor, "accept"};
    return side;
}

Side Side::listening(const Tuple& tuple, const Who& owner, const Who& closer) {
    Side side;
    side.name = owner.comm + " (listener)";
    side.tuple = tuple;
    side.role = Role::listener;
    side.owner = {owner, "listen"};
    side.step("CLOSE", "LISTEN", Named{owner}).step("LISTEN", "CLOSE", Named{closer});
    return side;
}

Side Side::older(const Tuple& tuple, Role role, const OwnerTruth& owner) {
    Side side;
    side.name = owner.who.comm.empty() ? "nobody" : owner.who.comm;
    side.tuple = tuple;
    side.role = role;
    side.owner = owner;
    side.before_trace = true;
    side.established = true;
    return side;
}

Side& Side::step(const std::string& from, const std::string& to, std::optional<Named> actor, Mini mini) {
    steps.push_back({from, to, owner, std::move(actor), mini});
    return *this;
}

Side& Side::closes_first(const Who& who, Mini mini) {
    step("ESTABLISHED", "FIN_WAIT1", Named{who});
    step("FIN_WAIT1", "FIN_WAIT2");
    step("FIN_WAIT2", "TIME_WAIT", {}, mini);
    reason = "local_fin";
    time_wait = true;
    return closed_by(who);
}

Side& Side::closes_second(const Who& who) {
    step("ESTABLISHED", "CLOSE_WAIT");
    step("CLOSE_WAIT", "LAST_ACK", Named{who});
    step("LAST_ACK", "CLOSE");
    reason = "remote_fin";
    return closed_by(who);
}

Side& Side::ends(const std::string& from, const std::string& why, std::optional<Named> actor) {
    step(from, "CLOSE", std::move(actor));
    reason = why;
    return *this;
}

Side& Side::because(const std::string& why) {
    reason = why;
    return *this;
}

Side& Side::closed_by(const Who& who, bool may_be_null) {
    closer = Named{who, may_be_null};
    return *this;
}

Side& Side::bytes(long sent, long received) {
    bytes_sent = sent;
    bytes_received = received;
    return *this;
}

Side& Side::is_generation(int number) {
    generation = number;
    return *this;
}

Side& Side::was_bound() {
    lport_from_start = true;
    return *this;
}

Side& Truth::add(Side side) {
    sides.push_back(std::move(side));
    return sides.back();
}

long Truth::transitions() const {
    long sum = 0;
    for (const Side& side : sides) {
        sum += static_cast<long>(side.steps.size());
    }
    return sum;
}

}  // namespace tcptrail::live
