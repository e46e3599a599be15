// SPDX-License-Identifier: Apache-2.0
// What a million connections cost. A program of its own: it counts what all of it allocates.
#include <malloc.h>

#include <algorithm>
#include <array>
#include <cstdlib>
#include <cstring>
#include <new>

#include <gtest/gtest.h>

#include "track/huge_memory.h"
#include "track/table.h"

namespace {

std::size_t allocated = 0;
std::size_t most_allocated = 0;

/// What stands at a huge page's beginning, and its bytes: the heap's gap before it is address space that nobody touches.
struct Huge {
    void* at = nullptr;
    std::size_t bytes = 0;
};
std::array<Huge, 64> huge;

/// Its own record, or a free one for nullptr; nullptr: none.
Huge* huge_at(void* at) {
    const auto found = std::find_if(huge.begin(), huge.end(), [at](const Huge& each) { return each.at == at; });
    return found != huge.end() ? &*found : nullptr;
}

std::size_t bytes_of(void* at) {
    const Huge* const known = huge_at(at);
    return known != nullptr ? known->bytes : malloc_usable_size(at) + sizeof(std::size_t);  // and the heap's own word
}

}  // namespace

void* operator new(std::size_t bytes, std::align_val_t alignment) {
    void* const at = std::aligned_alloc(static_cast<std::size_t>(alignment), bytes);
    if (at == nullptr) {
        throw std::bad_alloc();
    }
    if (static_cast<std::size_t>(alignment) >= tcptrail::track::kHugePage) {
        Huge* const fresh = huge_at(nullptr);
        if (fresh == nullptr) {
            throw std::bad_alloc();
        }
        *fresh = {at, bytes};
    }
    allocated += bytes_of(at);
    most_allocated = std::max(most_allocated, allocated);
    return at;
}
void* operator new(std::size_t bytes) {
    return operator new (bytes, std::align_val_t{alignof(std::max_align_t)});
}
void operator delete(void* at) noexcept {
    if (at != nullptr) {
        allocated -= bytes_of(at);
        if (Huge* const known = huge_at(at)) {
            *known = {};
        }
    }
    std::free(at);
}
void operator delete(void* at, std::size_t) noexcept {
    operator delete(at);
}
void operator delete(void* at, std::align_val_t) noexcept {
    operator delete(at);
}

namespace tcptrail::test {
namespace {

constexpr std::uint64_t kConnections = 1'000'000;
constexpr std::size_t kAllowed = std::size_t{256} << 20;

struct Deaf final : TrackObserver {};

tt_head head_of(tt_u8 type, std::size_t size, tt_u64 time) {
    tt_head head{};
    head.size = static_cast<tt_u16>(size);
    head.type = type;
    head.time = time;
    return head;
}

/// Opens of both families, each with ends of its own.
tt_open open_record(std::uint64_t n, State old, State fresh) {
    tt_open open{};
    open.step.head = {.size = sizeof(open),
                      .type = TT_OPEN,
                      .flags = TT_F_HAS_SOCKET,
                      .old_state = static_cast<tt_u8>(old),
                      .new_state = static_cast<tt_u8>(fresh),
                      .lport = static_cast<tt_u16>(1024 + n % 60'000),
                      .time = 1'000'000'000 + n};
    open.step.cookie = 4096 + n;
    open.netns = 4026531840U;
    open.family = n % 2 == 0 ? 2 : 10;
    open.rport = 443;
    const auto host = static_cast<std::uint32_t>(n / 60'000);
    std::memcpy(open.raddr, &host, sizeof(host));
    return open;
}

TEST(Memory, AMillionLiveConnectionsFit) {
    Deaf deaf;
    const std::size_t before = most_allocated = allocated;
    ConnectionTable table(deaf);
    for (std::uint64_t n = 0; n < kConnections; ++n) {
        table.apply(open_record(n, State::close, State::syn_sent).step.head);
        table.apply(open_record(n, State::syn_sent, State::established).step.head);
    }
    EXPECT_EQ(table.size(), kConnections);
    EXPECT_EQ(table.trace_end().evicted, 0U);
    EXPECT_LE(most_allocated - before, kAllowed) << "on the way";
    RecordProperty("bytes_per_connection", std::to_string((allocated - before) / kConnections));
    std::printf("%zu bytes a connection, index included; %zu at the most\n", (allocated - before) / kConnections,
                (most_allocated - before) / kConnections);
}

/// So many connections go from open to TIME_WAIT.
void fill_time_wait(ConnectionTable& table, std::uint64_t connections) {
    for (std::uint64_t n = 0; n < connections; ++n) {
        table.apply(open_record(n, State::syn_sent, State::established).step.head);
        tt_close close{};
        close.step = open_record(n, State::fin_wait2, State::close).step;
        close.step.head.type = TT_CLOSE;
        close.step.head.size = sizeof(close);
        close.close_flags = TT_C_DEAD | TT_C_DONE;
        close.tw_max = 4'000'000;
        table.apply(close.step.head);
    }
}

TEST(Memory, AMillionInTimeWaitFit) {
    Deaf deaf;
    const std::size_t before = most_allocated = allocated;
    ConnectionTable table(deaf);
    fill_time_wait(table, kConnections);
    EXPECT_EQ(table.size(), kConnections);
    EXPECT_LE(most_allocated - before, kAllowed) << "on the way";
    std::printf("%zu bytes a time-wait socket, both indexes included; %zu at the most\n",
                (allocated - before) / kConnections, (most_allocated - before) / kConnections);
}

/// The first snapshot of a machine on which so many sockets, of which nothing else is known, stand in TIME_WAIT.
void show_time_wait(ConnectionTable& table, std::uint64_t sockets) {
    tt_snapshot bound{};
    bound.head = head_of(TT_SNAPSHOT, sizeof(bound), 900'000'000);
    bound.what = TT_SNAP_FIRST | TT_SNAP_SOCKETS;
    table.apply(bound.head);
    tt_socket row{};
    row.head = bound.head;
    row.head.size = sizeof(row);
    row.head.type = TT_SOCKET;
    row.head.new_state = static_cast<tt_u8>(State::time_wait);
    for (std::uint64_t n = 0; n < sockets; ++n) {
        table.apply(row.head);
    }
    bound.head.flags = TT_F_END;
    table.apply(bound.head);
    bound.what |= TT_SNAP_MARK;
    table.apply(bound.head);
}

/// What those that stood there leave is filled by the trace's own within a minute, and a flood is no time to fetch memory.
TEST(Memory, RoomIsReadyForAsManyAsStoodInTimeWait) {
    constexpr std::uint64_t stood = 200'000;
    constexpr std::size_t least = stood * sizeof(track::Connection);
    Deaf deaf;
    std::size_t before = allocated;
    ConnectionTable table(deaf);
    show_time_wait(table, stood);
    EXPECT_GE(allocated - before, least);
    before = most_allocated = allocated;
    fill_time_wait(table, stood);
    EXPECT_EQ(table.size(), stood);
    EXPECT_LT(most_allocated - before, least / 8) << "but for the queue of their ends";

    before = allocated;
    ConnectionTable no_time_wait(deaf, {.rows = false});
    show_time_wait(no_time_wait, stood);
    EXPECT_LT(allocated - before, least / 8) << "it never remembers one";
    before = allocated;
    ConnectionTable small(deaf, {.connections = 1000});
    show_time_wait(small, stood);
    EXPECT_LT(allocated - before, least) << "it will never hold more";
}

struct LastOwner final : TrackObserver {
    void on_ended(const ConnectionRow& row) override { last = row.owner; }
    Owner last;
};

/// Weeks of a machine on which processes come, connect and go; their pids start over after so many.
void let_processes_pass(std::uint32_t pids) {
    LastOwner heard;
    const std::size_t before = most_allocated = allocated;
    ConnectionTable table(heard);
    std::uint64_t cookie = 0;
    constexpr std::uint32_t first_pid = 1000;
    // As the programs make it: when it started, in 42 bits, and its thread.
    const auto actor_of = [](std::uint32_t start, std::uint32_t pid) { return std::uint64_t{start} << 22 | pid; };
    const auto describe = [&](std::uint32_t start, std::uint32_t pid) {
        struct {
            tt_cgroup record{};
            char path[88] = "/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod0.slice/nginx.service";
        } named;
        named.record.head = head_of(TT_CGROUP, sizeof(named), 1'000'000'000);
        named.record.id = start;  // each in a group of its own
        table.apply(named.record.head);
        tt_process process{};
        process.head = head_of(TT_PROCESS, sizeof(process), 1'000'000'000);
        process.id = actor_of(start, pid);
        process.tgid = pid;
        process.start_ns = start;
        process.cgroup = start;
        table.apply(process.head);
    };
    const auto step = [&](std::uint64_t actor, State old, State fresh) {
        tt_open open = open_record(cookie, old, fresh);
        open.step.head.flags |= TT_F_OWNED;
        open.step.actor = actor;
        if (fresh != State::close) {
            table.apply(open.step.head);
            return;
        }
        tt_close close{};
        close.step = open.step;
        close.step.head.type = TT_CLOSE;
        close.step.head.size = sizeof(close);
        close.close_flags = TT_C_DEAD;
        close.sk_err = 111;
        table.apply(close.step.head);
    };
    constexpr std::uint32_t old_pid = 7;
    const std::uint64_t old_actor = actor_of(old_pid, old_pid);
    describe(old_pid, old_pid);
    step(old_actor, State::close, State::syn_sent);
    const std::uint64_t old_cookie = cookie;
    for (std::uint32_t n = 0; n < kConnections; ++n) {
        ++cookie;
        const std::uint32_t start = first_pid + n;
        const std::uint32_t pid = first_pid + n % pids;
        describe(start, pid);
        step(actor_of(start, pid), State::close, State::syn_sent);
        step(actor_of(start, pid), State::syn_sent, State::close);
        const Process* owner = table.find(heard.last.process);
        ASSERT_TRUE(owner != nullptr && owner->pid == pid);
    }
    cookie = old_cookie;
    step(old_actor, State::syn_sent, State::close);
    const Process* owner = table.find(heard.last.process);
    ASSERT_NE(owner, nullptr);
    EXPECT_EQ(owner->pid, old_pid);
    EXPECT_EQ(owner->unit, "nginx.service");
    EXPECT_LE(most_allocated - before, std::size_t{96} << 20);
    std::printf("%zu MiB at the most\n", (most_allocated - before) >> 20);
}

TEST(Memory, AMillionShortLivedProcessesPass) {
    let_processes_pass(kConnections);
}

TEST(Memory, AMillionProcessesOfFewPidsPass) {
    let_processes_pass(31'000);
}

}  // namespace
}  // namespace tcptrail::test
