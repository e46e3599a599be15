// SPDX-License-Identifier: Apache-2.0
// `tcptrail timewait --json`: the ledger against the kernel's own count, its origins against the scene's pids.
#include <gtest/gtest.h>
#include <signal.h>

#include <algorithm>
#include <cstdlib>
#include <functional>
#include <map>
#include <tuple>

#include "stage.h"
#include "suites.h"

namespace tcptrail::live {

namespace {

/// TCPTRAIL_LIVE_ROUNDS: ctest and a slow guest make do with fewer.
int rounds() {
    const char* const wish = std::getenv("TCPTRAIL_LIVE_ROUNDS");
    return wish != nullptr ? std::atoi(wish) : 5;
}

const int kThousand = part_of(1000);

/// owner pid, closer pid, role.
using Origin = std::tuple<int, int, std::string>;

std::map<Origin, int> true_origins(const Truth& truth) {
    std::map<Origin, int> origins;
    for (const Side& side : truth.sides) {
        if (side.time_wait) {
            ++origins[{side.owner.who.pid, side.closer->who.pid, side.role == Role::active ? "active" : "passive"}];
        }
    }
    return origins;
}

/// What the report says, and whether its parts add up.
std::map<Origin, int> read_origins(const Json& report) {
    std::map<Origin, int> origins;
    for (const Json& origin : report.value("origins", Json::array())) {
        const int created = origin.value("created", -1);
        origins[{origin["owner"].value("pid", 0), origin["closer"].value("pid", 0), origin.value("role", "")}] +=
            created;
        int to_all = 0;
        for (const Json& destination : origin.value("destinations", Json::array())) {
            to_all += destination.value("created", 0);
            EXPECT_EQ(destination["raddr"], "127.0.0.1");
            if (origin["role"] == "active") {
                EXPECT_EQ(destination["rport"], kPort);
            } else {
                EXPECT_EQ(destination["lport"], kPort);
            }
        }
        EXPECT_EQ(to_all, created) << origin;
    }
    return origins;
}

using Run = std::function<Truth(Arena&, const TraceBegins&)>;

/// A server that closes first: now and then a client takes a port again, and its SYN takes over the TIME_WAIT that stands there.
/// Then the scene is made again, at most twice.
void expect_exact_ledger(const Run& scene, int again = 2) {
    Arena arena;
    let_timers_alone_end(arena);
    Tracer tracer;
    const Truth truth = scene(arena, [&] {
        tracer.start({"timewait", "--json", "--netns", std::to_string(arena.inode())});
        tracer.await_tracing();
    });
    const int standing = arena.sockstat("tw");
    const Output output = tracer.stop();
    ASSERT_EQ(output.status, 0) << output.err;
    const Json report = last_of(output.rows(), "timewait");
    const auto created =
        std::count_if(truth.sides.begin(), truth.sides.end(), [](const Side& side) { return side.time_wait; });
    if (standing != created && again > 0) {
        expect_exact_ledger(scene, again - 1);
        return;
    }
    EXPECT_EQ(standing, created) << "the scene is not what it says";
    EXPECT_EQ(report["created"], created);
    EXPECT_EQ(report["kernel_now"], standing);
    EXPECT_EQ(report["explained_now"], standing);
    EXPECT_EQ(report["before_trace_now"], 0);
    EXPECT_EQ(report["overflow"], 0);
    EXPECT_EQ(report["undecided"], 0);
    EXPECT_EQ(report["ended"], 0);
    EXPECT_EQ(read_origins(report), true_origins(truth));
    const Differences differences = compare_trace_end(truth, output.rows());
    EXPECT_TRUE(differences.empty()) << first_of(differences);
}

void in_five_rounds(const Run& scene) {
    REQUIRE_TRACING();
    for (int round = 1; round <= rounds() && !testing::Test::HasFailure(); ++round) {
        SCOPED_TRACE("round " + std::to_string(round));
        expect_exact_ledger(scene);
    }
}

TEST(TimeWait, ClientCloses) {
    in_five_rounds([](Arena& a, const TraceBegins& b) { return client_closes_first(a, b, kThousand); });
}

TEST(TimeWait, ServerCloses) {
    in_five_rounds([](Arena& a, const TraceBegins& b) { return server_closes_first(a, b, kThousand); });
}

TEST(TimeWait, Simultaneous) {
    in_five_rounds([](Arena& a, const TraceBegins& b) { return simultaneous_close(a, b, kThousand); });
}

TEST(TimeWait, HalfClose) {
    in_five_rounds([](Arena& a, const TraceBegins& b) { return half_close(a, b, kThousand); });
}

TEST(TimeWait, SilentPeer) {
    in_five_rounds([](Arena& a, const TraceBegins& b) { return silent_peer(a, b, kThousand); });
}

TEST(TimeWait, Reset) {
    in_five_rounds([](Arena& a, const TraceBegins& b) { return linger_reset(a, b, kThousand); });
}

TEST(TimeWait, Batch) {
    in_five_rounds([](Arena& a, const TraceBegins& b) { return closed_in_a_batch(a, b, kThousand); });
}

TEST(TimeWait, OlderOnesAreCountedApart) {
    REQUIRE_TRACING();
    Arena arena;
    let_timers_alone_end(arena);
    client_closes_first(
        arena, [] {}, 300);
    Tracer tracer;
    tracer.start({"timewait", "--json", "--netns", std::to_string(arena.inode())});
    tracer.await_tracing();
    client_closes_first(
        arena, [] {}, 200);
    const int standing = arena.sockstat("tw");
    const Json report = last_of(tracer.stop().rows(), "timewait");
    EXPECT_EQ(standing, 500);
    EXPECT_EQ(report["kernel_now"], standing);
    EXPECT_EQ(report["before_trace_now"], 300);
    EXPECT_EQ(report["explained_now"], 200);
    EXPECT_EQ(report["created"], 200);
}

TEST(TimeWait, OverflowIsCountedNotGuessed) {
    REQUIRE_TRACING();
    Arena arena;
    let_timers_alone_end(arena);
    arena.sysctl("net/ipv4/tcp_max_tw_buckets", "10");
    Tracer tracer;
    tracer.start({"timewait", "--json", "--netns", std::to_string(arena.inode())});
    tracer.await_tracing();
    client_closes_first(
        arena, [] {}, 50);
    const int standing = arena.sockstat("tw");
    const auto refused = arena.netstat("TCPTimeWaitOverflow");
    const Json report = last_of(tracer.stop().rows(), "timewait");
    ASSERT_GT(refused, 0U) << "the scene made no overflow";
    EXPECT_EQ(report["created"], standing);
    EXPECT_EQ(report["kernel_now"], standing);
    EXPECT_EQ(report["overflow"], refused);
    EXPECT_EQ(report["undecided"], 0) << "the snapshot and the namespace's counter settle it";
}

struct Drained {
    std::int64_t opens_ns[1024];
    int opened;
    std::int64_t failed_ns;  // when EADDRNOTAVAIL came
};

/// Opens and closes 20 connections a second until no port is left, or `most` of them.
Who drain_ports(Arena& arena, Shared<Drained>& log, int most) {
    return arena.spawn("tt-drain", [&log, most] {
        std::int64_t next = wall_clock_ns();
        for (int i = 0; i < most; ++i) {
            const Fd fd = fresh_socket(Net::v4);
            const int error = try_connect(fd.get(), Net::v4, kPort);
            if (error != 0) {
                log->failed_ns = wall_clock_ns();
                return;
            }
            get(fd.get(), 1);
            log->opens_ns[log->opened++] = wall_clock_ns();
            next += 50'000'000;
            sleep_ms(static_cast<int>(std::max<std::int64_t>(0, (next - wall_clock_ns()) / 1'000'000)));
        }
    });
}

Who greet_for_ever(Arena& arena, const Stage& stage) {
    const Who server = arena.spawn("tt-server", [&stage] {
        const Fd listener = open_listener(stage);
        for (;;) {
            const Fd fd = accept_blocking(listener.get());
            put(fd.get(), 1);
            await_eof(fd.get());
        }
    });
    stage.listening.take();
    return server;
}

/// The row of `ports` for kPort, and when its report was made.
std::vector<std::pair<std::int64_t, Json>> port_rows(const std::vector<Json>& rows) {
    std::vector<std::pair<std::int64_t, Json>> found;
    for (const Json& row : rows) {
        for (const Json& ports : row.value("type", "") == "timewait" ? row["ports"] : Json::array()) {
            if (ports["rport"] == kPort) {
                found.emplace_back(parse_time(row["time"]), ports);
            }
        }
    }
    return found;
}

/// 200 ports, 20 connections a second: without reuse they last ten seconds, with the default on loopback for ever.
TEST(TimeWait, ForecastsExhaustionAndNamesTheHolders) {
    REQUIRE_TRACING();
    Arena drained;
    Arena reusing;
    let_timers_alone_end(drained);
    reusing.sysctl("net/ipv4/tcp_tw_reuse", "2");
    const Stage first;
    const Stage second;
    Shared<Drained> log;
    Shared<Drained> other_log;
    for (Arena* arena : {&drained, &reusing}) {
        arena->sysctl("net/ipv4/ip_local_port_range", "45000 45199");
    }
    const Who server = greet_for_ever(drained, first);
    const Who other_server = greet_for_ever(reusing, second);
    Tracer tracer;
    Tracer other_tracer;
    tracer.start({"timewait", "--json", "-i", "1s", "--netns", std::to_string(drained.inode())});
    other_tracer.start({"timewait", "--json", "-i", "1s", "--netns", std::to_string(reusing.inode())});
    tracer.await_tracing();
    other_tracer.await_tracing();
    const Who client = drain_ports(drained, log, 400);
    const Who other = drain_ports(reusing, other_log, 220);
    drained.join(client);
    reusing.join(other);
    const Output output = tracer.stop();
    const Output other_output = other_tracer.stop();
    kill(server.pid, SIGKILL);
    kill(other_server.pid, SIGKILL);
    ASSERT_GT(log->failed_ns, 0) << "the ports did not run out";
    ASSERT_EQ(log->opened, 200);

    bool judged = false;
    for (const auto& [time, ports] : port_rows(output.rows())) {
        EXPECT_EQ(ports["available"], 200) << ports;
        EXPECT_EQ(ports["laddr"], "127.0.0.1");
        const int used = ports["in_use"].get<int>() + ports["time_wait"].get<int>();
        if (!judged && used >= 100) {
            judged = true;
            const double remains = static_cast<double>(log->failed_ns - time) / 1e9;
            ASSERT_TRUE(ports["exhausted_in_s"].is_number()) << ports;
            EXPECT_NEAR(ports["exhausted_in_s"].get<double>(), remains, 0.15 * remains) << ports;
        }
    }
    EXPECT_TRUE(judged) << "no report at half use";
    const Json failed = last_of(output.rows(), "connect_failed");
    ASSERT_EQ(failed.value("reason", ""), "no_local_port") << output.out;
    EXPECT_NEAR(static_cast<double>(parse_time(failed["time"])), static_cast<double>(log->failed_ns), 20e6);
    EXPECT_EQ(failed["owner"].value("pid", 0), client.pid);
    EXPECT_EQ(failed["raddr"], "127.0.0.1");
    EXPECT_EQ(failed["rport"], kPort);
    ASSERT_EQ(failed["holders"].size(), 1U) << failed;
    EXPECT_EQ(failed["holders"][0]["owner"].value("pid", 0), client.pid);
    EXPECT_EQ(failed["holders"][0]["ports"], 200);

    EXPECT_EQ(other_log->failed_ns, 0);
    const auto never = port_rows(other_output.rows());
    ASSERT_FALSE(never.empty());
    EXPECT_TRUE(never.back().second["exhausted_in_s"].is_null()) << never.back().second;
    EXPECT_EQ(never.back().second["failed_connects"], 0);
}

}  // namespace

}  // namespace tcptrail::live
