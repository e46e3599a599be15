// SPDX-License-Identifier: Apache-2.0
// The numbers of `life`: against what the sockets themselves said last (TCP_INFO), and against the actors' own watches.
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

#include <algorithm>
#include <cmath>
#include <vector>

#include "stage.h"
#include "suites.h"

namespace tcptrail::live {

namespace {

constexpr std::int64_t kMs = 1'000'000;

struct Numbers {
    std::uint32_t retransmits;
    std::uint32_t srtt_us;
};

Numbers numbers_of(int fd) {
    tcp_info info{};
    socklen_t size = sizeof info;
    if (getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &size) != 0) {
        raise("TCP_INFO");
    }
    return {info.tcpi_total_retrans, info.tcpi_rtt};
}

std::vector<Json> rows_of(const Output& output, const char* type, const char* role = nullptr) {
    std::vector<Json> rows;
    for (const Json& row : output.rows()) {
        if (row["type"] == type && (role == nullptr || row["role"] == role)) {
            rows.push_back(row);
        }
    }
    return rows;
}

/// The client sends to a server that does not hear, until it has sent again; then all is heard and the client resets, so
/// that nothing changes after the last look.
TEST(LifeNumbers, RetransmitsBytesAndSrttAreTheSockets) {
    REQUIRE_TRACING();
    constexpr int kSent = 100;
    constexpr int kAnswer = 30;
    constexpr int kLost = 3;  // at least so many segments are thrown away
    Arena arena;
    Tracer tracer;
    tracer.start({"life", "--json", "--netns", std::to_string(arena.inode())});
    tracer.await_tracing();
    Stage stage;
    Shared<Numbers> of_client;
    Shared<Numbers> of_server;
    const Who server = arena.spawn("tt-server", [&] {
        const Fd listener = open_listener(stage);
        const std::vector<Fd> fds = accept_and_greet(listener.get(), 1);
        const int fd = fds[0].get();
        make_deaf(fd, Deaf::to_all);
        stage.to_client.give();
        stage.to_server.take();
        make_hear(fd);
        get(fd, kSent);
        put(fd, kAnswer);
        await_acked(fd);
        *of_server = numbers_of(fd);
        stage.to_client.give();
        await_state(fd, TCP_CLOSE);
    });
    stage.listening.take();
    const Who client = arena.spawn("tt-client", [&] {
        const Fd fd = dial_and_note(stage, 0);
        stage.to_client.take();
        put(fd.get(), kSent);
        while (numbers_of(fd.get()).retransmits < kLost) {
            sleep_ms(5);
        }
        stage.to_server.give();
        get(fd.get(), kAnswer);
        stage.to_client.take();
        *of_client = numbers_of(fd.get());
        linger_zero(fd.get());
    });
    arena.join(client);
    arena.join(server);
    arena.settle();
    const Output output = tracer.stop();
    const std::vector<Json> active = rows_of(output, "connection", "active");
    const std::vector<Json> passive = rows_of(output, "connection", "passive");
    ASSERT_EQ(active.size(), 1U);
    ASSERT_EQ(passive.size(), 1U);
    EXPECT_GE(of_client->retransmits, static_cast<unsigned>(kLost));
    EXPECT_EQ(active[0]["retransmits"], of_client->retransmits);
    EXPECT_EQ(active[0]["srtt_us"], of_client->srtt_us);
    EXPECT_EQ(active[0]["bytes_sent"], kSent);
    EXPECT_EQ(active[0]["bytes_received"], kAnswer + 1);
    EXPECT_EQ(active[0]["close_reason"], "linger_rst");
    EXPECT_EQ(passive[0]["retransmits"], of_server->retransmits);
    EXPECT_EQ(passive[0]["srtt_us"], of_server->srtt_us);
    EXPECT_EQ(passive[0]["bytes_sent"], kAnswer + 1);
    EXPECT_EQ(passive[0]["bytes_received"], kSent);
}

struct Watch {
    std::int64_t open, shut, closed;
};

double state_ms(const Json& row, const char* state) {
    for (const Json& span : row["states"]) {
        if (span["state"] == state) {
            return span["us"].get<double>() / 1000;
        }
    }
    return -1;
}

TEST(LifeNumbers, TimeInEachStateIsTheActors) {
    REQUIRE_TRACING();
    Arena arena;
    Tracer tracer;
    tracer.start({"life", "--json", "--netns", std::to_string(arena.inode())});
    tracer.await_tracing();
    Stage stage;
    Shared<Watch> watch;
    const Who server = arena.spawn("tt-server", [&] {
        const Fd listener = open_listener(stage);
        std::vector<Fd> fds = accept_and_greet(listener.get(), 1);
        await_state(fds[0].get(), TCP_CLOSE_WAIT);
        sleep_ms(200);
        watch->closed = wall_clock_ns();
    });
    stage.listening.take();
    const Who client = arena.spawn("tt-client", [&] {
        const Fd fd = dial_and_note(stage, 0);
        watch->open = wall_clock_ns();
        sleep_ms(300);
        watch->shut = wall_clock_ns();
        shutdown_write(fd.get());
        await_eof(fd.get());
    });
    arena.join(client);
    arena.join(server);
    arena.settle();
    const Output output = tracer.stop();
    const double open_ms = static_cast<double>(watch->shut - watch->open) / kMs;
    const double half_ms = static_cast<double>(watch->closed - watch->shut) / kMs;
    const auto rows = rows_of(output, "connection");
    ASSERT_EQ(rows.size(), 2U);
    for (const Json& row : rows) {
        SCOPED_TRACE(row.dump());
        const bool active = row["role"] == "active";
        EXPECT_NEAR(state_ms(row, "ESTABLISHED"), open_ms, 50);
        EXPECT_NEAR(row["established_us"].get<double>() / 1000, open_ms, 50);
        EXPECT_NEAR(state_ms(row, active ? "FIN_WAIT2" : "CLOSE_WAIT"), half_ms, 50);
        EXPECT_NEAR(row["lifetime_us"].get<double>() / 1000, open_ms + half_ms, 50);
        std::int64_t sum = 0;
        for (const Json& span : row["states"]) {
            sum += span["us"].get<std::int64_t>();
        }
        EXPECT_NEAR(sum, row["lifetime_us"].get<std::int64_t>(), 8) << "the states fill the life";
    }
}

/// Connections of known lifetimes, two kinds from one client, whose quantiles are told apart by destination.
TEST(LifeNumbers, QuantilesAreWithinTheirStatedError) {
    REQUIRE_TRACING();
    constexpr int kEach = 20;
    constexpr int kStep_ms = 20;
    Arena arena;
    Tracer tracer;
    tracer.start({"life", "--json", "--netns", std::to_string(arena.inode())});
    tracer.await_tracing();
    Shared<std::array<std::array<std::int64_t, kEach>, 2>> lives;  // ns
    const Who client = arena.spawn("tt-client", [&] {
        const Fd listeners[2] = {listen_on(Net::v4, kPort), listen_on(Net::v4, kPort + 1)};
        std::vector<Fd> near[2];
        std::vector<Fd> far[2];
        for (std::size_t which = 0; which < 2; ++which) {
            for (auto& life : (*lives)[which]) {
                life = -wall_clock_ns();
                near[which].push_back(dial(Net::v4, static_cast<std::uint16_t>(kPort + which)));
                far[which].push_back(accept_from(listeners[which].get()));
            }
        }
        for (std::size_t i = 0; i < kEach; ++i) {
            sleep_ms(kStep_ms);
            for (std::size_t which = 0; which < 2; ++which) {
                linger_zero(near[which][i].get());
                near[which][i].close();
                (*lives)[which][i] += wall_clock_ns();
            }
        }
    });
    arena.join(client);
    arena.settle();
    const Output output = tracer.stop();
    const auto summaries = rows_of(output, "life");
    ASSERT_EQ(summaries.size(), 1U);
    int found = 0;
    for (const Json& group : summaries[0]["by"]) {
        if (group["rport"].is_null()) {
            continue;  // the accepting ends
        }
        ++found;
        const std::size_t which = group["rport"] == kPort ? 0 : 1;
        std::vector<std::int64_t> sorted((*lives)[which].begin(), (*lives)[which].end());
        std::sort(sorted.begin(), sorted.end());
        const auto check = [&](const char* name, double part) {
            const auto rank = static_cast<std::size_t>(std::ceil(part * kEach));
            const double truth = static_cast<double>(sorted[rank - 1]) / 1000;
            const double error = part < 1 ? truth / 128 : 0;
            EXPECT_NEAR(group["lifetime_us"][name].get<double>(), truth, error + 10'000) << name;
        };
        EXPECT_EQ(group["ended"], kEach);
        EXPECT_EQ(group["owner"]["pid"], client.pid);
        EXPECT_EQ(group["reasons"], Json({{"linger_rst", kEach}}));
        check("p50", 0.50);
        check("p90", 0.90);
        check("p99", 0.99);
        check("max", 1);
    }
    EXPECT_EQ(found, 2);
    // The histogram's own error, against the lives that the rows tell exactly.
    std::vector<double> told;
    for (const Json& row : rows_of(output, "connection", "active")) {
        if (row["rport"] == kPort) {
            told.push_back(row["lifetime_us"].get<double>());
        }
    }
    std::sort(told.begin(), told.end());
    ASSERT_EQ(told.size(), static_cast<std::size_t>(kEach));
    for (const Json& group : summaries[0]["by"]) {
        if (group["rport"] == kPort) {
            EXPECT_NEAR(group["lifetime_us"]["p50"].get<double>(), told[kEach / 2 - 1], told[kEach / 2 - 1] / 128 + 1);
            EXPECT_NEAR(group["lifetime_us"]["p90"].get<double>(), told[17], told[17] / 128 + 1);
            EXPECT_EQ(group["lifetime_us"]["max"].get<double>(), told.back());
        }
    }
}

}  // namespace

}  // namespace tcptrail::live
