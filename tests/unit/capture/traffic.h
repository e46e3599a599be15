// SPDX-License-Identifier: Apache-2.0
// Realistic records for tests and measurements: connection pairs on loopback, many in flight at a time.
#pragma once

#include <cstdint>
#include <functional>
#include <random>
#include <vector>

#include <tcptrail/wire.h>

namespace tcptrail::test {

/// The socket sides' steps, interleaved by random 20 to 80 us between the events of one connection.
class Traffic {
public:
    using Sink = std::function<void(const tt_head&)>;

    struct World {
        unsigned in_flight = 32;  // connections at the same time
        unsigned clients = 4;     // processes that connect
        unsigned servers = 2;     // processes that listen
        bool time_wait = true;    // fentry records of time-wait sockets
        std::uint64_t seed = 1;
    };

    explicit Traffic(World world) : world_(world), random_(world.seed), pairs_(world.in_flight) {
        for (Pair& pair : pairs_) begin(pair);
    }

    /// At least `count` more transitions, in the order of their times.
    void transitions(std::uint64_t count, const Sink& sink);

    std::uint64_t made() const { return made_; }  // transitions so far
    std::uint64_t now() const { return now_; }    // ns

    static tt_head end(std::uint64_t time) {
        tt_head head{};
        head.size = sizeof head;
        head.type = TT_END;
        head.time = time;
        return head;
    }

private:
    struct Pair {
        std::uint64_t client, server, client_actor, server_actor, listener, next_ns, bytes_out, bytes_in;
        std::uint16_t port, service;
        unsigned step;
    };

    std::uint64_t below(std::uint64_t limit) { return random_() % limit; }
    void begin(Pair& pair);
    void step(Pair& pair, const Sink& sink);
    void open(const Pair& pair, bool client, const Sink& sink);
    void move(const Pair& pair, bool client, int from, int to, bool acted, const Sink& sink);
    void close(const Pair& pair, bool client, int from, const Sink& sink);
    void time_wait(const Pair& pair, unsigned event, const Sink& sink);
    tt_step head(const Pair& pair, bool client, tt_type type, std::size_t size, int from, int to, bool acted);

    World world_;
    std::mt19937_64 random_;
    std::vector<Pair> pairs_;
    std::uint64_t now_ = 5'000'000'000'000;
    std::uint64_t cookie_ = 0x2000;
    std::uint16_t port_ = 32768;
    std::uint64_t made_ = 0;
};

}  // namespace tcptrail::test
