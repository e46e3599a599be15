// SPDX-License-Identifier: Apache-2.0
// The words of types.h: kernel names and addresses.
#include <algorithm>

#include <arpa/inet.h>

#include <tcptrail/types.h>

namespace tcptrail {

std::string_view name(State state) {
    switch (state) {
        case State::none: return "NONE";
        case State::established: return "ESTABLISHED";
        case State::syn_sent: return "SYN_SENT";
        case State::syn_recv: return "SYN_RECV";
        case State::fin_wait1: return "FIN_WAIT1";
        case State::fin_wait2: return "FIN_WAIT2";
        case State::time_wait: return "TIME_WAIT";
        case State::close: return "CLOSE";
        case State::close_wait: return "CLOSE_WAIT";
        case State::last_ack: return "LAST_ACK";
        case State::listen: return "LISTEN";
        case State::closing: return "CLOSING";
        case State::new_syn_recv: return "NEW_SYN_RECV";
    }
    return "UNKNOWN";
}

std::string_view name(Evidence evidence) {
    switch (evidence) {
        case Evidence::unknown: return "unknown";
        case Evidence::connect: return "connect";
        case Evidence::listen: return "listen";
        case Evidence::accept: return "accept";
        case Evidence::inherited: return "inherited";
        case Evidence::snapshot: return "snapshot";
        case Evidence::close: return "close";
    }
    return "unknown";
}

std::string_view name(CloseReason reason) {
    switch (reason) {
        case CloseReason::unknown: return "unknown";
        case CloseReason::local_fin: return "local_fin";
        case CloseReason::remote_fin: return "remote_fin";
        case CloseReason::simultaneous_fin: return "simultaneous_fin";
        case CloseReason::rst_received: return "rst_received";
        case CloseReason::linger_rst: return "linger_rst";
        case CloseReason::unread_data_rst: return "unread_data_rst";
        case CloseReason::late_data_rst: return "late_data_rst";
        case CloseReason::refused: return "refused";
        case CloseReason::connect_timeout: return "connect_timeout";
        case CloseReason::connect_cancelled: return "connect_cancelled";
        case CloseReason::unreachable: return "unreachable";
        case CloseReason::no_local_port: return "no_local_port";
        case CloseReason::retransmit_timeout: return "retransmit_timeout";
        case CloseReason::keepalive_timeout: return "keepalive_timeout";
        case CloseReason::fin_wait1_timeout: return "fin_wait1_timeout";
        case CloseReason::fin_wait2_timeout: return "fin_wait2_timeout";
        case CloseReason::last_ack_timeout: return "last_ack_timeout";
        case CloseReason::disconnect: return "disconnect";
        case CloseReason::sock_destroyed: return "sock_destroyed";
        case CloseReason::listener_closed: return "listener_closed";
        case CloseReason::resource: return "resource";
    }
    return "unknown";
}

std::string_view name(Role role) {
    switch (role) {
        case Role::unknown: return "unknown";
        case Role::active: return "active";
        case Role::passive: return "passive";
    }
    return "unknown";
}

namespace {

constexpr std::array<std::uint8_t, 12> mapped_prefix = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff};

bool is_mapped(const Address& address) {
    return std::equal(mapped_prefix.begin(), mapped_prefix.end(), address.begin());
}

}  // namespace

std::string to_string(const Address& address, Family family) {
    char text[INET6_ADDRSTRLEN] = "";
    if (family == Family::ipv4) {
        inet_ntop(AF_INET, address.data(), text, sizeof text);
    } else if (is_mapped(address)) {
        inet_ntop(AF_INET, address.data() + mapped_prefix.size(), text, sizeof text);
    } else {
        inet_ntop(AF_INET6, address.data(), text, sizeof text);
    }
    return text;
}

std::string to_string(const Address& address, Family family, std::uint16_t port) {
    std::string text = to_string(address, family);
    if (text.find(':') != std::string::npos) {
        text = "[" + text + "]";
    }
    return text + ":" + std::to_string(port);
}

}  // namespace tcptrail
