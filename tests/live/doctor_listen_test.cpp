// SPDX-License-Identifier: Apache-2.0
// `tcptrail doctor`: the rules about listeners, their queues, and floods.
#include <gtest/gtest.h>

#include <chrono>

#include "doctor.h"
#include "stage.h"

namespace tcptrail::live {
namespace {

/// Listens and never accepts, until the cue.
Who busy_elsewhere(Arena& arena, Net net, int backlog, const Cue& leave) {
    const Cue listening;
    const Who who = arena.spawn("tt-server", [&] {
        const Fd listener = listen_on(net, kPort, backlog);
        listening.give();
        leave.take(60000);
    });
    listening.take();
    return who;
}

/// Begins `connects` and stands there with them, until the cue.
void knock(Arena& arena, int connects, const Cue& leave) {
    const Cue done;
    arena.spawn("tt-client", [&] {
        std::vector<Fd> fds;
        for (int i = 0; i < connects; ++i) {
            fds.push_back(start_dial(Net::v4, kPort));
        }
        done.give();
        leave.take(60000);
    });
    done.take();
}

/// The same, but hears no answer: its handshakes are never completed.
void knock_and_hear_nothing(Arena& arena, int connects, const Cue& leave) {
    const Cue done;
    arena.spawn("tt-flood", [&] {
        std::vector<Fd> fds;
        for (int i = 0; i < connects; ++i) {
            fds.push_back(fresh_socket(Net::v4));
            make_deaf(fds.back().get(), Deaf::to_all);
            set_nonblocking(fds.back().get());
            if (try_connect(fds.back().get(), Net::v4, kPort) != EINPROGRESS) {
                throw std::runtime_error("a connect that hears nothing has an answer");
            }
        }
        done.give();
        leave.take(60000);
    });
    done.take();
}

TEST(Doctor, AcceptQueueOverflows) {
    REQUIRE_TRACING();
    Ward ward;
    const Cue leave;
    const Who server = busy_elsewhere(ward.ill, Net::v4, 2, leave);
    busy_elsewhere(ward.well, Net::v4, 2, leave);
    ward.begin();
    knock(ward.ill, 8, leave);
    knock(ward.well, 3, leave);  // one more than the limit has room: full means more than that
    const auto overflows = ward.ill.netstat("ListenOverflows");
    EXPECT_GE(overflows, 5U) << "the scene is not what it says";
    EXPECT_EQ(ward.well.netstat("ListenOverflows"), 0U) << "the scene is not what it says";
    ward.end();
    leave.give(4);
    EXPECT_EQ(ward.found(ward.ill), (Ids{"accept_queue_overflow"})) << ward.output().out;
    EXPECT_EQ(ward.found(ward.well), Ids{}) << ward.output().out;
    const Json finding = ward.finding(ward.ill, "accept_queue_overflow");
    EXPECT_EQ(finding["severity"], "high");
    EXPECT_EQ(finding["command"], nullptr) << "listen() asked for so little: no sysctl gives more";
    const Json& observed = finding["observed"];
    EXPECT_EQ(observed["owner"]["pid"], server.pid);
    EXPECT_EQ(observed["lport"], kPort);
    EXPECT_EQ(observed["accept_queue"], 3);
    EXPECT_EQ(observed["limit"], 2);
    EXPECT_EQ(observed["limit_by"], "listen");
    EXPECT_GE(observed["overflows"], overflows);
}

TEST(Doctor, AcceptQueueOverflowsForSomaxconn) {
    REQUIRE_TRACING();
    Ward ward;
    const Cue leave;
    ward.ill.sysctl("net/core/somaxconn", "2");
    busy_elsewhere(ward.ill, Net::v4, 4096, leave);
    busy_elsewhere(ward.well, Net::v4, 4096, leave);
    ward.begin();
    knock(ward.ill, 8, leave);
    knock(ward.well, 8, leave);
    ward.end();
    leave.give(4);
    EXPECT_EQ(ward.found(ward.ill), (Ids{"accept_queue_overflow"})) << ward.output().out;
    EXPECT_EQ(ward.found(ward.well), Ids{}) << ward.output().out;
    const Json finding = ward.finding(ward.ill, "accept_queue_overflow");
    EXPECT_EQ(finding["observed"]["limit_by"], "somaxconn");
    const auto command = finding["command"].get<std::string>();
    EXPECT_TRUE(command.ends_with(" sysctl -w net.core.somaxconn=4096")) << command;
}

/// 300 handshakes that are never completed, against 300 that are, at once.
TEST(Doctor, SynFlood) {
    REQUIRE_TRACING();
    Ward ward;
    const Cue leave;
    const Who server = busy_elsewhere(ward.ill, Net::v4, 64, leave);
    busy_elsewhere(ward.well, Net::v4, 4096, leave);
    ward.begin();
    knock_and_hear_nothing(ward.ill, 300, leave);
    knock(ward.well, 300, leave);
    const auto cookies = ward.ill.netstat("SyncookiesSent");
    EXPECT_GT(cookies, 200U) << "the scene is not what it says";
    ward.end();
    leave.give(4);
    EXPECT_EQ(ward.found(ward.ill), (Ids{"syn_flood"})) << ward.output().out;
    EXPECT_EQ(ward.found(ward.well), Ids{}) << ward.output().out;
    const Json finding = ward.finding(ward.ill, "syn_flood");
    EXPECT_EQ(finding["severity"], "high");
    EXPECT_EQ(finding["command"], nullptr) << "cookies are on";
    const Json& observed = finding["observed"];
    EXPECT_EQ(observed["owner"]["pid"], server.pid);
    EXPECT_EQ(observed["lport"], kPort);
    EXPECT_EQ(observed["half_open"], 65);
    EXPECT_GE(observed["syn_cookies_sent"], cookies);
    EXPECT_EQ(observed["completed"], 0);
    ASSERT_EQ(observed["sources"].size(), 1U);
    EXPECT_EQ(observed["sources"][0]["raddr"], "127.0.0.1");
    EXPECT_EQ(observed["sources"][0]["half_open"], 65);
}

/// Without cookies the flood shuts real clients out, and there is something to type.
TEST(Doctor, SynFloodWithoutCookies) {
    REQUIRE_TRACING();
    Ward ward;
    const Cue leave;
    ward.ill.sysctl("net/ipv4/tcp_syncookies", "0");
    ward.well.sysctl("net/ipv4/tcp_syncookies", "0");
    busy_elsewhere(ward.ill, Net::v4, 64, leave);
    busy_elsewhere(ward.well, Net::v4, 64, leave);
    ward.begin();
    knock_and_hear_nothing(ward.ill, 300, leave);
    knock_and_hear_nothing(ward.well, 30, leave);
    ward.end();
    leave.give(4);
    EXPECT_EQ(ward.found(ward.ill), (Ids{"syn_flood"})) << ward.output().out;
    EXPECT_EQ(ward.found(ward.well), Ids{}) << ward.output().out;
    const auto command = ward.finding(ward.ill, "syn_flood")["command"].get<std::string>();
    EXPECT_TRUE(command.ends_with(" sysctl -w net.ipv4.tcp_syncookies=1")) << command;
}

TEST(Doctor, SynCookiesInUse) {
    REQUIRE_TRACING();
    Ward ward;
    const Cue leave;
    for (Arena* arena : {&ward.ill, &ward.well}) {
        const Cue listening;
        arena->spawn("tt-server", [&] {
            const Fd listener = listen_on(Net::v4, kPort, 8);
            listening.give();
            for (;;) {
                const Fd fd = accept_blocking(listener.get());
                put(fd.get(), 1);
                await_eof(fd.get());
            }
        });
        listening.take();
    }
    ward.begin();
    knock_and_hear_nothing(ward.ill, 9, leave);  // the queue is full
    knock_and_hear_nothing(ward.well, 8, leave);
    for (Arena* arena : {&ward.ill, &ward.well}) {
        arena->join(arena->spawn("tt-client", [] { come_and_go(20); }));
    }
    EXPECT_GE(ward.ill.netstat("SyncookiesRecv"), 20U) << "the scene is not what it says";
    EXPECT_EQ(ward.well.netstat("SyncookiesSent"), 0U) << "the scene is not what it says";
    ward.end();
    leave.give(2);
    EXPECT_EQ(ward.found(ward.ill), (Ids{"syn_cookies_in_use"})) << ward.output().out;
    EXPECT_EQ(ward.found(ward.well), Ids{}) << ward.output().out;
    const Json finding = ward.finding(ward.ill, "syn_cookies_in_use");
    EXPECT_EQ(finding["severity"], "medium");
    EXPECT_EQ(finding["observed"]["limit"], 8);
    EXPECT_EQ(finding["observed"]["completed"], 20);
}

TEST(Doctor, SynCookiesOff) {
    REQUIRE_TRACING();
    Ward ward;
    const Cue leave;
    ward.ill.sysctl("net/ipv4/tcp_syncookies", "0");
    ward.well.sysctl("net/ipv4/tcp_syncookies", "0");
    busy_elsewhere(ward.ill, Net::mapped, 64, leave);  // [::]
    busy_elsewhere(ward.well, Net::v4, 64, leave);     // 127.0.0.1: nobody floods it
    ward.begin();
    ward.end();
    leave.give(2);
    EXPECT_EQ(ward.found(ward.ill), (Ids{"syncookies_off"})) << ward.output().out;
    EXPECT_EQ(ward.found(ward.well), Ids{}) << ward.output().out;
    EXPECT_EQ(ward.finding(ward.ill, "syncookies_off")["severity"], "low");
}

}  // namespace
}  // namespace tcptrail::live
