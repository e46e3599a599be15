// SPDX-License-Identifier: Apache-2.0
// `tcptrail listen`: against ss, /proc/net/netstat, and what a scene is by construction.
#include <gtest/gtest.h>
#include <netinet/tcp.h>
#include <unistd.h>

#include <algorithm>
#include <map>
#include <set>
#include <sstream>

#include "crowd.h"
#include "listen_rows.h"
#include "suites.h"

namespace tcptrail::live {

namespace {

/// A listener that does not accept until `accept` lets so many pass.
Who lazy_server(Arena& arena, std::uint16_t port, int backlog, const Cue& listens, const Cue& accept, const Cue& done) {
    const Who who = arena.spawn("tt-lazy", [&, port, backlog] {
        const Fd listener = listen_on(Net::v4, port, backlog);
        listens.give();
        accept.take(60000);
        std::vector<Fd> fds;
        for (int i = 0; i < backlog + 1; ++i) {
            fds.push_back(accept_from(listener.get()));
        }
        done.give();
        sleep_ms(60000);
    });
    listens.take();
    return who;
}

/// Clients that connect and stay. Those whose SYN was dropped give up at once: they would send it again a second later,
/// in the middle of somebody's reading of the counts.
Who many_clients(Arena& arena, std::uint16_t port, int count, const Cue& called) {
    const Who who = arena.spawn("tt-clients", [&, port, count] {
        std::vector<Fd> fds;
        for (int i = 0; i < count; ++i) {
            fds.push_back(start_dial(Net::v4, port));
        }
        sleep_ms(20);
        std::erase_if(fds, [](const Fd& fd) { return state_of(fd.get()) != TCP_ESTABLISHED; });
        called.give();
        sleep_ms(60000);
    });
    called.take();
    return who;
}

TEST(Listen, AListenerThatDoesNotAcceptIsReadAsTheKernelCounts) {
    REQUIRE_TRACING();
    Arena arena;
    const Cue listens, accept, done, called;
    Tracer tracer;
    tracer.start(only(arena, {"listen", "--json", "-i", "500ms"}));
    tracer.await_tracing();
    const Who server = lazy_server(arena, kPort, 4, listens, accept, done);
    const Cue quiet_listens, never, quiet_done;
    const Who quiet = lazy_server(arena, kOther, 100, quiet_listens, never, quiet_done);
    many_clients(arena, kPort, 12, called);
    sleep_ms(100);
    const Output full = look(arena);
    const auto drops = arena.netstat("ListenDrops");
    const auto overflows = arena.netstat("ListenOverflows");
    ASSERT_GT(overflows, 0U) << "the scene made no overflow";
    const Json row = rows_of(full, kPort).at(0);
    EXPECT_EQ(row["accept_queue"]["now"], 5) << "one above the limit is full";
    EXPECT_EQ(row["accept_queue"]["high"], 5);
    EXPECT_EQ(row["accept_queue"]["limit"], 4);
    EXPECT_LE(row["drops"], drops);
    EXPECT_GE(row["drops"], 7) << "twelve came, five are in";
    EXPECT_EQ(row["drops"], row["overflows"]);
    EXPECT_EQ(row["drops"], row["netns_counters"]["drops"]);
    EXPECT_EQ(row["limit_by"], "listen");
    EXPECT_EQ(row["owner"]["pid"], server.pid);
    EXPECT_EQ(row["owner"]["comm"], "tt-lazy");
    EXPECT_EQ(row["syn_flood"], false);
    EXPECT_EQ(row["accept_wait_us"], nullptr);
    const Json still = rows_of(full, kOther).at(0);
    EXPECT_EQ(still["drops"], 0) << "the namespace's drops are the other's";
    EXPECT_EQ(still["overflows"], 0);
    EXPECT_EQ(still["accept_queue"], Json({{"now", 0}, {"high", 0}, {"high_exact", true}, {"limit", 100}}));
    EXPECT_EQ(full.rows().at(0)["lport"], kPort) << "the one in trouble comes first";

    const Output text = run_tcptrail(only(arena, {"listen"}));
    EXPECT_NE(text.out.find("accept queue is full: the number given to listen(), 4"), std::string::npos) << text.out;

    accept.give();
    done.take();
    sleep_ms(700);
    const std::vector<Json> rows = rows_of(tracer.stop(), kPort);
    ASSERT_GE(rows.size(), 2U);
    int high = 0;
    int accepted = 0;
    for (const Json& one : rows) {
        high = std::max(high, one["accept_queue"]["high"].get<int>());
        accepted += one["accepted"].get<int>();
        EXPECT_EQ(one["accept_queue"]["high_exact"], true);
    }
    EXPECT_EQ(high, 5);
    EXPECT_GE(accepted, 5);
}

/// Twenty wait for 200 ms and are accepted between two snapshots: events tell of them.
TEST(Listen, HighWaterMarkAndWaitsComeFromEvents) {
    REQUIRE_TRACING();
    Arena arena;
    const Cue listens, accept, done, called;
    const Who server = lazy_server(arena, kPort, 19, listens, accept, done);
    Tracer tracer;
    tracer.start(only(arena, {"listen", "--json", "-i", "60s"}));
    tracer.await_tracing();
    many_clients(arena, kPort, 20, called);
    const std::int64_t connected = wall_clock_ns();
    sleep_ms(200);
    accept.give();
    done.take();
    const std::int64_t accepted = wall_clock_ns();
    const Json row = rows_of(tracer.stop(), kPort).at(0);
    EXPECT_EQ(row["accept_queue"], Json({{"now", 0}, {"high", 20}, {"high_exact", true}, {"limit", 19}}));
    EXPECT_EQ(row["established"], 20);
    EXPECT_EQ(row["accepted"], 20);
    EXPECT_EQ(row["owner"]["pid"], server.pid);
    ASSERT_TRUE(row["accept_wait_us"].is_object()) << row;
    EXPECT_GE(row["accept_wait_us"]["p50"], 198'000);
    EXPECT_LE(row["accept_wait_us"]["p99"].get<double>(), static_cast<double>(accepted - connected) / 1e3 + 50'000);
}

TEST(Listen, SomaxconnCutsWhatListenAsksFor) {
    REQUIRE_TRACING();
    Arena arena;
    arena.sysctl("net/core/somaxconn", "3");
    const Cue listens, accept, done;
    lazy_server(arena, kPort, 4096, listens, accept, done);
    const Json row = rows_of(look(arena), kPort).at(0);
    EXPECT_EQ(row["accept_queue"]["limit"], 3);
    EXPECT_EQ(row["limit_by"], "somaxconn");
    arena.sysctl("net/ipv4/tcp_syncookies", "0");
    arena.sysctl("net/ipv4/tcp_max_syn_backlog", "2");
    const Json other = rows_of(look(arena), kPort).at(0);
    EXPECT_EQ(other["syn_queue"]["limit"], 2);
    EXPECT_EQ(other["limit_by"], "tcp_max_syn_backlog");
}

/// Two listeners drop: how many of each one's drops were overflows the namespace's counts still tell, as all were.
TEST(Listen, SharedCountersAreNotPassedForAListeners) {
    REQUIRE_TRACING();
    Arena arena;
    const Cue listens, accept, done, called;
    lazy_server(arena, kPort, 2, listens, accept, done);
    lazy_server(arena, kOther, 3, listens, accept, done);
    many_clients(arena, kPort, 8, called);
    many_clients(arena, kOther, 6, called);
    sleep_ms(50);
    const Output output = look(arena);
    const Json first = rows_of(output, kPort).at(0);
    const Json second = rows_of(output, kOther).at(0);
    EXPECT_GE(first["drops"], 5);
    EXPECT_GE(second["drops"], 2);
    EXPECT_EQ(first["drops"].get<int>() + second["drops"].get<int>(), first["netns_counters"]["drops"]);
    EXPECT_EQ(first["overflows"], first["drops"]);
    EXPECT_EQ(second["overflows"], second["drops"]);
}

TEST(Listen, AgreesWithSsOnTwentyListeners) {
    REQUIRE_TRACING();
    REQUIRE_PROGRAM("ss");
    Arena arena;
    const Crowd crowd(arena);
    const Output output = look(arena);
    std::istringstream lines(run_program({"ss", "-tlnH"}, arena.netns_fd()).out);
    int listeners = 0;
    for (std::string line; std::getline(lines, line); ++listeners) {
        std::istringstream words(line);
        std::string state, local;
        int queue = -1;
        int limit = -1;
        words >> state >> queue >> limit >> local;
        const auto port = static_cast<std::uint16_t>(std::stoi(local.substr(local.rfind(':') + 1)));
        const Json row = rows_of(output, port).at(0);
        EXPECT_EQ(row["laddr"], local.substr(0, local.rfind(':')));
        EXPECT_EQ(row["accept_queue"]["now"], queue);
        EXPECT_EQ(row["accept_queue"]["limit"], limit);
        EXPECT_EQ(row["syn_queue"]["now"], 10) << "200 half-open on 20 listeners";
        EXPECT_EQ(row["owner"]["pid"], crowd.server.pid);
        EXPECT_EQ(row["drops"], 0);
        EXPECT_EQ(row["syn_flood"], false) << row;
    }
    EXPECT_EQ(listeners, Crowd::listeners);
    EXPECT_EQ(output.rows().size(), Crowd::listeners + 1U);
    std::istringstream text(run_tcptrail(only(arena, {"listen"})).out);
    for (std::string line; std::getline(text, line);) {
        EXPECT_LE(line.size(), 120U) << line;
    }
}

TEST(Listen, ReusePortGroups) {
    REQUIRE_TRACING();
    Arena arena;
    const Cue listens;
    const Who server = arena.spawn("tt-server", [&] {
        const Fd a = listen_on(Net::v4, kPort, 10, true);
        const Fd b = listen_on(Net::v4, kPort, 10, true);
        const Fd c = listen_on(Net::v4, kOther, 10, true);
        const Fd alone = listen_on(Net::v4, 5003, 10);
        listens.give();
        sleep_ms(60000);
    });
    listens.take();
    const Output output = look(arena);
    const std::vector<Json> pair = rows_of(output, kPort);
    ASSERT_EQ(pair.size(), 2U);
    EXPECT_TRUE(pair[0]["reuseport_group"].is_number());
    EXPECT_EQ(pair[0]["reuseport_group"], pair[1]["reuseport_group"]);
    EXPECT_NE(rows_of(output, kOther).at(0)["reuseport_group"], pair[0]["reuseport_group"]);
    EXPECT_EQ(rows_of(output, 5003).at(0)["reuseport_group"], nullptr);
}

TEST(Listen, ReplaysByteForByte) {
    REQUIRE_TRACING();
    Arena arena;
    const Crowd crowd(arena);
    for (const std::vector<std::string>& how :
         {std::vector<std::string>{}, {"-d", "400ms"}, {"-i", "200ms", "-d", "700ms"}}) {
        for (const char* form : {"--json", "--color=never"}) {
            const std::string file = "/tmp/tcptrail-listen-" + std::to_string(getpid()) + ".ttr";
            std::vector<std::string> live = only(arena, {"listen", form, "-w", file});
            std::vector<std::string> again = only(arena, {"listen", form, "-r", file});
            live.insert(live.end(), how.begin(), how.end());
            if (how.size() == 4) {
                again.insert(again.end(), how.begin(), how.begin() + 2);
            }
            const Output first = run_tcptrail(live);
            const Output second = run_tcptrail(again);
            unlink(file.c_str());
            ASSERT_EQ(first.status, 0) << first.err;
            ASSERT_EQ(second.status, 0) << second.err;
            EXPECT_EQ(first.out, second.out);
            EXPECT_GT(first.out.size(), 1000U) << first.out;
        }
    }
}

}  // namespace

}  // namespace tcptrail::live
