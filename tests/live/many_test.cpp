// SPDX-License-Identifier: Apache-2.0
// More processes than are remembered: to the tracker each thread that acts is one. A process that lives on acts before
// them and after them, and nothing speaks of it in between.
#include <gtest/gtest.h>
#include <unistd.h>

#include <cerrno>
#include <map>
#include <string>
#include <thread>
#include <vector>

#include "stage.h"
#include "suites.h"

namespace tcptrail::live {

namespace {

constexpr std::uint16_t kNobody = 5999;  // no listener: each connect is refused at once
constexpr int kThreads = 120'000;        // beyond one and a half times TableLimits::processes
constexpr int kSlots = 8192;             // KNOWN_SLOTS: by the thread's number

/// Each connects once, in a thread of its own; but none that would take the slot of `other` in the programs' memory.
void many_connect(int threads, pid_t other) {
    for (int i = 0; i < threads; ++i) {
        std::thread([other] {
            if (gettid() % kSlots == other % kSlots) {
                return;
            }
            const Fd fd = fresh_socket(Net::v4);
            if (try_connect(fd.get(), Net::v4, kNobody) != ECONNREFUSED) {
                raise("a connect that nobody refuses");
            }
        }).join();
    }
}

TEST(Many, TheOneThatLivesOnKeepsItsName) {
    REQUIRE_TRACING();
    Arena arena;
    const Stage stage;
    const Cue before;
    const Cue after;
    const Cue acted;
    const Cue back;
    const Who server = arena.spawn("tt-server", [&] {
        const Fd listener = open_listener(stage);
        accept_and_greet(listener.get(), 1);
        back.take(100'000);
        accept_and_greet(listener.get(), 1);
    });
    stage.listening.take();
    const Who client = arena.spawn("tt-old", [&] {
        before.take();
        dial_and_note(stage, 0);
        acted.give();
        after.take(100'000);
        dial_and_note(stage, 1);
        const Fd refused = fresh_socket(Net::v4);
        try_connect(refused.get(), Net::v4, kNobody);
    });
    Tracer tracer;
    tracer.start({"trace", "--json", "--netns", std::to_string(arena.inode()), "-p", std::to_string(client.pid)});
    tracer.await_tracing();
    before.give();
    acted.take();
    const Who flood = arena.spawn("tt-many", [&] { many_connect(kThreads, client.pid); });
    arena.join(flood);
    back.give();
    after.give();
    arena.join(client);
    arena.join(server);
    arena.settle();
    const Output output = tracer.stop();
    ASSERT_EQ(output.status, 0) << output.err;
    std::map<std::string, int> opened;
    for (const Json& row : output.rows()) {
        if (row.value("type", "") == "transition") {
            EXPECT_EQ(row["owner"].value("pid", 0), client.pid) << row;
            EXPECT_EQ(row["owner"].value("comm", ""), "tt-old") << row;
            opened[row["old"].get<std::string>() + ">" + row["new"].get<std::string>()]++;
        }
    }
    EXPECT_EQ(opened["CLOSE>SYN_SENT"], 3) << output.out;
    EXPECT_EQ(opened["SYN_SENT>ESTABLISHED"], 2) << output.out;
    EXPECT_EQ(opened["SYN_SENT>CLOSE"], 1) << output.out;
    const Json end = output.last_row();
    EXPECT_GE(end.value("transitions", 0), 2 * (kThreads - kThreads / kSlots - 1)) << end;
    EXPECT_EQ(end.value("lost", -1), 0) << end;
    EXPECT_EQ(end.value("lost_other", -1), 0) << end;
}

}  // namespace

}  // namespace tcptrail::live
