// SPDX-License-Identifier: Apache-2.0
// `tcptrail closewait --json`: 200 leaked sockets in two processes, half of them older than the trace.
#include <gtest/gtest.h>
#include <netinet/tcp.h>
#include <unistd.h>

#include <algorithm>
#include <map>

#include "stage.h"
#include "suites.h"

namespace tcptrail::live {

namespace {

constexpr int kEach = 100;  // for each leaking process, half of them before the trace
constexpr int kUnread = 37;

enum class Kind { data, fin_only, eof_read };

Kind kind_of(int i) {
    return static_cast<Kind>(i % 3);
}

struct Leak {
    Tuple server;  // as the leaking side sees itself
    int fd;
    std::int64_t fin_ns;     // before the peer closed
    std::int64_t closed_ns;  // after it
    bool before;
};

struct Leaks {
    Leak of[2][kEach];
};

/// Accepts kEach connections one at a time; the peer closes each, and this side never does. Which bytes it leaves unread
/// depends on the index. Pauses after half of them; the second half comes at one each `pace_ms`.
Who start_leaker(Arena& arena, Shared<Leaks>& leaks, int which, std::uint16_t port, int pace_ms, const Cue& half,
                 const Cue& go_on, const Cue& done, const Cue& leave) {
    return arena.spawn(which == 0 ? "tt-leak-fast" : "tt-leak-slow",
                       [&leaks, which, port, pace_ms, &half, &go_on, &done, &leave] {
                           const Fd listener = listen_on(Net::v4, port);
                           std::vector<Fd> fds;
                           for (int i = 0; i < kEach; ++i) {
                               if (i == kEach / 2) {
                                   half.give();
                                   go_on.take();
                               }
                               Fd near = dial(Net::v4, port);
                               fds.push_back(accept_from(listener.get()));
                               const int fd = fds.back().get();
                               Leak& leak = leaks->of[which][i];
                               leak.server = tuple_of(fd);
                               leak.fd = fd;
                               leak.before = i < kEach / 2;
                               if (kind_of(i) == Kind::data) {
                                   put(near.get(), kUnread);
                               }
                               leak.fin_ns = wall_clock_ns();
                               near.close();
                               leak.closed_ns = wall_clock_ns();
                               await_state(fd, TCP_CLOSE_WAIT);
                               if (kind_of(i) == Kind::eof_read) {
                                   await_eof(fd);
                               }
                               if (!leak.before) {
                                   sleep_ms(pace_ms);
                               }
                           }
                           done.give();
                           leave.take(60000);
                       });
}

const char* name_of(Kind kind) {
    switch (kind) {
        case Kind::data: return "data";
        case Kind::fin_only: return "fin_only";
        case Kind::eof_read: return "eof_read";
    }
    return "";
}

void check_connection(const Json& row, const Leak& leak, Kind kind, const Who& who, std::int64_t report_ns,
                      std::int64_t trace_ns) {
    SCOPED_TRACE(row.dump());
    const double age = static_cast<double>(report_ns - leak.fin_ns) / 1e9;
    if (leak.before) {
        EXPECT_EQ(row["age_is_lower_bound"], true);
        EXPECT_LE(row["age_s"].get<double>(), age + 0.05);
        EXPECT_GE(row["age_s"].get<double>(), static_cast<double>(report_ns - trace_ns) / 1e9 - 0.05);
    } else {
        EXPECT_EQ(row["age_is_lower_bound"], false);
        EXPECT_LE(row["age_s"].get<double>(), age + 0.002);
        EXPECT_GE(row["age_s"].get<double>(), static_cast<double>(report_ns - leak.closed_ns) / 1e9 - 0.002);
    }
    EXPECT_EQ(row["laddr"], leak.server.laddr);
    EXPECT_EQ(row["raddr"], leak.server.raddr);
    EXPECT_EQ(row["unread"], name_of(kind));
    EXPECT_EQ(row["unread_bytes"], kind == Kind::data ? kUnread : 0);
    ASSERT_EQ(row["holders"].size(), 1U);
    EXPECT_EQ(row["holders"][0]["pid"], who.pid);
    EXPECT_EQ(row["holders"][0]["comm"], who.comm);
    EXPECT_EQ(row["holders"][0]["fd"], leak.fd);
}

TEST(CloseWait, TwoHundredLeaksHalfOfThemOlder) {
    REQUIRE_TRACING();
    Arena arena;
    Shared<Leaks> leaks;
    const Cue half, go_on, done, leave;
    const Who leakers[2] = {start_leaker(arena, leaks, 0, 6001, 40, half, go_on, done, leave),
                            start_leaker(arena, leaks, 1, 6002, 80, half, go_on, done, leave)};
    half.take();
    half.take();
    Tracer tracer;
    tracer.start({"closewait", "--json", "--older-than", "1s", "--netns", std::to_string(arena.inode())});
    tracer.await_tracing();
    const std::int64_t trace_ns = wall_clock_ns();
    go_on.give(2);
    done.take(30000);
    done.take(30000);
    const Output output = tracer.stop();
    leave.give(2);
    ASSERT_EQ(output.status, 0) << output.err;
    const Json report = last_of(output.rows(), "closewait");
    const std::int64_t report_ns = parse_time(report["time"]);
    EXPECT_EQ(report["now"], 2 * kEach);
    ASSERT_EQ(report["processes"].size(), 2U) << report;

    for (const Json& process : report["processes"]) {
        const int which = process["owner"].value("pid", 0) == leakers[0].pid ? 0 : 1;
        const Who& who = leakers[which];
        EXPECT_EQ(process["owner"].value("pid", 0), who.pid);
        EXPECT_EQ(process["now"], kEach);
        EXPECT_EQ(process["leak"], true);
        const double window = static_cast<double>(report_ns - trace_ns) / 1e9;
        const double rate = kEach / 2.0 / window;
        EXPECT_NEAR(process["growth_per_s"].get<double>(), rate, 0.2 * rate);
        std::map<int, int> by_port;
        int surely_older = 0;
        int surely_younger = 0;
        for (int i = 0; i < kEach; ++i) {
            const Leak& leak = leaks->of[which][i];
            by_port[leak.server.rport] = i;
            // An older one's age is a lower bound, counted from the trace's start at the earliest.
            const double age = static_cast<double>(report_ns - (leak.before ? trace_ns : leak.fin_ns)) / 1e9;
            surely_older += age > 1.05 ? 1 : 0;
            surely_younger += age < 0.95 ? 1 : 0;
        }
        EXPECT_GE(process["older"], surely_older);
        EXPECT_LE(process["older"], kEach - surely_younger);
        EXPECT_EQ(process["connections"].size(), process["older"].get<std::size_t>());
        double last_age = 1e9;
        for (const Json& row : process["connections"]) {
            ASSERT_TRUE(by_port.contains(row["rport"].get<int>())) << row;
            const int i = by_port[row["rport"].get<int>()];
            check_connection(row, leaks->of[which][i], kind_of(i), who, report_ns, trace_ns);
            EXPECT_LE(row["age_s"].get<double>(), last_age + 1e-6) << "oldest first";
            last_age = row["age_s"].get<double>();
        }
    }
    for (const Who& who : leakers) {
        arena.join(who);
    }
}

}  // namespace

}  // namespace tcptrail::live
