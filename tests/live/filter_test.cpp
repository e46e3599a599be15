// SPDX-License-Identifier: Apache-2.0
// Filters: each lets through the rows of exactly those sockets that it names.
#include <gtest/gtest.h>

#include <algorithm>
#include <functional>
#include <map>
#include <memory>
#include <vector>

#include "stage.h"
#include "suites.h"

namespace tcptrail::live {

namespace {

constexpr std::uint16_t kOther = 5002;

/// IPv4 to kPort from tt-four, IPv6 to kOther from tt-six.
struct Mixed {
    Who four_server, four_client, six_server, six_client;
    Truth truth;
};

void add_pair(Truth& truth, const Tuple& tuple, bool v6, const Who& server, const Who& client) {
    truth.add(Side::listening(listener_tuple(v6 ? Net::v6 : Net::v4, v6 ? kOther : kPort), server, server));
    truth.add(Side::active(tuple, client)).closes_first(client);
    truth.add(Side::passive(mirrored(tuple, v6), server, server)).closes_second(server);
}

/// The actors exist before `begin`, so that filters can name them by pid.
Mixed mixed_traffic(Arena& arena, const std::function<void(const Mixed&)>& begin) {
    Mixed mixed;
    const Stage stage;
    const Cue go_server;
    const Cue go_client;
    const auto serve = [&](Net net, std::uint16_t port) {
        return [&, net, port] {
            go_server.take();
            const Fd listener = listen_on(net, port);
            stage.listening.give();
            for (const Fd& fd : accept_and_greet(listener.get(), 1)) {
                await_eof(fd.get());
            }
        };
    };
    const auto call = [&](Net net, std::uint16_t port, int i) {
        return [&, net, port, i] {
            go_client.take();
            const Fd fd = dial(net, port);
            get(fd.get(), 1);
            stage.note(i, fd.get());
        };
    };
    mixed.four_server = arena.spawn("tt-four-s", serve(Net::v4, kPort));
    mixed.six_server = arena.spawn("tt-six-s", serve(Net::v6, kOther));
    mixed.four_client = arena.spawn("tt-four-c", call(Net::v4, kPort, 0));
    mixed.six_client = arena.spawn("tt-six-c", call(Net::v6, kOther, 1));
    begin(mixed);
    go_server.give(2);
    stage.listening.take();
    stage.listening.take();
    go_client.give(2);
    for (const Who& who : {mixed.four_client, mixed.six_client, mixed.four_server, mixed.six_server}) {
        arena.join(who);
    }
    arena.settle();
    add_pair(mixed.truth, stage.client(0), false, mixed.four_server, mixed.four_client);
    add_pair(mixed.truth, stage.client(1), true, mixed.six_server, mixed.six_client);
    return mixed;
}

struct Filter {
    std::function<std::vector<std::string>(const Mixed&)> options;
    std::function<bool(const Side&, const Mixed&)> lets_through;
};

std::string pid_of(const Who& who) {
    return std::to_string(who.pid);
}

const std::vector<Filter>& filters() {
    using Args = std::vector<std::string>;
    static const std::vector<Filter> all = {
        {[](const Mixed&) { return Args{"-4"}; }, [](const Side& s, const Mixed&) { return !s.tuple.v6; }},
        {[](const Mixed&) { return Args{"-6"}; }, [](const Side& s, const Mixed&) { return s.tuple.v6; }},
        {[](const Mixed&) {
             return Args{"-L", "5001"};
         },
         [](const Side& s, const Mixed&) { return s.tuple.lport == kPort; }},
        {[](const Mixed&) {
             return Args{"-D", "5002"};
         },
         [](const Side& s, const Mixed&) { return s.tuple.rport == kOther; }},
        {[](const Mixed&) {
             return Args{"--rport", "5001,5002"};
         },
         [](const Side& s, const Mixed&) { return s.tuple.rport == kPort || s.tuple.rport == kOther; }},
        {[](const Mixed& m) {
             return Args{"-p", pid_of(m.four_client)};
         },
         [](const Side& s, const Mixed& m) { return s.owner.who.pid == m.four_client.pid; }},
        {[](const Mixed& m) {
             return Args{"--pid", pid_of(m.four_server) + "," + pid_of(m.six_client)};
         },
         [](const Side& s, const Mixed& m) {
             return s.owner.who.pid == m.four_server.pid || s.owner.who.pid == m.six_client.pid;
         }},
        {[](const Mixed&) {
             return Args{"-c", "tt-six-s"};
         },
         [](const Side& s, const Mixed& m) { return s.owner.who.pid == m.six_server.pid; }},
        {[](const Mixed&) {
             return Args{"-a", "127.0.0.0/8"};
         },
         [](const Side& s, const Mixed&) { return !s.tuple.v6; }},
        {[](const Mixed&) {
             return Args{"--addr", "::1/128"};
         },
         [](const Side& s, const Mixed&) { return s.tuple.v6; }},
        {[](const Mixed&) { return Args{}; }, [](const Side&, const Mixed&) { return true; }},
    };
    return all;
}

/// All filters at once, each in a tracer of its own, over the same traffic.
TEST(Cli, FiltersLetThroughWhatTheyName) {
    REQUIRE_TRACING();
    Arena arena;
    std::vector<std::unique_ptr<Tracer>> tracers;
    std::vector<std::string> names;
    Bounds bounds{arena.inode(), 0, 0};
    const Mixed mixed = mixed_traffic(arena, [&](const Mixed& actors) {
        for (const Filter& filter : filters()) {
            std::vector<std::string> args = {"trace", "--json", "--netns", std::to_string(arena.inode())};
            std::string name;
            for (const std::string& option : filter.options(actors)) {
                args.push_back(option);
                name += option + " ";
            }
            names.push_back(name);
            tracers.push_back(std::make_unique<Tracer>());
            tracers.back()->start(args);
        }
        for (const auto& tracer : tracers) {
            tracer->await_tracing(60000);
        }
        bounds.begin_ns = wall_clock_ns();
    });
    bounds.end_ns = wall_clock_ns();
    for (std::size_t i = 0; i < tracers.size(); ++i) {
        SCOPED_TRACE("filter " + names[i]);
        const Output output = tracers[i]->stop();
        EXPECT_EQ(output.status, 0) << output.err;
        Truth passed;
        for (const Side& side : mixed.truth.sides) {
            if (filters()[i].lets_through(side, mixed)) {
                passed.add(side);
            }
        }
        Differences differences = compare_transitions(passed, output.rows(), bounds);
        std::erase_if(differences, [](const std::string& line) {  // it speaks of all that was recorded
            return line.starts_with("trace_end: transitions");
        });
        EXPECT_TRUE(differences.empty()) << first_of(differences);
    }
}

/// The local port is chosen after the owner was seen: -L on it must not lose the owner.
TEST(Cli, FilterOnAnAutoboundPortKeepsTheOwner) {
    REQUIRE_TRACING();
    Arena arena;
    arena.sysctl("net/ipv4/ip_local_port_range", "46001 46001");
    Tracer tracer;
    Stage stage;
    const Who server = arena.spawn("tt-server", [&] {
        const Fd listener = open_listener(stage);
        for (const Fd& fd : accept_and_greet(listener.get(), 1)) {
            await_eof(fd.get());
        }
    });
    stage.listening.take();
    tracer.start({"trace", "--json", "--netns", std::to_string(arena.inode()), "-L", "46001"});
    tracer.await_tracing();
    const Who client = arena.spawn("tt-client", [&] { dial_and_note(stage, 0); });
    arena.join(client);
    arena.join(server);
    arena.settle();
    const Output output = tracer.stop();
    std::vector<std::string> course;
    for (const Json& row : output.rows()) {
        if (row.value("type", "") == "transition" && row["new"] != "SYN_SENT") {
            EXPECT_EQ(row["owner"].value("pid", 0), client.pid) << row;
            EXPECT_EQ(row["owner"]["evidence"], "connect");
            EXPECT_EQ(row["lport"], 46001);
            course.push_back(row["new"]);
        }
    }
    EXPECT_EQ(course, (std::vector<std::string>{"ESTABLISHED", "FIN_WAIT1", "FIN_WAIT2", "TIME_WAIT"})) << output.out;
}

/// Two namespaces with the same traffic: the filter takes one; without it both are told, each under its own number.
TEST(Cli, NetnsFilterTellsNamespacesApart) {
    REQUIRE_TRACING();
    Arena wanted;
    Arena other;
    Tracer both;
    Tracer one;
    one.start({"trace", "--json", "--netns", std::to_string(wanted.inode())});
    both.start({"trace", "--json"});
    one.await_tracing();
    both.await_tracing();
    const Truth truth = client_closes_first(
        wanted, [] {}, 3);
    client_closes_first(
        other, [] {}, 3);
    const auto count = [](const Output& output, const Arena& arena) {
        const auto rows = output.rows();
        return std::count_if(rows.begin(), rows.end(), [&](const Json& row) {
            return row.value("type", "") == "transition" && row["netns"] == arena.inode();
        });
    };
    const long printed = truth.transitions() - (kernel_shows_syn_recv() ? 0 : 3);
    const Output of_one = one.stop();
    EXPECT_EQ(count(of_one, wanted), printed);
    EXPECT_EQ(count(of_one, other), 0);
    EXPECT_EQ(of_one.last_row()["transitions"], truth.transitions());
    const Output of_both = both.stop();
    EXPECT_EQ(count(of_both, wanted), printed);
    EXPECT_EQ(count(of_both, other), printed);
}

/// More namespaces than the programs remember: each keeps its own number.
TEST(Cli, EachOfManyNamespacesHasItsNumber) {
    REQUIRE_TRACING();
    Tracer tracer;
    tracer.start({"trace", "--json"});
    tracer.await_tracing();
    std::vector<std::unique_ptr<Arena>> arenas;
    std::map<std::uint32_t, long> made;
    for (int i = 0; i < part_of(70); ++i) {
        arenas.push_back(std::make_unique<Arena>());
    }
    for (int round = 0; round < 2; ++round) {
        for (const auto& arena : arenas) {
            arena->inside([] {
                const Fd listener = listen_on(Net::v4, 5001);
                const Fd client = dial(Net::v4, 5001);
                const Fd server = accept_from(listener.get());
            });
            made[arena->inode()] += kernel_shows_syn_recv() ? 12 : 11;
        }
    }
    for (const auto& arena : arenas) {
        arena->settle();
    }
    const Output output = tracer.stop();
    std::map<std::uint32_t, long> seen;
    for (const Json& row : output.rows()) {
        if (row.value("type", "") == "transition" && made.contains(row["netns"].get<std::uint32_t>())) {
            ++seen[row["netns"].get<std::uint32_t>()];
        }
    }
    EXPECT_EQ(seen, made);
}

}  // namespace

}  // namespace tcptrail::live
