// SPDX-License-Identifier: Apache-2.0
// Reads the logs that the programs write, one for each CPU, and hands their records over as one stream.
//
// The order: if one record was complete before the clock of another one was read, it comes first, whichever CPUs wrote them. So
// the events of one connection stay in order, because each is written under the socket's lock, and its clock read under the
// same. (Where the kernel read it when it began with a packet, what else that packet did stands in the same log.)
// Why that holds: a record's clock was read before its room was reserved. Whatever stands in front of a record in its
// log was reserved before, so has an earlier time than any clock that was read after; merging the logs by the time of their
// first records keeps the order, as long as only records no later than `until` go out, a clock read before it was looked
// what the logs hold.
// A record that is not complete yet holds up everything, for the few ns that it takes.
#pragma once

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "collect/record_buffer.h"
#include "shared.h"

namespace tcptrail::collect {

/// What the writers count, of all logs together.
struct LogCounts {
    std::uint64_t lost = 0;
    std::uint64_t lost_other = 0;
    std::uint64_t caught = 0;
    std::uint64_t counted = 0;
};

struct Drained {
    std::size_t records = 0;
    std::uint64_t fullest = 0;  // bytes that stood in the fullest log
    std::uint64_t until = 0;    // ns: with `all`, every record that was reserved before this has been handed over
    bool all = false;
};

/// Owns the mapping. One thread reads.
class LogReader {
public:
    /// Maps the map `fd`; `error` is an errno if that fails.
    LogReader(int fd, std::uint32_t count, std::uint64_t bytes, int& error);
    ~LogReader();
    LogReader(const LogReader&) = delete;
    LogReader& operator=(const LogReader&) = delete;

    /// Hands over at most `at_most` records, each valid during its call. `soon` hears of each before that, once, and
    /// some records ahead where these are complete.
    template <typename Take>
    Drained drain(std::size_t at_most, Take&& take) {
        return drain(at_most, take, [](const tt_head&) {});
    }
    template <typename Take, typename Soon>
    Drained drain(std::size_t at_most, Take&& take, Soon&& soon) {
        Drained out;
        out.until = monotonic_ns();
        std::atomic_thread_fence(std::memory_order_seq_cst);
        for (Log& log : logs_) {
            log.end = std::atomic_ref(log.shared->reserved).load(std::memory_order_acquire);
            out.fullest = std::max(out.fullest, log.end - log.position);
        }
        out.all = collect_heads(out.until);
        while (out.all && !heap_.empty()) {
            if (out.records == at_most) {
                out.all = false;
                break;
            }
            Log& log = *heap_.front();
            const tt_head& record = record_at(log);
            announce(log, soon);
            log.position += record.size;
            take(record);
            ++out.records;
            if (log.position - log.freed >= kFreeEvery) free_read(log);
            out.all = replace_front(out.until);
        }
        for (Log& log : logs_) free_read(log);
        return out;
    }

    LogCounts counts() const;
    std::uint64_t log_bytes() const { return bytes_; }

private:
    struct Log {
        tt_log* shared = nullptr;
        std::byte* data = nullptr;
        std::uint64_t position = 0;   // of the next record
        std::uint64_t announced = 0;  // up to here
        std::uint64_t end = 0;        // reserved up to here when last looked
        std::uint64_t freed = 0;      // all before is zero and the writers' again
        std::uint64_t time = 0;       // of the record at `position`
    };
    enum class Head { none, there, incomplete };
    static constexpr std::uint64_t kAnnounced = 2 << 10;   // bytes of records ahead: about forty
    static constexpr std::uint64_t kFreeEvery = 16 << 10;  // while its lines are still in this core's cache

    const tt_head& record_at(const Log& log) const { return record_at(log, log.position); }
    const tt_head& record_at(const Log& log, std::uint64_t position) const {
        return *reinterpret_cast<const tt_head*>(log.data + (position & (bytes_ - 1)));
    }

    template <typename Soon>
    void announce(Log& log, Soon&& soon) const {
        log.announced = std::max(log.announced, log.position);
        const std::uint64_t until = std::min(log.end, log.position + kAnnounced);
        while (log.announced < until && is_complete(log, log.announced)) {
            const tt_head& record = record_at(log, log.announced);
            log.announced += record.size;
            // Another CPU has written it: its lines are a while on their way.
            __builtin_prefetch(log.data + ((log.announced + kAnnounced) & (bytes_ - 1)));
            soon(record);
        }
    }

    /// Whether there is a next record no later than `until`; reads its time.
    Head look(Log& log, std::uint64_t until) const {
        if (log.position == log.end) return Head::none;
        if (!is_complete(log) && !wait_complete(log)) return Head::incomplete;
        log.time = record_at(log).time;
        return log.time <= until ? Head::there : Head::none;
    }
    bool is_complete(const Log& log) const { return is_complete(log, log.position); }
    bool is_complete(const Log& log, std::uint64_t position) const {
        auto& first = *reinterpret_cast<std::uint64_t*>(log.data + (position & (bytes_ - 1)));
        return std::atomic_ref(first).load(std::memory_order_acquire) != 0;
    }
    bool wait_complete(const Log& log) const;

    /// The heap of logs, the earliest record first. False: one is incomplete.
    bool collect_heads(std::uint64_t until);
    /// After the front's record was taken.
    bool replace_front(std::uint64_t until) {
        switch (look(*heap_.front(), until)) {
            case Head::incomplete: return false;
            case Head::none:
                heap_.front() = heap_.back();
                heap_.pop_back();
                break;
            case Head::there: break;
        }
        sift_down();
        return true;
    }
    void sift_down() {
        std::size_t at = 0;
        for (std::size_t child = 1; child < heap_.size(); child = 2 * at + 1) {
            if (child + 1 < heap_.size() && heap_[child + 1]->time < heap_[child]->time) ++child;
            if (heap_[at]->time <= heap_[child]->time) return;
            std::swap(heap_[at], heap_[child]);
            at = child;
        }
    }
    void free_read(Log& log) const;

    std::byte* base_ = nullptr;
    std::size_t mapped_ = 0;
    std::uint64_t bytes_ = 0;
    std::vector<Log> logs_;
    std::vector<Log*> heap_;
};

/// How many logs, and how large, for `wanted` bytes of all (0: what suits this machine); as the kernel allows.
struct LogLayout {
    std::uint32_t count = 1;
    std::uint64_t bytes = 4096;
    std::uint64_t value_bytes() const { return sizeof(tt_log) + bytes + TT_LOG_SLACK; }
};
LogLayout choose_layout(std::size_t wanted);

}  // namespace tcptrail::collect
