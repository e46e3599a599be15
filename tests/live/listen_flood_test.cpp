// SPDX-License-Identifier: Apache-2.0
// `tcptrail listen` under SYN floods, and beside a server that is merely busy.
#include <gtest/gtest.h>
#include <signal.h>

#include <algorithm>

#include "flood.h"
#include "listen_rows.h"
#include "stage.h"
#include "suites.h"

namespace tcptrail::live {

namespace {

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
    const Who flood = arena.spawn("tt-flood", [] { flood_with_syns({kPort, 1000, 60000}); });  // until it is killed
    sleep_ms(4500);
    const Json once = rows_of(look(arena), kPort).at(0);
    const Output text = run_tcptrail(only(arena, {"listen"}));
    kill(flood.pid, SIGKILL);
    arena.join_killed(flood, SIGKILL);
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

}  // namespace

}  // namespace tcptrail::live
