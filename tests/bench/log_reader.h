// Reads the per-CPU logs of log.bpf.c and hands their records over in the order of their times. One thread.
#pragma once

#include <time.h>

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "log.h"

namespace bench {

inline std::uint64_t monotonic_ns() {
    timespec t{};
    clock_gettime(CLOCK_MONOTONIC, &t);  // what bpf_ktime_get_ns reads
    return static_cast<std::uint64_t>(t.tv_sec) * 1'000'000'000U + static_cast<std::uint64_t>(t.tv_nsec);
}

class LogReader {
public:
    /// `base` is the mapping of the whole array map; `stride` the bytes from one CPU's log to the next.
    LogReader(std::byte* base, std::size_t stride, int cpus, std::uint64_t mask) : mask_(mask) {
        for (int cpu = 0; cpu < cpus; ++cpu) {
            auto* head = reinterpret_cast<log_head*>(base + stride * static_cast<std::size_t>(cpu));
            logs_.push_back({head, reinterpret_cast<const std::byte*>(head + 1), head->tail, 0, kEmpty});
        }
    }

    /// Hands over every record older than a watermark that nothing still being written can undercut. Returns how many.
    template <typename Handler>
    std::size_t drain(Handler&& handler) {
        const std::uint64_t now = monotonic_ns();
        std::atomic_thread_fence(std::memory_order_seq_cst);
        bool settled = true;
        for (Log& log : logs_) settled &= look(log);
        if (settled) watermark_ = now;  // whoever had begun has finished: what comes later reads a later clock
        for (Log& log : logs_) peek(log);
        std::size_t handed = 0;
        for (;;) {  // the log with the oldest record gives records until another one is older
            Log* first = nullptr;
            std::uint64_t until = watermark_;
            for (Log& log : logs_) {
                if (first == nullptr || log.next_time < first->next_time) {
                    if (first != nullptr && first->next_time < until) until = first->next_time;
                    first = &log;
                } else if (log.next_time < until) {
                    until = log.next_time;
                }
            }
            if (first == nullptr || first->next_time > until) break;
            do {
                const log_record& record = at(*first);
                handler(record);
                first->position += record.size;
                ++handed;
                peek(*first);
            } while (first->next_time <= until && first->next_time != kEmpty);
        }
        for (Log& log : logs_) std::atomic_ref(log.shared->tail).store(log.position, std::memory_order_release);
        return handed;
    }

    std::uint64_t lost() const {
        std::uint64_t sum = 0;
        for (const Log& log : logs_) sum += log.shared->lost;
        return sum;
    }

private:
    static constexpr std::uint64_t kEmpty = ~0ULL;
    struct Log {
        log_head* shared;
        const std::byte* bytes;
        std::uint64_t position;
        std::uint64_t end;        // complete up to here, as last looked
        std::uint64_t next_time;  // of the record at `position`; kEmpty if there is none
    };

    const log_record& at(const Log& log) const {
        return *reinterpret_cast<const log_record*>(log.bytes + (log.position & mask_));
    }
    void peek(Log& log) const { log.next_time = log.position == log.end ? kEmpty : at(log).time_ns; }

    // False if a record is being written there, even after a short wait (its CPU may have been taken away).
    static bool look(Log& log) {
        for (int i = 0; i < 1000; ++i) {
            const auto begun = std::atomic_ref(log.shared->begun).load(std::memory_order_acquire);
            log.end = std::atomic_ref(log.shared->head).load(std::memory_order_acquire);
            if (begun <= log.end) return true;
        }
        return false;
    }

    std::vector<Log> logs_;
    std::uint64_t mask_;
    std::uint64_t watermark_ = 0;
};

}  // namespace bench
