// SPDX-License-Identifier: Apache-2.0
// What the scenes share: the address, the cues, and a server that greets each connection with one byte, so that it is
// accepted before the client goes on.
#pragma once

#include <array>
#include <functional>
#include <vector>

#include "arena.h"
#include "truth.h"

namespace tcptrail::live {

constexpr std::uint16_t kPort = 5001;
constexpr std::size_t kMostConnections = 4096;

struct Tuples {
    std::array<Tuple, kMostConnections> client;  // as the connecting socket sees itself
};

struct Stage {
    Shared<Tuples> tuples;
    Cue listening;
    Cue to_server;
    Cue to_client;

    void note(int i, int fd) const { tuples->client[static_cast<std::size_t>(i)] = tuple_of(fd); }
    const Tuple& client(int i) const { return tuples->client[static_cast<std::size_t>(i)]; }
    Tuple server(int i, Net net = Net::v4) const { return mirrored(client(i), net != Net::v4); }
};

/// listen_on(kPort), and tells the others.
Fd open_listener(const Stage& stage, Net net = Net::v4);
std::vector<Fd> accept_and_greet(int listener, int connections);
/// Connects, reads the greeting, notes the addresses as connection `i`.
Fd dial_and_note(const Stage& stage, int i, Net net = Net::v4);
std::vector<Fd> dial_all(const Stage& stage, int connections);

/// fork() inside an actor; the child runs `body` under the name and ends. Returns its pid to the parent.
pid_t fork_named(const char* comm, const std::function<void()>& body);
/// Waits for the good end of a forked process.
void wait_for(pid_t pid);

/// SCM_RIGHTS over a connected pair of Unix sockets.
void send_fd(int channel, int fd);
Fd receive_fd(int channel);

/// Nothing but its timer ends a TIME_WAIT: no later connect that takes its port over, and no RST that answers a FIN sent once
/// more by an impatient timer after the peer was gone.
void let_timers_alone_end(Arena& arena);

Tuple listener_tuple(Net net = Net::v4, std::uint16_t port = kPort);
Side listener_side(const Who& owner, const Who& closer, Net net = Net::v4);

}  // namespace tcptrail::live
