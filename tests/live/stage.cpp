// SPDX-License-Identifier: Apache-2.0
#include "stage.h"

#include <cstring>

namespace tcptrail::live {

Fd open_listener(const Stage& stage, Net net) {
    Fd listener = listen_on(net, kPort);
    stage.listening.give();
    return listener;
}

std::vector<Fd> accept_and_greet(int listener, int connections) {
    std::vector<Fd> fds;
    for (int i = 0; i < connections; ++i) {
        fds.push_back(accept_from(listener));
        put(fds.back().get(), 1);
    }
    return fds;
}

Fd dial_and_note(const Stage& stage, int i, Net net) {
    Fd fd = dial(net, kPort);
    get(fd.get(), 1);
    stage.note(i, fd.get());
    return fd;
}

std::vector<Fd> dial_all(const Stage& stage, int connections) {
    std::vector<Fd> fds;
    for (int i = 0; i < connections; ++i) {
        fds.push_back(dial_and_note(stage, i));
    }
    return fds;
}

Tuple listener_tuple(Net net, std::uint16_t port) {
    Tuple tuple;
    tuple.v6 = net != Net::v4;
    const char* any = net == Net::v4 ? "127.0.0.1" : net == Net::v6 ? "::1" : "::";
    std::strncpy(tuple.laddr, any, sizeof tuple.laddr - 1);
    tuple.lport = port;
    return tuple;
}

Side listener_side(const Who& owner, const Who& closer, Net net) {
    return Side::listening(listener_tuple(net), owner, closer);
}

}  // namespace tcptrail::live
