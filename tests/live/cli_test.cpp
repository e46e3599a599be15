// SPDX-License-Identifier: Apache-2.0
// The command line as scripts use it: exit statuses, signals, durations, pipes, privileges.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>

#include "privileges.h"
#include "suites.h"

namespace tcptrail::live {

namespace {

#define REQUIRE_BINARY()                                                    \
    do {                                                                    \
        if (access(binary_path().c_str(), X_OK) != 0) {                     \
            GTEST_SKIP() << "needs the tcptrail binary: " << binary_path(); \
        }                                                                   \
    } while (false)

/// Exactly one line of complaint, which is no wall of libbpf's.
void expect_one_line(const Output& output) {
    const auto lines = output.err_lines();
    EXPECT_EQ(lines.size(), 1U) << output.err;
    EXPECT_EQ(output.err.find("libbpf:"), std::string::npos) << output.err;
    EXPECT_TRUE(output.out.empty()) << output.out;
}

TEST(Cli, WrongUsageExitsTwo) {
    REQUIRE_BINARY();
    const std::vector<std::vector<std::string>> wrong = {
        {"--no-such-option"},
        {"no-such-command"},
        {"trace", "-d", "soon"},
        {"trace", "-d", "-1s"},
        {"trace", "-p", "abc"},
        {"trace", "-L", "70000"},
        {"trace", "-D", "-1"},
        {"trace", "-a", "300.1.1.1/8"},
        {"trace", "-a", "::1/129"},
        {"life", "--netns", "home"},
        {"trace", "-4", "-6", "extra"},
        {"trace", "--color", "blue"},
        {"trace", "--hooks", "magic"},
        {"record"},
        {"trace", "-C", "100M"},
        {"record", "-w", "f", "-W", "3"},
        {"record", "-w", "f", "-C", "1k"},
        {"record", "-w", "f", "--ring", "-W", "1"},
        {"trace", "-r", "f", "-w", "g"},
        {"trace", "--from", "12:00"},
        {"trace", "-r", "f", "--from", "noon"},
        {"trace", "-r", "f", "--to", "24:00"},
        {"export", "-r", "f"},
        {"export", "--to", "csv"},
        {"trace", "--diff", "a", "b"},
        {"report", "--diff", "a"},
    };
    for (const auto& args : wrong) {
        std::string shown;
        for (const std::string& arg : args) {
            shown += arg + " ";
        }
        const Output output = run_tcptrail(args, {}, 5000);
        EXPECT_EQ(output.status, 2) << shown << "\n" << output.err;
        EXPECT_FALSE(output.err.empty()) << shown;
    }
}

TEST(Cli, HelpAndVersionNeedNoPrivilege) {
    REQUIRE_BINARY();
    for (const char* option : {"--help", "-h", "--version"}) {
        const Output output =
            run_tcptrail({option}, geteuid() == 0 ? BeforeExec([] { signal(SIGPIPE, SIG_DFL); }) : BeforeExec());
        EXPECT_EQ(output.status, 0) << option << output.err;
        EXPECT_FALSE(output.out.empty()) << option;
    }
}

TEST(Cli, UnprivilegedUserExitsThreeWithOneLine) {
    REQUIRE_BINARY();
    for (const char* command : {"trace", "life"}) {
        Output output;
        if (geteuid() == 0) {
            const PublicCopy copy(binary_path());
            Tracer tracer;
            tracer.start_copy(copy.path(), {command}, become_nobody);
            output = tracer.wait();
        } else {
            output = run_tcptrail({command});
        }
        EXPECT_EQ(output.status, 3) << output.err;
        expect_one_line(output);
        EXPECT_NE(output.err.find("needs root, or CAP_BPF and CAP_PERFMON"), std::string::npos) << output.err;
    }
}

TEST(Cli, DurationEndsTheRun) {
    REQUIRE_TRACING();
    for (const auto& [option, least] : {std::pair{"500ms", 0.5}, std::pair{"1", 1.0}, std::pair{"1s", 1.0}}) {
        const Output output = run_tcptrail({"trace", "--json", "--duration", option});
        EXPECT_EQ(output.status, 0) << output.err;
        EXPECT_GE(output.seconds, least) << option;
        EXPECT_LT(output.seconds, least + 4) << option;
        const auto rows = output.rows();
        ASSERT_FALSE(rows.empty());
        EXPECT_EQ(output.last_row()["type"], "trace_end");
        EXPECT_NEAR(output.last_row()["window_s"].get<double>(), least, 0.5);
    }
}

TEST(Cli, SignalsEndTheRunInGoodOrder) {
    REQUIRE_TRACING();
    for (const char* command : {"trace", "life"}) {
        for (const int sent : {SIGINT, SIGTERM}) {
            for (const bool json : {true, false}) {
                Tracer tracer;
                tracer.start(json ? std::vector<std::string>{command, "--json"} : std::vector<std::string>{command});
                tracer.await_tracing();
                tracer.send(sent);
                const Output output = tracer.wait();
                EXPECT_EQ(output.status, 0) << command << " by signal " << sent << output.err;
                EXPECT_FALSE(output.out.empty());
                if (json) {
                    EXPECT_EQ(output.last_row()["type"], "trace_end");
                }
            }
        }
    }
}

TEST(Cli, EveryLineParsesWhenInterruptedUnderLoad) {
    REQUIRE_TRACING();
    Arena arena;
    Tracer tracer;
    tracer.start({"trace", "--json", "--netns", std::to_string(arena.inode())});
    tracer.await_tracing();
    const Who load = arena.spawn("tt-load", [] {
        const Fd listener = listen_on(Net::v4, 5001);
        for (int i = 0; i < 50000; ++i) {
            const Fd fd = dial(Net::v4, 5001);
            const Fd other = accept_from(listener.get());
        }
    });
    sleep_ms(700);
    const Output output = tracer.stop();
    kill(load.pid, SIGKILL);
    EXPECT_EQ(output.status, 0) << output.err;
    const auto rows = output.rows();  // throws at a line that does not parse
    EXPECT_GT(rows.size(), 1000U);
    EXPECT_EQ(output.last_row()["type"], "trace_end");
    EXPECT_EQ(output.last_row()["lost"], 0);
    EXPECT_EQ(output.last_row()["missed"], 0);
}

/// `tcptrail trace --json | jq -c .` under load, ended by SIGINT: jq reads all of it.
TEST(Cli, JqReadsEveryLineUnderLoad) {
    REQUIRE_TRACING();
    REQUIRE_PROGRAM("jq");
    Arena arena;
    int ends[2];
    ASSERT_EQ(pipe2(ends, O_CLOEXEC), 0);
    Fd reader(ends[0]);
    Fd writer(ends[1]);
    const Who jq = arena.spawn("jq", [&] {
        dup2(reader.get(), STDIN_FILENO);
        writer.close();
        const int null = open("/dev/null", O_WRONLY);
        dup2(null, STDOUT_FILENO);
        execlp("jq", "jq", "-c", ".", nullptr);
        raise("exec jq");
    });
    reader.close();
    Tracer tracer;
    tracer.start({"trace", "--json", "--netns", std::to_string(arena.inode())},
                 [&] { dup2(writer.get(), STDOUT_FILENO); });
    writer.close();
    tracer.await_tracing();
    const Who load = arena.spawn("tt-load", [] {
        const Fd listener = listen_on(Net::v4, 5001);
        for (int i = 0; i < 50000; ++i) {
            const Fd fd = dial(Net::v4, 5001);
            const Fd other = accept_from(listener.get());
        }
    });
    sleep_ms(700);
    const Output output = tracer.stop();
    kill(load.pid, SIGKILL);
    EXPECT_EQ(output.status, 0) << output.err;
    arena.join(jq);  // throws where jq did not exit with 0
}

/// As `tcptrail trace | head -1` does: the reader leaves after the first line.
TEST(Cli, BrokenPipeEndsQuietly) {
    REQUIRE_TRACING();
    for (const bool json : {true, false}) {
        Arena arena;
        int ends[2];
        ASSERT_EQ(pipe2(ends, O_CLOEXEC), 0);
        Fd reader(ends[0]);
        Fd writer(ends[1]);
        Tracer tracer;
        std::vector<std::string> args = {"trace", "--netns", std::to_string(arena.inode())};
        if (json) {
            args.push_back("--json");
        }
        tracer.start(args, [&] { dup2(writer.get(), STDOUT_FILENO); });
        writer.close();
        tracer.await_tracing();
        client_closes_first(
            arena, [] {}, 5);
        pollfd wanted{reader.get(), POLLIN, 0};
        ASSERT_EQ(poll(&wanted, 1, 5000), 1) << "nothing was printed in 5 s";
        reader.close();
        client_closes_first(
            arena, [] {}, 50);
        const Output output = tracer.wait(5000);
        EXPECT_TRUE(output.status == 0 || output.status == 128 + SIGPIPE) << output.status << output.err;
        EXPECT_EQ(output.err_lines().size(), 1U) << "more than the line `tcptrail: tracing`: " << output.err;
    }
}

TEST(Cli, UnwritableOutputExitsOneWithOneLine) {
    REQUIRE_TRACING();
    Arena arena;
    Tracer tracer;
    tracer.start({"trace", "--json", "--netns", std::to_string(arena.inode())}, [] {
        const int full = open("/dev/full", O_WRONLY);
        dup2(full, STDOUT_FILENO);
    });
    tracer.await_tracing();
    client_closes_first(
        arena, [] {}, 50);
    const Output output = tracer.stop();
    EXPECT_EQ(output.status, 1) << output.err;
    EXPECT_EQ(output.err_lines().size(), 2U) << output.err;  // `tracing` and the complaint
}

TEST(Cli, AnEventIsShownWithin100ms) {
    REQUIRE_TRACING();
    Arena arena;
    Tracer tracer;
    tracer.start({"trace", "--netns", std::to_string(arena.inode())});
    tracer.await_tracing();
    double best_ms = 1e9;
    for (int round = 0; round < 5; ++round) {
        sleep_ms(250);  // idle, as a machine at night
        const std::size_t before = tracer.out_so_far().size();
        std::int64_t then = 0;
        arena.inside([] { const Fd listener = listen_on(Net::v4, 5001); });
        then = wall_clock_ns();
        while (tracer.out_so_far().size() == before && wall_clock_ns() - then < 2'000'000'000) {
            sleep_ms(1);
        }
        best_ms = std::min(best_ms, static_cast<double>(wall_clock_ns() - then) / 1e6);
    }
    EXPECT_LT(best_ms, 100);
    tracer.stop();
}

std::size_t mounts_of(const std::string& type, const std::string& pid = "self") {
    const std::string text = read_file("/proc/" + pid + "/mountinfo");
    std::size_t found = 0;
    for (std::size_t at = 0; (at = text.find(" - " + type + " ", at)) != std::string::npos; ++at) {
        ++found;
    }
    return found;
}

TEST(Cli, UnmountedTracefsIsNotMountedOnTheHost) {
    REQUIRE_TRACING();
    const std::size_t before = mounts_of("tracefs");
    Tracer tracer;
    tracer.start({"trace"});
    tracer.await_tracing();
    EXPECT_EQ(mounts_of("tracefs"), before) << "while it runs";
    tracer.stop();
    EXPECT_EQ(mounts_of("tracefs"), before) << "afterwards";
}

/// With CAP_BPF and CAP_PERFMON only, tracing its own namespace.
void check_reduced(const BeforeExec& reduce, bool sees_accept) {
    Arena arena;
    const PublicCopy copy(binary_path());
    Tracer tracer;
    Bounds bounds{arena.inode(), 0, 0};
    Truth truth = client_closes_first(
        arena,
        [&] {
            tracer.start_copy(copy.path(), {"trace", "--json", "--netns", std::to_string(arena.inode())}, [&] {
                if (setns(arena.netns_fd(), CLONE_NEWNET) != 0) {
                    raise("setns");
                }
                reduce();
            });
            tracer.await_tracing();
            bounds.begin_ns = wall_clock_ns();
        },
        50);
    bounds.end_ns = wall_clock_ns();
    const Output output = tracer.stop();
    ASSERT_EQ(output.status, 0) << output.err;
    if (!sees_accept) {  // no syscall tracepoint: then the listener's own process is known another way
        for (Side& side : truth.sides) {
            for (Step& step : side.steps) {
                step.owner.evidence += step.owner.evidence == "accept" ? "|inherited|close" : "";
            }
        }
    }
    const Differences differences = compare_transitions(truth, output.rows(), bounds);
    EXPECT_TRUE(differences.empty()) << first_of(differences);
    EXPECT_LE(output.err_lines().size(), 2U) << "what is missing is one line: " << output.err;
}

TEST(Cli, CapBpfAndPerfmonAreEnoughAsRoot) {
    REQUIRE_TRACING();
    // Above 2, which Debian's kernels know, perf_event_open wants CAP_SYS_ADMIN. Where fentry serves it is not asked.
    const bool perf = std::atoi(read_file("/proc/sys/kernel/perf_event_paranoid").c_str()) <= 2;
    const bool tracefs = access("/sys/kernel/tracing/events", X_OK) == 0;  // mounting it takes CAP_SYS_ADMIN
    check_reduced(keep_bpf_as_root, tracefs && perf);
}

TEST(Cli, CapBpfAndPerfmonAreEnoughAsNobody) {
    REQUIRE_TRACING();
    check_reduced(keep_bpf_as_nobody, false);
}

}  // namespace

}  // namespace tcptrail::live
