// SPDX-License-Identifier: Apache-2.0
// `tcptrail trace --json`: for every scene the whole output, row by row, is what the kernel did.
#include <gtest/gtest.h>
#include <netinet/tcp.h>

#include <array>
#include <map>
#include <string>
#include <tuple>
#include <utility>

#include "compare.h"
#include "scene.h"
#include "stage.h"
#include "suites.h"

namespace tcptrail::live {

namespace {

class TraceScene : public testing::Test {
public:
    explicit TraceScene(const Scene& scene) : scene_(scene) {}
    void TestBody() override {
        REQUIRE_TRACING();
        check_scene(scene_.run, "trace", compare_transitions);
    }

private:
    const Scene& scene_;
};

TEST(Trace, ThousandOneAfterAnotherTenTimes) {
    REQUIRE_TRACING();
    for (int round = 1; round <= 10 && !testing::Test::HasFailure(); ++round) {
        SCOPED_TRACE("round " + std::to_string(round));
        check_scene([](Arena& arena, const TraceBegins& begin) { return client_closes_first(arena, begin, 1000); },
                    "trace", compare_transitions);
    }
}

TEST(Trace, ThousandClosedInOneBatchTenTimes) {
    REQUIRE_TRACING();
    for (int round = 1; round <= 10 && !testing::Test::HasFailure(); ++round) {
        SCOPED_TRACE("round " + std::to_string(round));
        check_scene([](Arena& arena, const TraceBegins& begin) { return closed_in_a_batch(arena, begin, 1000); },
                    "trace", compare_transitions);
    }
}

/// When a step began and was over, by the clock of whoever made it.
struct Span {
    std::int64_t begin = 0, end = 0;
};
enum Step : std::size_t { connecting, shutting, closing, shutting_unheard, crossing, hearing, kSteps };
struct Spans {
    std::array<Span, kSteps> of;
    std::array<std::uint16_t, 2> client_ports;
};

/// One connection is closed by either side in turn, the FINs of the other one cross. Each step comes a while after the one
/// before, of which the socket still has the time.
void make_steps(Spans& spans) {
    constexpr int pause_ms = 60;
    const auto step = [&](Step which, const auto& make) {
        sleep_ms(pause_ms);
        spans.of[which].begin = wall_clock_ns();
        make();
        spans.of[which].end = wall_clock_ns();
    };
    const Fd listener = listen_on(Net::v4, kPort);
    Fd client;
    Fd server;
    step(connecting, [&] {
        client = dial(Net::v4, kPort);
        server = accept_from(listener.get());
    });
    spans.client_ports[0] = tuple_of(client.get()).lport;
    step(shutting, [&] {
        shutdown_write(client.get());
        await_state(server.get(), TCP_CLOSE_WAIT);
        await_state(client.get(), TCP_FIN_WAIT2);
    });
    step(closing, [&] {
        server.close();
        await_state(client.get(), TCP_CLOSE);
    });
    client = dial(Net::v4, kPort);
    server = accept_from(listener.get());
    spans.client_ports[1] = tuple_of(client.get()).lport;
    make_deaf(client.get(), Deaf::to_fin);
    step(shutting_unheard, [&] { shutdown_write(server.get()); });
    step(crossing, [&] {
        shutdown_write(client.get());
        await_state(server.get(), TCP_CLOSING);
        await_state(client.get(), TCP_FIN_WAIT2);
    });
    step(hearing, [&] {
        make_hear(client.get());
        await_state(client.get(), TCP_CLOSE);
        await_state(server.get(), TCP_CLOSE);
    });
}

/// Most transitions carry the time that the kernel keeps in the socket (`is_stamped` in bpf/tcptrail.bpf.c), and it must be this
/// packet's.
TEST(Trace, ATransitionHasTheTimeOfItsStep) {
    REQUIRE_TRACING();
    constexpr std::int64_t slack_ns = 20'000'000;
    Arena arena;
    Tracer tracer;
    tracer.start({"trace", "--json", "--netns", std::to_string(arena.inode())});
    tracer.await_tracing();
    Shared<Spans> spans;
    const Who both = arena.spawn("tt-both", [&] { make_steps(*spans); });
    arena.join(both);
    arena.settle();
    const Output output = tracer.stop();

    enum class End { client, server };
    const auto [client, server] = std::pair(End::client, End::server);
    const std::map<std::tuple<int, End, std::string>, Step> expected = {
        {{0, client, "SYN_SENT>ESTABLISHED"}, connecting},
        {{0, server, "SYN_RECV>ESTABLISHED"}, connecting},
        {{0, client, "ESTABLISHED>FIN_WAIT1"}, shutting},
        {{0, client, "FIN_WAIT1>FIN_WAIT2"}, shutting},
        {{0, server, "ESTABLISHED>CLOSE_WAIT"}, shutting},
        {{0, server, "CLOSE_WAIT>LAST_ACK"}, closing},
        {{0, server, "LAST_ACK>CLOSE"}, closing},
        {{0, client, "FIN_WAIT2>TIME_WAIT"}, closing},
        {{1, server, "ESTABLISHED>FIN_WAIT1"}, shutting_unheard},
        {{1, client, "ESTABLISHED>FIN_WAIT1"}, crossing},
        {{1, server, "FIN_WAIT1>CLOSING"}, crossing},
        {{1, client, "FIN_WAIT1>FIN_WAIT2"}, crossing},
        {{1, client, "FIN_WAIT2>TIME_WAIT"}, hearing},
        {{1, server, "CLOSING>TIME_WAIT"}, hearing},
    };
    std::map<std::tuple<int, End, std::string>, Step> seen;
    for (const Json& row : output.rows()) {
        for (int connection = 0; connection < 2 && row["type"] == "transition"; ++connection) {
            const std::uint16_t port = spans->client_ports[static_cast<std::size_t>(connection)];
            if (row["lport"] != port && row["rport"] != port) {
                continue;
            }
            const auto course = row["old"].get<std::string>() + ">" + row["new"].get<std::string>();
            const auto found = expected.find({connection, row["lport"] == port ? client : server, course});
            if (found != expected.end()) {
                seen.insert(*found);
                const std::int64_t time = parse_time(row["time"]);
                const Span& span = spans->of[found->second];
                EXPECT_GE(time, span.begin - slack_ns) << row;
                EXPECT_LE(time, span.end + slack_ns) << row;
            }
        }
    }
    EXPECT_EQ(seen.size(), expected.size()) << output.out;
}

}  // namespace

void check_scene(const std::function<Truth(Arena&, const TraceBegins&)>& scene, const std::string& command,
                 const Comparison& compare) {
    Arena arena;
    Tracer tracer;
    Bounds bounds;
    bounds.netns = arena.inode();
    const Truth truth = scene(arena, [&] {
        tracer.start({command, "--json", "--netns", std::to_string(arena.inode())});
        tracer.await_tracing();
        bounds.begin_ns = wall_clock_ns();
    });
    bounds.end_ns = wall_clock_ns();
    const Output output = tracer.stop();
    EXPECT_EQ(output.status, 0) << output.err;
    const Differences differences = compare(truth, output.rows(), bounds);
    EXPECT_TRUE(differences.empty()) << first_of(differences) << "\nstderr:\n" << output.err;
}

void register_trace_tests() {
    for (const Scene& scene : scenes()) {
        testing::RegisterTest("Trace", scene.name.c_str(), nullptr, nullptr, __FILE__, __LINE__,
                              [&scene]() -> testing::Test* { return new TraceScene(scene); });
    }
}

}  // namespace tcptrail::live
