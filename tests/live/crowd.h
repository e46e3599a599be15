// SPDX-License-Identifier: Apache-2.0
// A machine full of sockets that stand still: 5,000 connections (or a part_of() them) in six states and more, 20 listeners.
// The truth is by construction: how many of its sockets stand in each state, and whose they are.
#pragma once

#include <map>
#include <string>

#include "arena.h"
#include "stage.h"

namespace tcptrail::live {

using Population = std::map<std::string, int>;  // kernel state -> sockets

class Crowd {
public:
    static constexpr int listeners = 20;
    static constexpr std::uint16_t first_port = 6000;

    /// Returns when all stand. They stand until `arena` goes, or for a minute.
    explicit Crowd(Arena& arena);

    Population total() const;
    Population of_server() const;
    Population of_client() const;
    /// Nobody holds them, and they ended before any trace.
    Population of_nobody() const;
    /// Of FIN_WAIT2, those that are time-wait sockets; by the kernel's count.
    int dead_fin_wait2() const { return dead_fin_wait2_; }
    /// Sockets of the client that its heir holds too.
    int shared() const;

    Who server;
    Who client;

private:
    const Stage stage_;
    const Cue stands_;
    int dead_fin_wait2_ = 0;
};

}  // namespace tcptrail::live
