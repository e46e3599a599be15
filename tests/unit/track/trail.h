// SPDX-License-Identifier: Apache-2.0
// A small language for the tracker's tests: it makes records as the kernel emits them, feeds a ConnectionTable and
// keeps what the observer heard. Every word acts on the current socket, `gap` after the record before.
//     trail().listen(A).connect(B, A).established(2ms).rst_received(40ms)
#pragma once

#include <gtest/gtest.h>

#include <chrono>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include <tcptrail/rows.h>
#include <tcptrail/wire.h>

#include "track/table.h"

namespace tcptrail::test {

using namespace std::chrono_literals;
using Gap = std::chrono::nanoseconds;

struct End {
    std::uint8_t host = 0;  // 10.0.0.host
    std::uint16_t port = 0;
};
inline constexpr End A{1, 80};
inline constexpr End B{2, 40000};
inline constexpr End C{3, 40001};
inline constexpr std::uint32_t kNetns = 4026531840;

struct Actor {
    std::uint64_t id;
    std::uint32_t pid;
    const char* comm;
    std::uint64_t start_ns;
};
inline constexpr Actor kApp{11, 100, "app", 1000};
inline constexpr Actor kServer{12, 200, "server", 2000};
inline constexpr Actor kWorker{13, 201, "worker", 3000};

inline constexpr const char* kTracepoint = "hook.transitions=tp_btf\nhook.accept=tracepoint/sys_exit_accept4\n";
inline constexpr const char* kFentry = "hook.accept=fentry/security_sock_graft\nhook.time_wait=fentry/inet_twsk_kill\n";
inline constexpr unsigned kProcess = TT_F_OWNED | TT_F_HAS_SOCKET;  // a system call on an open descriptor

/// What the last transition shows; tt_close.
struct Facts {
    unsigned flags = 0;  // of the record's head
    std::uint16_t sk_err = 0;
    std::uint16_t sk_err_soft = 0;
    unsigned shutdown = 3;
    unsigned close_flags = TT_C_DEAD | TT_C_DONE;
    std::uint32_t unread = 0;
    unsigned retransmits = 0;
    unsigned probes_out = 0;
    std::uint16_t segs_out = 5;
    std::uint64_t bytes_acked = 0;
    std::uint64_t bytes_received = 0;
    std::uint32_t tw_count = 0;
    std::uint32_t tw_max = 1000;
    std::uint16_t fin_timeout_s = 60;
    std::uint16_t lport = 0;  // an autobound port is given back by now
};

/// What a snapshot shows besides; tt_socket.
struct Shown {
    unsigned flags = TT_F_HAS_SOCKET;
    std::uint32_t unread = 0;
    std::uint32_t last_recv_ms = ~std::uint32_t{0};
};

tt_close close_record(State old, const Facts& facts);

class Trail final : public TrackObserver {
public:
    explicit Trail(const char* hooks = kTracepoint, TableLimits limits = {});

    Trail(const Trail&) = delete;
    Trail& operator=(const Trail&) = delete;

    Trail& hear(const TransitionSet& transitions) {
        table_->tell(transitions);
        return *this;
    }

    // Who acts from here on.
    Trail& as(const Actor& actor);
    Trail& unknown_actor();  // one whose description was lost
    Trail& describe(const Actor& actor);

    // Sockets; each becomes the current one.
    Trail& listen(End local);
    Trail& connect(End local, End remote, Gap gap = 1ms);
    Trail& reconnect(Gap gap);                           // the current socket, again
    Trail& child(End local, End remote, Gap gap = 1ms);  // of the last listener, established
    Trail& child_of(std::uint64_t listener, End local, End remote);
    Trail& older(State state, End local, End remote);  // stands since before the trace; no record
    Trail& socket(std::uint64_t cookie);

    // Transitions.
    Trail& step(State fresh, Gap gap, unsigned flags = 0);
    Trail& established(Gap gap);   // of an active open
    Trail& fin_sent(Gap gap);      // ESTABLISHED -> FIN_WAIT1, CLOSE_WAIT -> LAST_ACK
    Trail& fin_acked(Gap gap);     // FIN_WAIT1 -> FIN_WAIT2
    Trail& fin_received(Gap gap);  // ESTABLISHED -> CLOSE_WAIT, FIN_WAIT1 -> CLOSING
    Trail& closed(Gap gap, const Facts& facts = {});
    Trail& rst_received(Gap gap);
    Trail& twice();  // the record before once more, by the backup
    Trail& lose();   // the next transition happens and no record tells

    // Other records.
    Trail& endpoint(Gap gap = 0ms);
    Trail& accept(Gap gap);
    Trail& destroy(Gap gap);
    /// By the socket in its present state, or by another that bears its cookie.
    Trail& reset_sent(Gap gap, std::uint32_t reason, State by = State::none);
    Trail& timewait(tt_timewait_event event, Gap gap);
    Trail& tick(Gap gap);
    Trail& hole();  // the reader of a recording says that something is missing here
    Trail& end(Gap gap = 1ms);
    Trail& counters(std::uint64_t lost, std::uint64_t missed, std::uint64_t counted);
    Trail& others_lost(std::uint64_t lost_other, Gap gap = 0ms, unsigned flags = 0);
    Trail& snapshot(unsigned what, std::uint32_t netns = kNetns);  // begins
    /// The current socket in the snapshot; the gap may be negative.
    Trail& shows(State state, Gap gap = 0ms, const Shown& shown = {});
    Trail& holder(const Actor& actor, unsigned flags = 0, std::uint32_t fd = 3);
    Trail& netns(const std::string& text, unsigned flags = 0);  // settings; TT_F_COUNTERS: counters
    Trail& sockets_end();
    Trail& mark();
    Trail& snapshot_end() { return sockets_end().mark(); }
    /// A whole first snapshot without sockets.
    Trail& nothing_before() { return snapshot(TT_SNAP_SOCKETS | TT_SNAP_FIRST).snapshot_end(); }

    // What came of it.
    std::uint64_t cookie() const { return cookie_; }
    Gap time() const { return Gap(now_ - kStart); }
    /// One line a transition: "1.0 SYN_SENT>ESTABLISHED 2000us"; "-" where the old state's begin is not known.
    std::vector<std::string> lines() const;
    /// "app/connect", "?/unknown"; "-" for nobody.
    std::string who(const Owner& owner) const;
    std::string who(ProcessId id) const;
    const ConnectionRow& ended() const;  // the only one
    std::vector<std::string> states(const ConnectionRow& row) const;
    const ConnectionTable& table() const { return *table_; }

    // A report under test hears what a view hears.
    std::function<void(const tt_head&)> on_record;
    TrackObserver* also = nullptr;

    std::vector<TransitionRow> transitions;
    std::vector<ConnectionRow> endings;

    static constexpr MonoNs kStart = 1'000'000'000'000;

private:
    struct Socket {
        End local, remote;
        State state = State::close;
        std::uint64_t listener = 0;
    };

    void on_transition(const TransitionRow& row) override;
    void on_ended(const ConnectionRow& row) override;
    void apply(const tt_head& record);

    template <typename T>
    void send(T& record, Gap gap, const std::string& text = {});
    template <typename T>
    T make(tt_type type) const;
    tt_step step_to(tt_type type, State fresh, unsigned flags);
    void open_to(tt_type type, State fresh, Gap gap, unsigned flags, std::uint16_t lport);
    Socket& here() { return sockets_.at(cookie_); }
    Trail& add(End local, End remote);

    MonoNs now_ = kStart;
    std::uint64_t cookie_ = 0;
    std::uint64_t last_cookie_ = 0;
    std::uint64_t listener_ = 0;
    std::uint64_t actor_ = kApp.id;
    bool lose_ = false;
    unsigned what_ = 0;
    std::uint32_t snapshot_netns_ = kNetns;
    std::map<std::uint64_t, Socket> sockets_;
    std::vector<std::uint64_t> before_;  // the record before
    std::unique_ptr<ConnectionTable> table_;
    /// Hears the same, and only follows: it must count the same.
    struct Nobody final : TrackObserver {
        void on_transition(const TransitionRow&) override { ADD_FAILURE(); }
        void on_ended(const ConnectionRow&) override { ADD_FAILURE(); }
    };
    Nobody nobody_;
    std::unique_ptr<ConnectionTable> without_rows_;
};

/// Lives until the end of the program, so that a story may be one expression.
Trail& trail(const char* hooks = kTracepoint, TableLimits limits = {});

}  // namespace tcptrail::test
