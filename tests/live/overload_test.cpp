// SPDX-License-Identifier: Apache-2.0
// A reader that is stopped, with room for some eighty records: what is lost is counted exactly, the connections that it
// touched say so, and what comes afterwards is whole.
#include <gtest/gtest.h>
#include <sched.h>
#include <signal.h>
#include <unistd.h>

#include <filesystem>
#include <map>
#include <regex>

#include "compare.h"
#include "privileges.h"
#include "scene.h"
#include "stage.h"

namespace tcptrail::live {

namespace {

constexpr int kTouched = 20;
constexpr int kFlood = 1000;
constexpr int kAfter = 2;  // connections at a time: they find room between two looks of the reader, addresses and all

/// Connections that are opened while the reader runs, and closed while it does not.
class Touched {
public:
    explicit Touched(Arena& arena) : arena_(arena) {
        server_ = arena_.spawn("tt-server", [&] {
            const Fd listener = open_listener(stage_);
            for (const Fd& fd : accept_and_greet(listener.get(), kTouched)) {
                await_eof(fd.get());
            }
        });
        stage_.listening.take();
        client_ = arena_.spawn("tt-client", [&] {
            std::vector<Fd> fds;
            for (int i = 0; i < kTouched; ++i) {  // not faster than the reader, which looks every 50 ms
                fds.push_back(dial_and_note(stage_, i));
                sleep_ms(20);
            }
            opened_.give();
            stage_.to_client.take();
        });
        opened_.take();
    }

    Truth close() {
        stage_.to_client.give();
        arena_.join(client_);
        arena_.join(server_);
        arena_.settle();
        Truth truth;
        truth.add(listener_side(server_, server_));
        for (int i = 0; i < kTouched; ++i) {
            truth.add(Side::active(stage_.client(i), client_)).closes_first(client_);
            truth.add(Side::passive(stage_.server(i), server_, server_)).closes_second(server_);
        }
        return truth;
    }

private:
    Arena& arena_;
    Stage stage_;
    Cue opened_;
    Who server_;
    Who client_;
};

std::string key_of(const Json& row) {
    return row["laddr"].get<std::string>() + " " + row["lport"].dump() + " " + row["raddr"].get<std::string>() + " " +
           row["rport"].dump();
}

std::string key_of(const Tuple& tuple) {
    return std::string(tuple.laddr) + " " + std::to_string(tuple.lport) + " " + tuple.raddr + " " +
           std::to_string(tuple.rport);
}

}  // namespace

TEST(Overload, IsCountedExactlyAndEnds) {
    REQUIRE_TRACING();
    Arena arena;
    Tracer tracer;
    tracer.start({"life", "--json", "--buffer", "4k", "--netns", std::to_string(arena.inode())});
    tracer.await_tracing();
    Touched touched(arena);
    sleep_ms(300);  // the reader has all that came so far

    tracer.send(SIGSTOP);
    const std::int64_t stopped_ns = wall_clock_ns();
    const Truth closed = touched.close();
    const Truth flood = client_closes_first(
        arena, [] {}, kFlood);
    while (wall_clock_ns() < stopped_ns + 2'000'000'000) {
        sleep_ms(10);
    }
    tracer.send(SIGCONT);
    sleep_ms(3500);  // it looks again at most once a second

    Bounds bounds;
    bounds.netns = arena.inode();
    bounds.begin_ns = wall_clock_ns();
    Truth after;
    for (int scene = 0; scene < 8; ++scene) {
        for (const Side& side : client_closes_first(
                                    arena, [] {}, kAfter)
                                    .sides) {
            after.add(side);
        }
        sleep_ms(300);
    }
    bounds.end_ns = wall_clock_ns();
    const Output output = tracer.stop();
    EXPECT_EQ(output.status, 0) << output.err;

    const Json end = output.last_row();
    const long made = closed.transitions() + flood.transitions() + after.transitions();
    const long seen = end.at("transitions").get<long>();
    const long lost = end.at("lost").get<long>();
    EXPECT_EQ(seen + lost + end.at("missed").get<long>(), made) << end;
    EXPECT_GT(lost, flood.transitions() / 2) << end;

    std::map<std::string, std::vector<Json>> before;  // by both ends
    std::vector<Json> rows_after;
    for (const Json& row : output.rows()) {
        if (row["type"] != "connection") {
            continue;
        }
        if (parse_time(row["time"]) < bounds.begin_ns) {
            before[key_of(row)].push_back(row);
        } else {
            rows_after.push_back(row);
        }
    }
    int touched_rows = 0;
    for (const Side& side : closed.sides) {
        if (side.role == Role::listener) {
            continue;
        }
        const std::vector<Json>& rows = before[key_of(side.tuple)];
        ASSERT_EQ(rows.size(), 1U) << key_of(side.tuple);
        // The first of them found room to the end. Where LISTEN -> SYN_RECV is only counted, SYN_RECV has no beginning.
        const std::size_t unseen = side.role == Role::passive && !kernel_shows_syn_recv() ? 1 : 0;
        // Its reason may be unknown all the same: a record that is no transition, of a RST, may have been lost.
        const bool whole = rows[0].at("states").size() + unseen == side.steps.size() - 1;
        EXPECT_EQ(rows[0].at("complete").get<bool>(), whole) << rows[0];
        touched_rows += whole ? 0 : 1;
    }
    // Their ends are 304 bytes a pair, so that at least 1984 of 6080 find no room, at most 152 of them one socket's.
    EXPECT_GE(touched_rows, 13);
    EXPECT_GE(end.at("incomplete_connections").get<long>(), touched_rows) << end;
    const Differences differences = compare_connection_rows(after, rows_after, bounds);
    EXPECT_TRUE(differences.empty()) << first_of(differences) << "\nstderr:\n" << output.err;
}

namespace {

/// By thread: SCHED_OTHER or SCHED_RR.
std::map<pid_t, int> policies_of(const Tracer& tracer) {
    std::map<pid_t, int> policies;
    for (const auto& task : std::filesystem::directory_iterator("/proc/" + std::to_string(tracer.pid()) + "/task")) {
        const pid_t tid = std::stoi(task.path().filename());
        policies[tid] = sched_getscheduler(tid) & ~SCHED_RESET_ON_FORK;
    }
    return policies;
}

}  // namespace

/// The one thread that must not wait for a processor is the reader; the recorder's get theirs as everybody does.
TEST(Overload, TheReaderRunsAtRealTimePriority) {
    REQUIRE_TRACING();
    Arena arena;
    const std::string file = "/tmp/tt-overload-" + std::to_string(getpid());
    Tracer tracer;
    tracer.start({"record", "-w", file, "--netns", std::to_string(arena.inode())});
    tracer.await_tracing();
    const std::map<pid_t, int> policies = policies_of(tracer);
    EXPECT_EQ(policies.size(), 4U);
    for (const auto& [tid, policy] : policies) {
        EXPECT_EQ(policy, tid == tracer.pid() ? SCHED_RR : SCHED_OTHER) << tid;
    }
    const Output output = tracer.stop();
    unlink(file.c_str());
    EXPECT_EQ(output.status, 0) << output.err;
    EXPECT_EQ(output.err_lines().size(), 1U) << output.err;
}

TEST(Overload, WithoutThatPriorityALateReaderSaysSoOnce) {
    REQUIRE_TRACING();
    Arena arena;
    Tracer tracer;
    tracer.start({"life", "--json", "--buffer", "4k", "--netns", std::to_string(arena.inode())}, drop_sys_nice);
    tracer.await_tracing();
    EXPECT_EQ(policies_of(tracer), (std::map<pid_t, int>{{tracer.pid(), SCHED_OTHER}}));
    sleep_ms(300);
    EXPECT_EQ(tracer.err_so_far(), "tcptrail: tracing\n");
    for (int round = 0; round < 2; ++round) {
        tracer.send(SIGSTOP);
        client_closes_first(
            arena, [] {}, 200);
        sleep_ms(300);
        tracer.send(SIGCONT);
        sleep_ms(300);
    }
    const Output output = tracer.stop();
    EXPECT_EQ(output.status, 0) << output.err;
    const std::regex late(
        "tcptrail: this machine is so busy that the reader was woken [0-9]{3,4} ms late, and real-time priority is "
        "refused \\(Operation not permitted\\): more may be lost");
    ASSERT_EQ(output.err_lines().size(), 2U) << output.err;
    EXPECT_TRUE(std::regex_match(output.err_lines()[1], late)) << output.err;
}

}  // namespace tcptrail::live
