// SPDX-License-Identifier: Apache-2.0
#include "report/look.h"

#include <algorithm>
#include <charconv>
#include <cstring>
#include <string_view>

#include <tcptrail/record_text.h>

#include "report/port_forecast.h"

namespace tcptrail::report {
namespace {

constexpr std::uint16_t inet6 = 10;             // AF_INET6
constexpr std::uint32_t time_wait_ms = 60'000;  // TCP_TIMEWAIT_LEN
constexpr std::uint32_t idle_from_ms = 60'000;

Address address_of(const tt_u8 (&bytes)[16]) {
    Address address{};
    std::memcpy(address.data(), bytes, sizeof(bytes));
    return address;
}

/// Counts rows into a Look. Listeners come first in add_all(), since they say which other sockets are a server's.
class Counter {
public:
    Counter(Look& look, const ConnectionTable& table, const Snapshot* snapshot, const std::set<std::uint16_t>& former)
        : look_(look), table_(table), snapshot_(snapshot), served_(former), range_(port_range(look.settings)) {}

    void add_all(const std::vector<tt_socket>& rows) {
        for (const tt_socket& row : rows) {
            if (state_of(row) == State::listen) {
                add_listener(row);
            }
            local_.insert(address_of(row.laddr));
        }
        for (const std::uint16_t port : served_) {
            look_.local_ports[port];
        }
        for (const tt_socket& row : rows) {
            add(row);
        }
        look_.bound_in_range = bound_.size();
    }

private:
    static State state_of(const tt_socket& row) { return static_cast<State>(row.head.new_state); }

    Who who_of_row(const tt_socket& row) const {
        if (const track::Connection* connection = table_.connection(row.cookie)) {
            if (const Process* process = known_process(connection->owner, table_)) {
                return who_of(process, connection->owner.evidence);
            }
        }
        if (snapshot_ != nullptr) {
            if (const auto held = snapshot_->holders.find(row.cookie);
                held != snapshot_->holders.end() && !held->second.empty()) {
                return who_of(table_.find(held->second.front().process), Evidence::snapshot);
            }
        }
        return {};
    }

    /// As the tracker saw it; else a port that connect() does not choose is a server's.
    bool is_passive(const tt_socket& row) const {
        if (const track::Connection* known = table_.connection(row.cookie);
            known != nullptr && known->role != Role::unknown) {
            return known->role == Role::passive;
        }
        return row.listener != 0 || served_.contains(row.head.lport) || !range_.has(row.head.lport);
    }

    void add_listener(const tt_socket& row) {
        ListenerFacts facts;
        facts.cookie = row.cookie;
        facts.family = row.family == inet6 ? Family::ipv6 : Family::ipv4;
        facts.laddr = address_of(row.laddr);
        facts.lport = row.head.lport;
        facts.who = who_of_row(row);
        facts.accept_queue = row.ack_backlog;
        facts.accept_limit = row.max_ack_backlog;
        facts.half_open = row.syn_qlen;
        facts.drops = row.drops;
        facts.chosen_port = (row.head.flags & TT_F_BOUND) != 0;
        served_.insert(facts.lport);
        if (range_.has(facts.lport)) {
            bound_.insert(facts.lport);
        }
        look_.listeners.push_back(std::move(facts));
    }

    void add(const tt_socket& row) {
        const State state = state_of(row);
        const bool waits_for_fin =
            state == State::time_wait && static_cast<State>(row.head.old_state) == State::fin_wait2;
        const std::uint16_t port = row.head.lport;
        const bool passive = is_passive(row);
        ++look_.states[waits_for_fin ? State::fin_wait2 : state == State::new_syn_recv ? State::syn_recv : state];
        switch (state) {
            case State::listen:
            case State::close:
            case State::none: return;
            case State::new_syn_recv:
                ++look_.half_open[port];
                ++look_.half_open_sources[address_of(row.raddr)];
                look_.half_open_family = row.family == inet6 ? Family::ipv6 : Family::ipv4;
                return;
            case State::time_wait: ++(passive ? look_.time_wait_passive : look_.time_wait_active); break;
            case State::close_wait: {
                const bool known = row.last_recv_ms != ~std::uint32_t{0};
                look_.close_wait[row.cookie] = {who_of_row(row), row.unread, known ? row.last_recv_ms : 0};
                break;
            }
            case State::established: add_idle(row); break;
            case State::syn_sent:
            case State::syn_recv:
            case State::fin_wait1:
            case State::fin_wait2:
            case State::last_ack:
            case State::closing: break;
        }
        if (waits_for_fin || (state == State::fin_wait2 && (row.head.flags & TT_F_HAS_SOCKET) == 0)) {
            ++look_.dead_fin_wait2;
        }
        const bool chosen = (row.head.flags & TT_F_BOUND) != 0;
        if (chosen && range_.has(port)) {
            bound_.insert(port);
        }
        if (row.listener == 0 && !chosen) {
            add_local_port(row, passive, waits_for_fin);
        }
    }

    /// A port that connect() chose, or a time-wait socket of which that is not known.
    void add_local_port(const tt_socket& row, bool passive, bool waits_for_fin) {
        const std::uint16_t port = row.head.lport;
        const bool time_wait = state_of(row) == State::time_wait;
        if (const auto found = look_.local_ports.find(port); found != look_.local_ports.end()) {
            LocalPort& local = found->second;
            if (time_wait) {
                ++local.time_wait;
                local.time_wait_without_reuse += row.reuse == 0 ? 1 : 0;
            } else if (const track::Connection* known = table_.connection(row.cookie);
                       known != nullptr && known->role == Role::active) {
                // While the listener stood, connect() could not choose its port: these were opened under the trace.
                ++local.outgoing;
                local.outgoing_who = who_of_row(row);
            }
        }
        if (passive || !range_.has(port)) {
            return;
        }
        const Destination to{row.family == inet6 ? Family::ipv6 : Family::ipv4, address_of(row.laddr),
                             address_of(row.raddr), row.rport};
        PortsTowards& use = look_.destinations[to];
        if (time_wait) {
            ++use.time_wait;
            const std::uint32_t delay =
                static_cast<std::uint32_t>(look_.setting("net.ipv4.tcp_tw_reuse_delay").value_or(1000));
            use.young_time_wait += waits_for_fin || row.remaining_ms + delay > time_wait_ms ? 1 : 0;
        } else {
            ++use.live;
        }
        Who who = who_of_row(row);
        Holding& holding = use.holders[key_of(who.process ? &*who.process : nullptr)];
        ++holding.ports;
        if (!holding.who.process) {
            holding.who = std::move(who);
        }
    }

    void add_idle(const tt_socket& row) {
        const Address raddr = address_of(row.raddr);
        const Family family = row.family == inet6 ? Family::ipv6 : Family::ipv4;
        if (row.last_recv_ms == ~0U || row.last_recv_ms < idle_from_ms || is_loopback(raddr, family) ||
            local_.contains(raddr)) {
            return;
        }
        IdleConnection idle{who_of_row(row), family, raddr, row.rport, row.last_recv_ms / 1000, std::nullopt};
        if ((row.close_flags & TT_C_KEEPOPEN) != 0) {
            idle.keepalive_s =
                row.keepalive_s != 0
                    ? row.keepalive_s
                    : static_cast<std::uint64_t>(look_.setting("net.ipv4.tcp_keepalive_time").value_or(7200));
        }
        look_.idle.push_back(std::move(idle));
    }

    Look& look_;
    const ConnectionTable& table_;
    const Snapshot* snapshot_;
    std::set<std::uint16_t> served_;  // ports of listeners, former ones too
    std::set<std::uint16_t> bound_;
    std::set<Address> local_;
    PortRange range_;
};

tt_socket row_of(const track::Connection& connection) {
    tt_socket row{};
    row.head.type = TT_SOCKET;
    row.head.new_state = static_cast<std::uint8_t>(connection.state);
    row.head.lport = connection.ends.lport;
    row.cookie = connection.cookie;
    row.netns = connection.ends.netns;
    row.family = connection.ends.family == Family::ipv6 ? inet6 : std::uint16_t{2};
    row.rport = connection.ends.rport;
    std::memcpy(row.laddr, connection.ends.laddr.data(), sizeof(row.laddr));
    std::memcpy(row.raddr, connection.ends.raddr.data(), sizeof(row.raddr));
    row.last_recv_ms = ~0U;
    row.head.flags = TT_F_HAS_SOCKET;
    row.listener = connection.role == Role::passive ? 1 : 0;
    row.reuse = 1;
    return row;
}

}  // namespace

std::optional<std::int64_t> Look::setting(const std::string& name) const {
    const auto found = settings.find(name);
    return found != settings.end() ? number_in(found->second) : std::nullopt;
}

std::optional<std::int64_t> Look::counter(const std::string& name) const {
    const auto found = counters.find(name);
    return found != counters.end() ? std::optional(found->second) : std::nullopt;
}

std::uint64_t Look::count(State state) const {
    const auto found = states.find(state);
    return found != states.end() ? found->second : 0;
}

std::uint64_t PortRange::size() const {
    const auto reserved_inside = std::count_if(reserved.begin(), reserved.end(),
                                               [this](std::uint16_t port) { return port >= low && port <= high; });
    return high < low ? 0 : static_cast<std::uint64_t>(high - low + 1 - reserved_inside);
}

PortRange port_range(const std::map<std::string, std::string>& settings) {
    PortRange range;
    const auto number = [](std::string_view& text) {
        unsigned value = 0;
        const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
        text.remove_prefix(static_cast<std::size_t>(end - text.data()));
        return static_cast<std::uint16_t>(value);
    };
    if (const auto found = settings.find("net.ipv4.ip_local_port_range"); found != settings.end()) {
        std::string_view text = found->second;
        range.low = number(text);
        text.remove_prefix(std::min(text.find_first_not_of(' '), text.size()));
        range.high = number(text);
    }
    if (const auto found = settings.find("net.ipv4.ip_local_reserved_ports"); found != settings.end()) {
        for (std::string_view text = found->second; !text.empty();) {
            const unsigned from = number(text);
            unsigned to = from;
            if (text.starts_with('-')) {
                text.remove_prefix(1);
                to = number(text);
            }
            for (unsigned port = from; port <= to && from != 0; ++port) {
                range.reserved.insert(static_cast<std::uint16_t>(port));
            }
            text.remove_prefix(std::min<std::size_t>(text.size(), 1));  // the comma
        }
    }
    return range;
}

Look look_at(const Snapshot& snapshot, std::uint32_t netns, const ConnectionTable& table,
             const std::set<std::uint16_t>& former) {
    Look look;
    look.time = snapshot.ended;
    look.complete = true;
    if (const auto facts = snapshot.namespaces.find(netns); facts != snapshot.namespaces.end()) {
        look.time = facts->second.time;
        look.settings = facts->second.settings;
        look.counters = facts->second.counters;
    }
    std::vector<tt_socket> rows;
    std::copy_if(snapshot.sockets.begin(), snapshot.sockets.end(), std::back_inserter(rows),
                 [netns](const tt_socket& row) { return row.netns == netns; });
    Counter(look, table, &snapshot, former).add_all(rows);
    return look;
}

Look look_at(const ConnectionTable& table, std::uint32_t netns, const NetnsFacts& facts,
             const std::set<std::uint16_t>& former) {
    Look look;
    look.time = table.now();
    look.settings = facts.settings;
    look.counters = facts.counters;
    std::vector<tt_socket> rows;
    table.for_each([&](const track::Connection& connection) {
        if (connection.addresses && connection.ends.netns == netns && !connection.held) {
            rows.push_back(row_of(connection));
        }
    });
    std::sort(rows.begin(), rows.end(), [](const tt_socket& a, const tt_socket& b) { return a.cookie < b.cookie; });
    Counter(look, table, nullptr, former).add_all(rows);
    return look;
}

}  // namespace tcptrail::report
