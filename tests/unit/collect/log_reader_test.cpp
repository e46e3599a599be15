// SPDX-License-Identifier: Apache-2.0
// The per-CPU logs: what bpf/emit.bpf.h does, done here by threads, and what the reader makes of it.
#include "collect/log_reader.h"

#include <atomic>
#include <mutex>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include <gtest/gtest.h>
#include <sys/mman.h>
#include <unistd.h>

namespace tcptrail::collect {
namespace {

/// The memory that the kernel's map would be, and writers to it in the programs' words.
class Logs {
public:
    Logs(std::uint32_t count, std::uint64_t bytes) : layout_{count, bytes} {
        stride_ = layout_.value_bytes();
        size_ = (stride_ * count + 4095) / 4096 * 4096;
        fd_ = memfd_create("logs", 0);
        EXPECT_EQ(ftruncate(fd_, static_cast<off_t>(size_)), 0);
        base_ = static_cast<std::byte*>(mmap(nullptr, size_, PROT_READ | PROT_WRITE, MAP_SHARED, fd_, 0));
        int error = 0;
        reader_.emplace(fd_, count, bytes, error);
        EXPECT_EQ(error, 0);
    }
    ~Logs() {
        munmap(base_, size_);
        close(fd_);
    }
    Logs(const Logs&) = delete;
    Logs& operator=(const Logs&) = delete;

    tt_log& log(std::size_t cpu) { return *reinterpret_cast<tt_log*>(base_ + stride_ * cpu); }

    /// claim(): room for a record, or null, which is counted.
    tt_step* claim(std::size_t cpu, std::uint64_t size = sizeof(tt_step)) {
        tt_log& to = log(cpu);
        const std::atomic_ref reserved(to.reserved);
        for (std::uint64_t at = reserved.load();;) {
            const auto used = static_cast<std::int64_t>(at + size - std::atomic_ref(to.read).load());
            if (used > static_cast<std::int64_t>(layout_.bytes)) {
                std::atomic_ref(to.lost).fetch_add(1);
                return nullptr;
            }
            if (!reserved.compare_exchange_weak(at, at + size)) continue;
            auto* bytes = reinterpret_cast<std::byte*>(&to + 1) + (at & (layout_.bytes - 1));
            for (std::uint64_t i = 0; i < size; ++i) EXPECT_EQ(bytes[i], std::byte{0}) << "room that is not zero";
            return reinterpret_cast<tt_step*>(bytes);
        }
    }

    static void commit(tt_step* record, std::uint64_t size = sizeof(tt_step)) {
        tt_head head{};
        head.size = static_cast<tt_u16>(size);
        head.type = TT_STEP;
        std::uint64_t first = 0;
        std::memcpy(&first, &head, sizeof(first));
        std::atomic_ref(*reinterpret_cast<std::uint64_t*>(record)).store(first, std::memory_order_release);
    }

    void write(std::size_t cpu, std::uint64_t time, std::uint64_t cookie, std::uint64_t size = sizeof(tt_step)) {
        tt_step* record = claim(cpu, size);
        if (record == nullptr) return;
        record->head.time = time;
        record->cookie = cookie;
        commit(record, size);
    }

    /// The cookies of what a drain hands over, in order.
    std::string read(std::size_t at_most = ~std::size_t{0}) {
        std::string out;
        const auto take = [&](const tt_head& head) {
            out += std::to_string(reinterpret_cast<const tt_step&>(head).cookie) + " ";
            EXPECT_EQ(announced_.erase(&head), 1u) << "a record came without a word before";
        };
        last = reader_->drain(at_most, take, [&](const tt_head& head) {
            EXPECT_GT(head.size, 0u) << "an incomplete record was announced";
            EXPECT_TRUE(announced_.insert(&head).second) << "a record was announced twice";
        });
        return out;
    }

    LogReader& reader() { return *reader_; }
    Drained last;

private:
    LogLayout layout_;
    std::size_t stride_ = 0;
    std::size_t size_ = 0;
    int fd_ = -1;
    std::byte* base_ = nullptr;
    std::set<const tt_head*> announced_;  // and not taken
    std::optional<LogReader> reader_;
};

TEST(LogReader, MergesByTime) {
    Logs logs(4, 4096);
    logs.write(2, 30, 3);
    logs.write(0, 10, 1);
    logs.write(3, 40, 4);
    logs.write(0, 20, 2);
    logs.write(2, 50, 5);
    EXPECT_EQ(logs.read(), "1 2 3 4 5 ");
    EXPECT_TRUE(logs.last.all);
    EXPECT_EQ(logs.last.fullest, 2 * sizeof(tt_step));
    EXPECT_EQ(logs.read(), "");
}

TEST(LogReader, ARecordBehindALaterOneOfItsLogStillGoesBeforeWhatBeganAfterIt) {
    Logs logs(2, 4096);
    logs.write(0, 20, 1);  // a softirq's, inside of the program that writes the next one
    logs.write(0, 10, 2);
    logs.write(1, 30, 3);
    EXPECT_EQ(logs.read(), "1 2 3 ");
}

TEST(LogReader, LeavesWhatBeganAfterTheDrain) {
    Logs logs(2, 4096);
    logs.write(0, 10, 1);
    logs.write(1, monotonic_ns() + 3'600'000'000'000, 2);
    EXPECT_EQ(logs.read(), "1 ");
    EXPECT_TRUE(logs.last.all);
}

TEST(LogReader, AnIncompleteRecordHoldsUpWhatMayDependOnIt) {
    Logs logs(2, 4096);
    logs.write(0, 10, 1);
    tt_step* open = logs.claim(0);
    logs.write(0, 30, 3);
    logs.write(1, 40, 4);
    EXPECT_EQ(logs.read(), "1 ");
    EXPECT_FALSE(logs.last.all);
    open->head.time = 20;
    open->cookie = 2;
    Logs::commit(open);
    EXPECT_EQ(logs.read(), "2 3 4 ");
    EXPECT_TRUE(logs.last.all);
}

TEST(LogReader, StopsAtTheGivenNumber) {
    Logs logs(1, 4096);
    for (std::uint64_t i = 1; i <= 3; ++i) logs.write(0, i, i);
    EXPECT_EQ(logs.read(2), "1 2 ");
    EXPECT_FALSE(logs.last.all);
    EXPECT_EQ(logs.read(2), "3 ");
    EXPECT_TRUE(logs.last.all);
}

TEST(LogReader, WhatFindsNoRoomIsCountedAndNothingElseIsLost) {
    Logs logs(1, 4096);
    for (std::uint64_t i = 0; i < 200; ++i) logs.write(0, i, i);
    std::uint64_t seen = 0;
    logs.reader().drain(~std::size_t{0}, [&](const tt_head& head) {
        EXPECT_EQ(reinterpret_cast<const tt_step&>(head).cookie, seen);
        ++seen;
    });
    EXPECT_EQ(seen, 4096 / sizeof(tt_step));
    EXPECT_EQ(logs.reader().counts().lost, 200 - seen);
    logs.write(0, 300, 7);
    EXPECT_EQ(logs.read(), "7 ");
}

TEST(LogReader, RecordsRunPastTheEndAndTheRoomIsZeroAgain) {
    Logs logs(1, 4096);
    constexpr std::uint64_t sizes[] = {32, 80, 88};  // no lap ends where another did
    for (std::uint64_t i = 1; i <= 10'000; ++i) {    // claim() looks at every byte
        logs.write(0, i, i, sizes[i % 3]);
        if (i % 40 == 0) {
            std::uint64_t next = i - 39;
            logs.reader().drain(~std::size_t{0}, [&](const tt_head& head) {
                EXPECT_EQ(head.size, sizes[next % 3]);
                EXPECT_EQ(reinterpret_cast<const tt_step&>(head).cookie, next++);
            });
            EXPECT_EQ(next, i + 1);
        }
    }
    EXPECT_EQ(logs.reader().counts().lost, 0U);
}

/// Connections whose events any of several writers makes, one after the other, as the socket's lock has it; two writers
/// share each log. Every event must come out once, in its connection's order.
TEST(LogReader, ManyWritersOneOrder) {
    constexpr std::size_t writers = 4;
    constexpr std::size_t connections = 8;
    constexpr std::uint64_t events = 20'000;  // of each writer
    Logs logs(2, 1 << 14);
    struct Connection {
        std::mutex lock;
        std::uint64_t made = 0;
    };
    std::vector<Connection> all(connections);
    std::atomic<std::size_t> running = writers;
    std::vector<std::thread> threads;
    for (std::size_t w = 0; w < writers; ++w) {
        threads.emplace_back([&, w] {
            for (std::uint64_t i = 0; i < events; ++i) {
                Connection& mine = all[(i * 7 + w) % connections];
                const std::lock_guard guard(mine.lock);
                const std::uint64_t now = monotonic_ns();
                tt_step* record = nullptr;
                while ((record = logs.claim(w / 2)) == nullptr) std::this_thread::yield();
                record->head.time = now;
                record->cookie = (i * 7 + w) % connections;
                record->actor = mine.made++;
                Logs::commit(record);
            }
            --running;
        });
    }
    std::vector<std::uint64_t> seen(connections);
    std::uint64_t out_of_order = 0;
    for (bool last = false; !last;) {
        last = running == 0;
        logs.reader().drain(~std::size_t{0}, [&](const tt_head& head) {
            const auto& step = reinterpret_cast<const tt_step&>(head);
            out_of_order += step.actor != seen[step.cookie];
            ++seen[step.cookie];
        });
    }
    for (auto& thread : threads) thread.join();
    EXPECT_EQ(out_of_order, 0U);
    for (std::size_t c = 0; c < connections; ++c) EXPECT_EQ(seen[c], all[c].made) << c;
}

TEST(LogLayout, SharesTheBytesAmongTheCpus) {
    const auto cpus = std::bit_ceil(static_cast<std::uint64_t>(sysconf(_SC_NPROCESSORS_ONLN)));
    const LogLayout page = choose_layout(1);  // one page: one log for all CPUs
    EXPECT_EQ(page.count, 1U);
    EXPECT_EQ(page.bytes, static_cast<std::uint64_t>(sysconf(_SC_PAGESIZE)));
    const LogLayout some = choose_layout(cpus * 100'000);
    EXPECT_EQ(some.count, cpus);
    EXPECT_EQ(some.bytes, 128U << 10);
    EXPECT_EQ(choose_layout(0).count, cpus);
}

}  // namespace
}  // namespace tcptrail::collect
