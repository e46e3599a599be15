// SPDX-License-Identifier: Apache-2.0
// A table that tells nothing and only follows the chains counts what the whole one counts. Trail compares the two after every
// record, here of connections at random of which some records are lost and some come twice.
#include <gtest/gtest.h>

#include <random>
#include <string_view>
#include <vector>

#include "trail.h"

namespace tcptrail::test {
namespace {

constexpr unsigned kResync = TT_SNAP_SOCKETS | TT_SNAP_RESYNC;

class Life {
public:
    Life(const char* hooks, unsigned seed) : trail_(hooks), random_(seed) {
        trail_.listen(A).nothing_before();
        if (hooks == std::string_view(kFentry)) trail_.child(A, B).accept(1us).closed(1ms);
    }

    void go_on() {
        if (one_in(40)) snapshot();
        if (live_.empty() || (live_.size() < 30 && one_in(3))) {
            begin();
            return;
        }
        const std::size_t which = random_() % live_.size();
        auto& [cookie, state] = live_[which];
        trail_.socket(cookie);
        if (one_in(25)) trail_.lose();
        const State after = one_in(8) ? State::close : next(state);
        if (after == State::close) {
            end(state);
            live_.erase(live_.begin() + static_cast<std::ptrdiff_t>(which));
        } else {
            trail_.step(after, 200us, kProcess);
            if (one_in(20)) trail_.twice();
            state = after;
        }
    }

    const Trail& trail() const { return trail_; }

private:
    struct Socket {
        std::uint64_t cookie;
        State state;
    };

    bool one_in(unsigned n) { return random_() % n == 0; }
    End far() {
        return {static_cast<std::uint8_t>(2 + random_() % 4), static_cast<std::uint16_t>(40000 + random_() % 8)};
    }

    static State next(State state) {
        switch (state) {
            case State::syn_sent: return State::established;
            case State::established: return State::fin_wait1;
            case State::fin_wait1: return State::fin_wait2;
            default: return State::close;
        }
    }

    void begin() {
        if (one_in(25)) trail_.lose();
        if (!ended_.empty() && one_in(6)) {
            trail_.socket(ended_.back()).reconnect(200us);
            live_.push_back({ended_.back(), State::syn_sent});
            ended_.pop_back();
        } else if (one_in(2)) {
            trail_.connect(far(), A, 200us);
            live_.push_back({trail_.cookie(), State::syn_sent});
        } else {
            trail_.child(A, far(), 200us);
            live_.push_back({trail_.cookie(), State::established});
            if (!one_in(3)) trail_.accept(10us);
        }
    }

    void end(State state) {
        const bool dead = one_in(2);
        if (state == State::fin_wait2 && one_in(2)) trail_.timewait(TT_TW_HASHED, 1us);
        trail_.closed(200us, {.flags = dead ? 0U : unsigned{TT_F_HAS_SOCKET},
                              .sk_err = static_cast<std::uint16_t>(one_in(4) ? ECONNRESET : 0),
                              .close_flags = dead ? TT_C_DEAD | TT_C_DONE : 0U});
        if (one_in(20)) trail_.twice();
        if (one_in(10)) trail_.reset_sent(1us, 0, State::close);
        if (dead && one_in(4)) {
            trail_.destroy(1us);
        } else if (!dead) {
            ended_.push_back(trail_.cookie());
        }
    }

    void snapshot() {
        trail_.snapshot(kResync);
        for (const Socket& socket : live_) trail_.socket(socket.cookie).shows(socket.state);
        trail_.snapshot_end();
    }

    Trail trail_;
    std::mt19937 random_;
    std::vector<Socket> live_;
    std::vector<std::uint64_t> ended_;  // and still a process's: they may connect again
};

TEST(Followed, CountsTheSameWhateverIsLost) {
    for (const char* hooks : {kTracepoint, kFentry}) {
        for (unsigned seed = 1; seed <= 20 && !HasFailure(); ++seed) {
            SCOPED_TRACE(seed);
            Life life(hooks, seed);
            for (int i = 0; i < 1000 && !HasFailure(); ++i) life.go_on();
            if (!HasFailure()) EXPECT_GT(life.trail().table().trace_end().incomplete_connections, 10u);
        }
    }
}

}  // namespace
}  // namespace tcptrail::test
