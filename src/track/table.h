// SPDX-License-Identifier: Apache-2.0
// The state machine: records in, transitions and ended connections out. Pure: no clock, no I/O, no log; what time
// it is comes from the records, so a recording gives the same answer as the kernel did.
#pragma once

#include <array>
#include <deque>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include <tcptrail/rows.h>
#include <tcptrail/wire.h>
#include <tsl/robin_map.h>

#include "connections.h"
#include "processes.h"
#include "reason.h"

namespace tcptrail {

struct TableLimits {
    /// Live connections and time-wait sockets that are remembered. When it is full, the next in the order of their
    /// places goes, time-wait first; that is counted in TraceEnd::evicted. A million take less than 256 MiB.
    std::size_t connections = std::size_t{1} << 20;
    /// Closed sockets that a process still has, and may connect again.
    std::size_t dormant = std::size_t{1} << 16;
    /// Processes (each thread that acted is one) that are remembered though no connection refers to them: so many that
    /// acted, as many that held a socket in a snapshot. 600 bytes each. The programs rely on at least 32,768.
    std::size_t processes = std::size_t{1} << 16;
    /// Whether the observer is told anything. Without, only what trace_end() counts is followed, each connection's chain of
    /// states: no owners, no reasons, no time-wait sockets, which is most of the table's time and memory.
    bool rows = true;
};

class ConnectionTable final : public ProcessDirectory {
public:
    /// `observer` outlives the table.
    explicit ConnectionTable(TrackObserver& observer, TableLimits limits = {});

    /// From now on the observer hears of these transitions; at first of all.
    void tell(const TransitionSet& transitions) { told_ = transitions; }

    void apply(const tt_head& record);
    /// A hint that apply() follows soon: has what it will look up fetched from memory.
    void expect(const tt_head& record);

    const Process* find(ProcessId id) const override { return processes_.find(id); }
    const Clock& clock() const { return clock_; }
    TraceEnd trace_end() const;
    MonoNs start() const { return start_; }
    /// Where the run itself began; before start() where only later files of it are read.
    MonoNs run_start() const { return run_start_; }
    MonoNs now() const { return now_; }
    /// Live connections and time-wait sockets.
    std::size_t size() const { return connections_.size(); }
    /// nullptr where the table has none; valid until the next record.
    const track::Connection* connection(std::uint64_t cookie) const { return connections_.find(cookie); }
    /// Each live connection, listener and time-wait socket, in no order that means anything.
    template <typename Take>
    void for_each(Take&& take) const {
        connections_.each(take);
    }
    /// Who tt_process.id is; 0 where nobody has told.
    ProcessId process_of(std::uint64_t actor) const { return processes_.find_actor(actor); }
    /// The value of a line of TT_START, "hook.accept" say; empty where there is none.
    std::string_view start_setting(const std::string& key) const;

private:
    /// What the row of an ended connection waits for.
    enum class Wait : std::uint8_t {
        reset,        // a RST, which says why
        acceptor,     // a process has it; its accept has not returned
        queue_leaves  // nobody has it: accept, or the socket's end
    };
    struct Held {
        tt_close close;
        Wait wait;
    };
    /// A hook may attach and never fire: one on a function of another signature, say. It counts once it was heard.
    enum class HookHeard : std::uint8_t { none, not_yet, no, yes };
    struct Deadline {
        MonoNs at;
        std::uint64_t cookie;
    };
    struct Connecting {
        std::uint64_t cookie = 0;
        Endpoints ends;
    };
    struct Dormant {
        MonoNs closed;
        std::uint32_t generation;
        bool before_trace;
    };

    /// What the recorder said of a need; recorders before such words served all.
    bool serves(const std::string& need) const { return !start_setting("hook." + need).starts_with("none"); }
    /// trace_end() says of a hook that never fired, and should have, so what it should have told of is looked at until then.
    bool follows_only() const {
        return !limits_.rows && accept_hook_ != HookHeard::not_yet && time_wait_hook_ != HookHeard::not_yet;
    }
    void on_start(const tt_start& record);
    void on_counters(const tt_counters& record);
    void forget_processes();
    void on_step(const tt_step& step, const tt_open* open, const tt_close* close);
    void follow(track::Connection& connection, const tt_step& step, const tt_open* open, const tt_close* close);
    void on_endpoint(const tt_open& open);
    void on_accept(const tt_step& step);
    void on_destroy(const tt_step& step);
    void on_reset(const tt_reset& reset);
    void on_timewait(const tt_timewait& record);
    void on_socket(const tt_socket& row);
    void on_holder(const tt_holder& row);
    void on_snapshot(const tt_snapshot& record);
    void on_end();

    track::Connection* find_connection(std::uint64_t cookie) { return connections_.find(cookie); }
    track::Connection& create(std::uint64_t cookie);
    void erase(std::uint64_t cookie);
    void evict();

    track::Connection& begin(const tt_step& step, State old, State fresh);
    void adopt(track::Connection& connection, const tt_open& open);
    void inherit(track::Connection& connection);
    void inherit_queued();
    void make_room();
    void share_listener(const track::Connection& child, ProcessId other);
    bool is_same_process(ProcessId a, ProcessId b) const;
    ProcessId actor_of(const track::Connection& connection, const tt_step& step, const tt_close* close);
    void name_owner(track::Connection& connection, const tt_step& step, const tt_close* close);
    void mark_incomplete(track::Connection& connection);
    bool tells(State old, State fresh) const { return limits_.rows && told_.has(old, fresh); }
    void report(const track::Connection& connection, MonoNs time, State old, State fresh, ProcessId actor,
                bool inferred, const State* substate);
    void end(track::Connection& connection, const tt_close& close);
    std::optional<Wait> wait_of(const track::Connection& connection, const tt_close& close) const;
    void decide(track::Connection& connection, const tt_close& close);
    void finish(track::Connection& connection, const tt_close& close);
    std::optional<bool> enters_time_wait(const track::Connection& connection, const tt_close& close);
    bool all_told(const track::Connection& connection) const;
    bool is_contradicted(const track::Connection& connection, const tt_close& close) const;
    void leave(track::Connection& connection, const tt_close& close, const std::optional<bool>& time_wait);
    void remember(std::uint64_t cookie, const Dormant& dormant);
    void enter_time_wait(track::Connection& connection, const tt_close& close);
    void end_time_wait(std::uint64_t cookie, MonoNs time, bool inferred);
    void end_reused(const track::Connection& connection, MonoNs time);
    void release(std::uint64_t cookie);
    void advance(MonoNs now);
    void end_unseen(const tt_socket& row);
    void sweep(std::uint32_t netns);

    TrackObserver& observer_;
    TableLimits limits_;
    TransitionSet told_ = TransitionSet::all();
    track::Processes processes_;
    Clock clock_;

    track::Connections connections_;
    tsl::robin_map<std::uint64_t, Held> held_;
    tsl::robin_map<std::uint64_t, tt_close> undecided_;  // ends in TIME_WAIT, or by a RST that would follow at once
    tsl::robin_map<std::uint64_t, Dormant> dormant_;
    std::deque<Deadline> dormant_order_;  // when each closed; at most twice as many
    std::deque<Deadline> undecided_due_;
    std::deque<Deadline> holds_;  // for a RST
    std::deque<Deadline> accepts_due_;
    std::deque<tt_socket> unseen_due_;                    // in TIME_WAIT for a snapshot; the stream has not told so far
    std::deque<Deadline> expiries_;                       // TIME_WAIT
    std::multimap<MonoNs, std::uint64_t> slow_expiries_;  // the dead FIN_WAIT2 kind: each has its own time-out
    tsl::robin_map<std::uint64_t, MonoNs> ended_;         // since the snapshot under way began

    MonoNs start_ = 0;
    MonoNs run_start_ = 0;
    MonoNs now_ = 0;
    MonoNs end_ = 0;
    bool gaps_ = false;  // of the recording
    MonoNs snapshot_began_ = 0;
    std::uint32_t snapshot_ = 0;
    std::array<std::uint64_t, 64> just_ended_{};  // a backup's second record of an end follows at once, if ever
    std::size_t just_ended_count_ = 0;
    bool snapshot_open_ = false;  // between its first record and its mark
    bool snapshot_done_ = false;
    std::size_t older_time_wait_ = 0;  // rows of the first snapshot
    HookHeard time_wait_hook_ = HookHeard::none;
    HookHeard accept_hook_ = HookHeard::none;
    bool accepts_seen_ = true;  // each says whether a hook serves
    bool destroys_seen_ = true;
    bool sent_resets_seen_ = true;
    std::uint64_t transitions_ = 0;
    std::uint64_t duplicates_ = 0;
    std::uint64_t incomplete_ = 0;
    std::uint64_t evicted_ = 0;
    tt_counters counters_{};
    std::optional<MonoNs> others_lost_at_;  // when a growth of counters_.lost_other was last told
    tt_counters before_{};                  // what was counted before start()
    bool counters_repeated_ = false;        // the next TT_COUNTERS tells before_, but for `counted`
    bool counted_open_ = false;             // and the one after it tells before_.counted
    std::map<std::string, std::string, std::less<>> start_settings_;

    std::array<Connecting, 16> connecting_;  // expect()'s

    TransitionRow transition_;  // reused
    ConnectionRow row_;         // reused
};

}  // namespace tcptrail
