// SPDX-License-Identifier: Apache-2.0
#include "collect/live_source.h"

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstring>
#include <optional>
#include <thread>
#include <utility>

#include <linux/membarrier.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "collect/cgroups.h"
#include "collect/hooks.h"
#include "collect/load.h"
#include "collect/log_reader.h"
#include "collect/priority.h"
#include "collect/snapshot.h"

namespace tcptrail::collect {
namespace {

constexpr std::uint64_t ms = 1'000'000;  // ns
constexpr std::uint64_t longest_pause = 50 * ms;
constexpr std::uint64_t shortest_pause = 1 * ms;
constexpr std::uint64_t tick_after = 100 * ms;
constexpr std::uint64_t misses_every = 100 * ms;
constexpr std::uint64_t resync_every = 1000 * ms;
constexpr std::uint64_t starved_after = 100 * ms;  // woken so much later than asked for
constexpr std::size_t drain_at_most = 1 << 16;     // records, so that a flood does not keep poll() from returning

/// clock - CLOCK_MONOTONIC in ns, from the quickest of a few pairs of reads.
std::uint64_t offset_ns(clockid_t clock) {
    std::uint64_t best = 0;
    std::uint64_t best_took = ~0ULL;
    for (int i = 0; i < 5; i++) {
        const std::uint64_t before = monotonic_ns();
        const std::uint64_t other = clock_ns(clock);
        const std::uint64_t took = monotonic_ns() - before;
        if (took < best_took) {
            best_took = took;
            best = other - (before + took / 2);
        }
    }
    return best;
}

}  // namespace

struct LiveSource::State {
    Options options;
    Loaded loaded;
    std::optional<LogReader> logs;
    Cgroups cgroups;
    RecordBuffer start;  // TT_START, until the first poll
    RecordBuffer named;  // scratch of deliver()
    RecordHandler soon = [](const tt_head&) {};

    std::atomic<bool> stopping = false;
    std::atomic<std::uint32_t> requested = TT_SNAP_FIRST;
    bool ended = false;
    bool ready = false;
    bool noted = false;             // what the snapshots cannot see
    std::string real_time_refused;  // why, until it is told

    std::uint64_t last_handed = 0;  // ns: when a record was last handed over
    std::uint64_t next_drain = 0;
    std::uint64_t next_misses = 0;
    std::uint64_t next_resync = 0;
    std::uint64_t next_report = 0;
    std::uint64_t misses_at_start = 0;
    OtherMisses others_missed_at_start;
    OtherMisses others_missed;  // when last read
    OtherMisses others_told;    // with `told`
    std::uint64_t caught_at_start = 0;
    tt_counters told{};    // in the last TT_COUNTERS
    tt_counters synced{};  // when the last snapshot began

    tt_shared& shared() { return loaded.skeleton->bss->shared; }

    static void set(tt_u32& where, tt_u32 value) { __atomic_store_n(&where, value, __ATOMIC_SEQ_CST); }

    /// Hands over all that began before now.
    template <typename Take>
    void drain_to_now(Take&& take) {
        const std::uint64_t now = monotonic_ns();
        for (Drained done; !done.all || done.until < now;) {
            done = logs->drain(~std::size_t{0}, take);
            if (!done.all) std::this_thread::sleep_for(std::chrono::milliseconds(1));
        }
    }

    /// No program writes any more, and those that were at it have finished, once this returns.
    void stop_programs() {
        set(shared().enabled, 0);
        syscall(SYS_membarrier, MEMBARRIER_CMD_GLOBAL, 0, 0);  // waits as synchronize_rcu() does
    }

    void deliver(const tt_head& record, const RecordHandler& handler) {
        if (Cgroups::concerns(record)) {
            named.clear();
            cgroups.before(record, named);
            for (std::size_t at = 0; at < named.words(); at += named.at(at).size / 8) handler(named.at(at));
        }
        handler(record);
    }

    tt_counters read_counters(bool misses_too) {
        if (misses_too) others_missed = other_program_misses(loaded);
        const LogCounts now = logs->counts();
        tt_counters out = told;
        out.lost = now.lost;
        out.lost_other = now.lost_other + others_missed.all() - others_missed_at_start.all();
        out.counted = now.counted;
        if (misses_too) {
            // The misses first: what comes between the two reads makes it too small for a moment, not a false alarm.
            const std::uint64_t misses = main_program_misses(loaded) - misses_at_start;
            out.missed = misses - (logs->counts().caught - caught_at_start);
        }
        return out;
    }

    /// Also with each later snapshot: a recording's new file counts from there.
    void tell_counters(const tt_counters& now, const RecordHandler& handler) {
        const std::uint64_t owners = others_missed.owners - others_told.owners;
        const bool only_owners = owners > 0 && now.lost_other - told.lost_other == owners;
        others_told = others_missed;
        told = now;
        told.head = make_head(TT_COUNTERS, only_owners ? TT_F_OWNERS : 0);
        told.head.size = sizeof(told);
        handler(told.head);
    }

    void check_counters(std::uint64_t time, const RecordHandler& handler) {
        const bool misses_too = time >= next_misses;
        if (misses_too) next_misses = time + misses_every;
        const tt_counters now = read_counters(misses_too);
        if (now.lost != told.lost || now.lost_other != told.lost_other || now.missed != told.missed)
            tell_counters(now, handler);
        const bool behind = told.lost != synced.lost || told.lost_other != synced.lost_other ||
                            static_cast<std::int64_t>(told.missed - synced.missed) > 0;
        if (behind && time >= next_resync && !stopping) requested |= TT_SNAP_RESYNC;
    }

    /// Sockets, holders and settings, in one line of time with what the hooks saw meanwhile.
    std::optional<Error> snapshot(std::uint32_t what, bool last, const RecordHandler& handler) {
        constexpr std::uint32_t parts = TT_SNAP_SOCKETS | TT_SNAP_HOLDERS;
        if (!(what & parts) || (what & (TT_SNAP_FIRST | TT_SNAP_RESYNC))) what |= parts;
        RecordBuffer events;
        const auto keep = [&](const tt_head& record) { events.append(record); };
        synced = read_counters(true);
        next_resync = monotonic_ns() + resync_every;
        const bpf_link* sockets = loaded.skeleton->links.each_socket;
        const bpf_link* holders = loaded.skeleton->links.each_file;
        const int tcp = sockets ? bpf_link__fd(sockets) : -1;
        const int files = holders ? bpf_link__fd(holders) : -1;
        SnapshotResult result = take_snapshot(options, tcp, files, what, [&] { logs->drain(~std::size_t{0}, keep); });
        if (last) stop_programs();
        drain_to_now(keep);
        merge_records(events, result.records, [&](const tt_head& record) { deliver(record, handler); });
        if (!result.note.empty() && !std::exchange(noted, true))  // each snapshot would say the same
            loaded.hooks.notes.push_back(result.note);
        if (!result.error.empty()) return Error{Exit::failed, result.error};
        if (what & TT_SNAP_SOCKETS && sockets) set(shared().addresses, 0);  // else each event brings its own
        ready = true;
        return std::nullopt;
    }

    Result<Poll> finish(const RecordHandler& handler) {
        // The last snapshot is made while the hooks still run: it and the events before it then say the same.
        std::optional<Error> error;
        if (options.final_snapshot) error = snapshot(TT_SNAP_REPORT | TT_SNAP_LAST, true, handler);
        stop_programs();
        drain_to_now([&](const tt_head& record) { deliver(record, handler); });
        tell_counters(read_counters(true), handler);
        tt_head end = make_head(TT_END);
        end.size = sizeof(end);
        handler(end);
        ended = true;
        if (error) return tl::unexpected<Error>(*error);
        return Poll::end;
    }

    /// Once, and not before it puts anything in danger.
    void note_waking(std::uint64_t late, const Drained& found) {
        if (real_time_refused.empty() || late < starved_after || found.fullest < logs->log_bytes() / 4) return;
        loaded.hooks.notes.push_back("this machine is so busy that the reader was woken " + std::to_string(late / ms) +
                                     " ms late, and real-time priority is refused (" + real_time_refused +
                                     "): more may be lost");
        real_time_refused.clear();
    }

    void request_report(std::uint64_t time) {
        const auto every = static_cast<std::uint64_t>(options.report_every.count());
        if (every == 0 || time < next_report) return;
        next_report += ((time - next_report) / every + 1) * every;  // none is made up for
        requested |= TT_SNAP_REPORT;
    }

    /// The next pause: shorter the fuller the logs were.
    std::uint64_t pause(const Drained& done) const {
        const std::uint64_t calm = logs->log_bytes() / 8;  // in a longest pause: nothing to hurry for
        if (done.fullest <= calm) return done.all ? longest_pause : shortest_pause;
        return std::max(shortest_pause, longest_pause * calm / done.fullest);
    }
};

LiveSource::LiveSource(std::unique_ptr<State> state) : state_(std::move(state)) {}
LiveSource::~LiveSource() = default;

Result<std::unique_ptr<LiveSource>> LiveSource::open(const Options& options) {
    auto state = std::make_unique<State>();
    state->options = options;
    auto loaded = load_programs(state->options);
    if (!loaded) return tl::unexpected<Error>(loaded.error());
    state->loaded = std::move(*loaded);
    const int fd = bpf_map__fd(state->loaded.skeleton->maps.logs);
    int error = 0;
    state->logs.emplace(fd, state->loaded.logs.count, state->loaded.logs.bytes, error);
    if (error) return fail(Exit::failed, std::string("cannot map the logs: ") + std::strerror(error));
    tt_start record{};
    record.head = make_head(TT_START);
    record.realtime_offset_ns = offset_ns(CLOCK_REALTIME);
    record.boottime_offset_ns = offset_ns(CLOCK_BOOTTIME);
    state->start.append_with_text(record, start_text(state->loaded, state->options));
    state->last_handed = record.head.time;
    state->next_report = record.head.time + static_cast<std::uint64_t>(state->options.report_every.count());
    state->misses_at_start = main_program_misses(state->loaded);
    state->others_missed = state->others_told = state->others_missed_at_start = other_program_misses(state->loaded);
    state->caught_at_start = state->logs->counts().caught;
    state->real_time_refused = take_real_time_priority();
    State::set(state->shared().addresses, 1);
    State::set(state->shared().enabled, 1);
    return std::unique_ptr<LiveSource>(new LiveSource(std::move(state)));
}

void LiveSource::announce_to(const RecordHandler& soon) {
    state_->soon = soon;
}

Result<Poll> LiveSource::poll(std::chrono::milliseconds max_wait, const RecordHandler& handler) {
    State& state = *state_;
    if (state.ended) return Poll::end;
    if (!state.start.empty()) {
        handler(state.start.at(0));
        state.start.clear();
    }
    const std::uint64_t wait = static_cast<std::uint64_t>(std::max<std::int64_t>(0, max_wait.count())) * ms;
    const std::uint64_t until = monotonic_ns() + wait;
    std::uint64_t now = monotonic_ns();
    while (true) {
        if (state.stopping && state.ready) return state.finish(handler);
        if (const std::uint32_t what = state.requested.exchange(0)) {
            if (auto error = state.snapshot(what, false, handler)) return tl::unexpected<Error>(*error);
            if (!(what & TT_SNAP_FIRST)) state.tell_counters(state.read_counters(true), handler);
            now = state.last_handed = monotonic_ns();
            state.check_counters(now, handler);
            return Poll::more;
        }
        const std::uint64_t sleep_to = std::min(state.next_drain, until);
        std::uint64_t late = 0;
        if (sleep_to > now) {
            std::this_thread::sleep_for(std::chrono::nanoseconds(sleep_to - now));
            late = monotonic_ns() - sleep_to;
            if (state.stopping) continue;
        }
        const Drained done = state.logs->drain(
            drain_at_most, [&](const tt_head& record) { state.deliver(record, handler); }, state.soon);
        state.note_waking(late, done);
        now = monotonic_ns();
        state.next_drain = done.records >= drain_at_most ? now : now + state.pause(done);
        state.check_counters(now, handler);
        state.request_report(now);
        if (done.records) {
            state.last_handed = now;
            return Poll::more;
        }
        if (done.all && now - state.last_handed >= tick_after) {
            tt_head tick = make_head(TT_TICK, 0, done.until);
            tick.size = sizeof(tick);
            handler(tick);
            state.last_handed = now;
            return Poll::more;
        }
        if (now >= until) return Poll::more;
    }
}

void LiveSource::stop() {
    state_->stopping = true;
}

void LiveSource::request_snapshot(std::uint32_t what) {
    state_->requested |= what ? what : std::uint32_t{TT_SNAP_REPORT};
}

const std::vector<std::string>& LiveSource::notes() const {
    return state_->loaded.hooks.notes;
}

bool LiveSource::ready() const {
    return state_->ready;
}

}  // namespace tcptrail::collect
