// SPDX-License-Identifier: Apache-2.0
// `tcptrail doctor`: the rules about how processes close: not at all, too often, or by reset.
#include <gtest/gtest.h>
#include <netinet/tcp.h>

#include "doctor.h"
#include "scene.h"
#include "stage.h"

namespace tcptrail::live {
namespace {

/// A server whose `older` peers have closed, which is older than the window. On the cue it closes `closed` of them, and
/// gets `younger` more.
struct Leaker {
    Who who;
    Cue ready, go, done, leave;

    Leaker(Arena& arena, int older, int closed, int younger) {
        who = arena.spawn("tt-leaker", [this, older, closed, younger] {
            const Fd listener = listen_on(Net::v4, kPort);
            std::vector<Fd> fds;
            const auto leak = [&] {
                Fd near = dial(Net::v4, kPort);
                fds.push_back(accept_from(listener.get()));
                near.close();
                await_state(fds.back().get(), TCP_CLOSE_WAIT);
            };
            for (int i = 0; i < older; ++i) {
                leak();
            }
            ready.give();
            go.take();
            fds.resize(fds.size() - static_cast<std::size_t>(closed));
            for (int i = 0; i < younger; ++i) {
                leak();
            }
            done.give();
            leave.take(60000);
        });
        ready.take();
    }
};

TEST(Doctor, CloseWaitLeak) {
    REQUIRE_TRACING();
    Ward ward;
    const Leaker ill(ward.ill, 12, 0, 3);
    const Leaker well(ward.well, 12, 3, 5);  // more than before, but nine stood all through
    ward.begin();
    for (const Leaker* leaker : {&ill, &well}) {
        leaker->go.give();
        leaker->done.take();
    }
    ward.end();
    ill.leave.give();
    well.leave.give();
    EXPECT_EQ(ward.found(ward.ill), (Ids{"close_wait_leak"})) << ward.output().out;
    EXPECT_EQ(ward.found(ward.well), Ids{}) << ward.output().out;
    const Json finding = ward.finding(ward.ill, "close_wait_leak");
    EXPECT_EQ(finding["severity"], "medium");
    EXPECT_EQ(finding["observed"]["owner"]["pid"], ill.who.pid);
    EXPECT_EQ(finding["observed"]["now"], 15);
    EXPECT_EQ(finding["observed"]["stood"], 12);
    EXPECT_EQ(finding["observed"]["with_unread_data"], 0);
}

/// Clients that close, and a server that does not: FIN_WAIT2 without a process, on one side, CLOSE_WAIT on the other.
void leave_half_closed(Arena& arena, int connections, const Cue& leave) {
    const Cue listening, done;
    arena.spawn("tt-server", [&] {
        const Fd listener = listen_on(Net::v4, kPort);
        listening.give();
        std::vector<Fd> fds = accept_and_greet(listener.get(), connections);
        for (const Fd& fd : fds) {
            await_state(fd.get(), TCP_CLOSE_WAIT);
        }
        done.give();
        leave.take(60000);
    });
    listening.take();
    arena.join(arena.spawn("tt-client", [connections] {
        for (int i = 0; i < connections; ++i) {
            const Fd fd = dial(Net::v4, kPort);
            get(fd.get(), 1);
        }
    }));
    done.take();
}

TEST(Doctor, FinWait2Orphans) {
    REQUIRE_TRACING();
    Ward ward;
    const Cue leave;
    ward.begin();
    leave_half_closed(ward.ill, 1000, leave);  // within the window: CLOSE_WAIT has not stood long enough to be a leak
    leave_half_closed(ward.well, 990, leave);
    ward.end();
    leave.give(2);
    const Ids both{"connections_not_reused"};
    EXPECT_EQ(ward.found(ward.ill), (Ids{"connections_not_reused", "fin_wait2_orphans"})) << ward.output().out;
    EXPECT_EQ(ward.found(ward.well), both) << ward.output().out;
    const Json finding = ward.finding(ward.ill, "fin_wait2_orphans");
    EXPECT_EQ(finding["observed"]["fin_wait2"], 1000);
    const auto command = finding["command"].get<std::string>();
    EXPECT_TRUE(command.ends_with(" sysctl -w net.ipv4.tcp_fin_timeout=15")) << command;
}

TEST(Doctor, ConnectionsNotReused) {
    REQUIRE_TRACING();
    Ward ward;
    serve(ward.ill);
    serve(ward.well);
    ward.begin();
    const Who client = ward.ill.spawn("tt-client", [] { come_and_go(150, 4); });
    ward.well.join(ward.well.spawn("tt-client", [] { come_and_go(99, 4); }));
    ward.ill.join(client);
    ward.end();
    EXPECT_EQ(ward.found(ward.ill), (Ids{"connections_not_reused"})) << ward.output().out;
    EXPECT_EQ(ward.found(ward.well), Ids{}) << ward.output().out;
    const Json finding = ward.finding(ward.ill, "connections_not_reused");
    EXPECT_EQ(finding["severity"], "low");
    EXPECT_EQ(finding["observed"]["owner"]["pid"], client.pid);
    EXPECT_EQ(finding["observed"]["ended"], 150);
    EXPECT_EQ(finding["observed"]["time_wait"], 150);
    EXPECT_EQ(finding["observed"]["pool"], 1) << "one at a time is what it needs";
}

TEST(Doctor, LingerResets) {
    REQUIRE_TRACING();
    Ward ward;
    ward.begin();
    linger_reset(
        ward.ill, [] {}, 10);
    linger_reset(
        ward.well, [] {}, 9);
    ward.end();
    EXPECT_EQ(ward.found(ward.ill), (Ids{"linger_resets"})) << ward.output().out;
    EXPECT_EQ(ward.found(ward.well), Ids{}) << ward.output().out;
    EXPECT_EQ(ward.finding(ward.ill, "linger_resets")["observed"]["linger_rst"], 10);
}

}  // namespace
}  // namespace tcptrail::live
