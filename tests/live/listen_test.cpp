// SPDX-License-Identifier: Apache-2.0
// `tcptrail listen`: against ss, /proc/net/netstat, and what a scene is by construction.
#include <gtest/gtest.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <unistd.h>

#include <algorithm>
#include <map>
#include <set>
#include <sstream>

#include "crowd.h"
#include "flood.h"
#include "suites.h"

namespace tcptrail::live {

namespace {

constexpr std::uint16_t kOther = 5002;

std::vector<std::string> only(const Arena& arena, std::vector<std::string> args) {
    args.insert(args.end(), {"--netns", std::to_string(arena.inode())});
    return args;
}

/// The rows of a listener on `port`, in the order of the output.
std::vector<Json> rows_of(const Output& output, std::uint16_t port) {
    std::vector<Json> found;
    for (const Json& row : output.rows()) {
        if (row["type"] == "listener" && row["lport"] == port) {
            found.push_back(row);
        }
    }
    return found;
}

Output look(const Arena& arena, const std::vector<std::string>& more = {}) {
    std::vector<std::string> args = {"listen", "--json"};
    args.insert(args.end(), more.begin(), more.end());
    Output output = run_tcptrail(only(arena, args));
    EXPECT_EQ(output.status, 0) << output.err;
    return output;
}

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

/// Clients that connect and stay, whether or not it succeeds.
Who many_clients(Arena& arena, std::uint16_t port, int count, const Cue& called) {
    const Who who = arena.spawn("tt-clients", [&, port, count] {
        std::vector<Fd> fds;
        for (int i = 0; i < count; ++i) {
            fds.push_back(start_dial(Net::v4, port));
        }
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

/// Accepts, and lets go at once.
Who busy_server(Arena& arena, std::uint16_t port, int backlog, const Cue& listens) {
    const Who who = arena.spawn("tt-busy", [&, port, backlog] {
        const Fd listener = listen_on(Net::v4, port, backlog);
        listens.give();
        for (;;) {
            accept_blocking(listener.get());
        }
    });
    listens.take();
    return who;
}

struct Dials {
    int made[2];
};

void dial_for(std::uint16_t port, int ms, int& made) {
    const std::int64_t until = wall_clock_ns() + std::int64_t{ms} * 1'000'000;
    while (wall_clock_ns() < until) {
        const Fd fd = dial(Net::v4, port);
        await_eof(fd.get());  // the server has accepted it: none is refused
        ++made;
    }
}

/// Each row of the flooded listener's, and what the flood was.
TEST(Listen, ASynFloodIsNamedAndABusyServerIsNot) {
    REQUIRE_TRACING();
    REQUIRE_PROGRAM("ip");
    Arena arena;
    const Cue listens, never;
    Shared<Dials> dials;
    const Who busy = busy_server(arena, kOther, 4096, listens);
    const Who flooded = busy_server(arena, kPort, 1024, listens);
    run_program({"ip", "route", "add", "10.99.0.0/16", "dev", "lo"}, arena.netns_fd());
    Tracer tracer;
    tracer.start(only(arena, {"listen", "--json", "-i", "1s"}));
    tracer.await_tracing();
    const Who clients[] = {arena.spawn("tt-wrk-0", [&] { dial_for(kOther, 7000, dials->made[0]); }),
                           arena.spawn("tt-wrk-1", [&] { dial_for(kOther, 7000, dials->made[1]); })};
    sleep_ms(1500);
    const std::int64_t began = wall_clock_ns();
    const Who flood = arena.spawn("tt-flood", [] { flood_with_syns({kPort, 1000, 6000}); });
    sleep_ms(4500);
    const Json once = rows_of(look(arena), kPort).at(0);
    const Output text = run_tcptrail(only(arena, {"listen"}));
    arena.join(flood);
    for (const Who& client : clients) {
        arena.join(client);
    }
    const Output output = tracer.stop();
    bool named = false;
    for (const Json& row : rows_of(output, kPort)) {
        const double after = static_cast<double>(parse_time(row["time"]) - began) / 1e9;
        if (after < 0) {
            EXPECT_EQ(row["syn_flood"], false) << row;
        }
        if (row["syn_flood"] == true && !named) {
            named = true;
            EXPECT_LE(after, 5.0) << row;
            EXPECT_EQ(row["owner"]["pid"], flooded.pid);
            EXPECT_NEAR(row["flood"]["rate_per_s"].get<double>(), 1000, 300) << row;
            EXPECT_EQ(row["flood"]["sources"][0]["raddr"], kLoudSource) << row;
            EXPECT_GT(row["flood"]["addresses"], 100);
            EXPECT_EQ(row["flood"]["completed"], 0);
        }
    }
    EXPECT_TRUE(named) << output.out;
    EXPECT_EQ(once["syn_flood"], true) << "one look is enough: " << once;
    EXPECT_NE(text.out.find("SYN FLOOD: "), std::string::npos) << text.out;
    EXPECT_NE(text.out.find(kLoudSource), std::string::npos) << text.out;
    std::int64_t established = 0;
    std::int64_t accepted = 0;
    for (const Json& row : rows_of(output, kOther)) {
        EXPECT_EQ(row["syn_flood"], false) << row;
        established += row["established"].get<int>();
        accepted += row["accepted"].get<int>();
    }
    const int made = dials->made[0] + dials->made[1];
    EXPECT_GT(made, 1000);
    ASSERT_EQ(arena.netstat("ListenOverflows"), 0U)
        << "the scene is not what it says: a client's connection was refused";
    EXPECT_EQ(established, made) << output.last_row();
    EXPECT_EQ(accepted, made) << output.last_row();
    kill(busy.pid, SIGKILL);
}

/// Clients that ask for connections and never answer the SYN-ACK.
TEST(Listen, AConnectFloodThatNeverCompletesIsNamed) {
    REQUIRE_TRACING();
    Arena arena;
    const Cue listens;
    const Who server = busy_server(arena, kPort, 128, listens);
    Tracer tracer;
    tracer.start(only(arena, {"listen", "--json", "-i", "1s"}));
    tracer.await_tracing();
    const std::int64_t began = wall_clock_ns();
    const Who clients = arena.spawn("tt-deaf", [] {
        std::vector<Fd> fds;
        for (int i = 0; i < 2000; ++i) {
            fds.push_back(fresh_socket(Net::v4));
            make_deaf(fds.back().get(), Deaf::to_all);
            set_nonblocking(fds.back().get());
            (void)!try_connect(fds.back().get(), Net::v4, kPort);
            sleep_ms(2);
        }
        sleep_ms(60000);
    });
    sleep_ms(5500);
    const Output output = tracer.stop();
    const std::vector<Json> rows = rows_of(output, kPort);
    const auto first = std::find_if(rows.begin(), rows.end(), [](const Json& row) { return row["syn_flood"] == true; });
    ASSERT_NE(first, rows.end()) << output.out;
    EXPECT_LE(static_cast<double>(parse_time((*first)["time"]) - began) / 1e9, 5.0);
    EXPECT_EQ((*first)["flood"]["sources"][0]["raddr"], "127.0.0.1");
    EXPECT_EQ((*first)["flood"]["addresses"], 1);
    EXPECT_GT(arena.netstat("SyncookiesSent"), 0U);
    EXPECT_EQ((*first)["owner"]["pid"], server.pid);
    EXPECT_GT(rows.back()["syn_cookies"], 0) << "the only listener that ever sent one";
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
