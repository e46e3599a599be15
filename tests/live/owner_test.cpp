// SPDX-License-Identifier: Apache-2.0
// The right process for every connection: owner and closer of all that the owner scenes make, by `life` and by `trace`;
// what an owner object holds besides; filters by owner.
#include <gtest/gtest.h>
#include <sched.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <ctime>
#include <map>
#include <memory>

#include "stage.h"
#include "suites.h"

namespace tcptrail::live {

namespace {

class OwnerScene : public testing::Test {
public:
    OwnerScene(const Scene& scene, const char* command, Comparison compare)
        : scene_(scene), command_(command), compare_(std::move(compare)) {}
    void TestBody() override {
        REQUIRE_TRACING();
        check_scene(scene_.run, command_, compare_);
    }

private:
    const Scene& scene_;
    const char* command_;
    Comparison compare_;
};

/// CLOCK_REALTIME of the start of `pid`, from /proc (10 ms resolution).
std::int64_t started_ns(pid_t pid) {
    const std::string stat = read_file("/proc/" + std::to_string(pid) + "/stat");
    const char* field = stat.c_str() + stat.rfind(')') + 2;
    for (int i = 3; i < 22; ++i) {
        field = std::strchr(field, ' ') + 1;
    }
    timespec boot{};
    clock_gettime(CLOCK_BOOTTIME, &boot);
    const std::int64_t since_boot = boot.tv_sec * 1'000'000'000LL + boot.tv_nsec;
    return wall_clock_ns() - since_boot + std::strtoll(field, nullptr, 10) * (1'000'000'000LL / sysconf(_SC_CLK_TCK));
}

std::string v2_root() {
    for (const char* path : {"/sys/fs/cgroup/unified", "/sys/fs/cgroup"}) {
        if (access((std::string(path) + "/cgroup.controllers").c_str(), F_OK) == 0) {
            return path;
        }
    }
    return {};
}

/// A v1 hierarchy in which a process may be put without further settings; empty: none.
std::string v1_root() {
    for (const char* name : {"pids", "freezer", "memory", "cpu"}) {
        const std::string path = std::string("/sys/fs/cgroup/") + name;
        if (access((path + "/tasks").c_str(), W_OK) == 0) {
            return path;
        }
    }
    return {};
}

/// A group for one test, gone after it.
class Group {
public:
    explicit Group(const std::string& path) : Group(v2_root(), path) {}
    Group(const std::string& root, const std::string& path) : path_(root + path) {
        if (mkdir(path_.c_str(), 0755) != 0 && errno != EEXIST) {
            raise("mkdir " + path_);
        }
    }
    ~Group() {
        for (int i = 0; i < 500 && rmdir(path_.c_str()) != 0; ++i) {
            sleep_ms(2);
        }
    }
    void enter() const { write_file(path_ + "/cgroup.procs", std::to_string(getpid())); }

private:
    std::string path_;
};

/// Tests run side by side.
std::string own_group() {
    return "/tcptrail-live-" + std::to_string(getpid());
}

struct TwoClients {
    Who server, in_group, outside;
};

/// Two clients connect and close first; the first of them from inside `group`, if there is one.
TwoClients two_clients(Arena& arena, const Stage& stage, const Group* group,
                       const std::function<void(const Who&)>& look) {
    TwoClients made;
    const Cue open;
    const Cue go_on;
    made.server = arena.spawn("tt-server", [&] {
        const Fd listener = open_listener(stage);
        for (int i = 0; i < 2; ++i) {
            const Fd fd = accept_from(listener.get());
            put(fd.get(), 1);
            await_eof(fd.get());
        }
    });
    stage.listening.take();
    made.in_group = arena.spawn("tt-inside", [&] {
        if (group != nullptr) {
            group->enter();
        }
        const Fd fd = dial_and_note(stage, 0);
        open.give();
        go_on.take();
    });
    open.take();
    look(made.in_group);
    go_on.give();
    arena.join(made.in_group);
    made.outside = arena.spawn("tt-outside", [&] { const Fd fd = dial_and_note(stage, 1); });
    arena.join(made.outside);
    arena.join(made.server);
    arena.settle();
    return made;
}

std::vector<Json> connections(const std::vector<Json>& rows) {
    std::vector<Json> found;
    std::copy_if(rows.begin(), rows.end(), std::back_inserter(found),
                 [](const Json& row) { return row.value("type", "") == "connection"; });
    return found;
}

TEST(Owner, HasStartTimeNetnsAndGroup) {
    REQUIRE_TRACING();
    if (v2_root().empty()) {
        GTEST_SKIP() << "needs a cgroup v2 mount";
    }
    Arena arena;
    const std::string name = own_group();
    const Group group(name);
    const Stage stage;
    Tracer tracer;
    tracer.start({"life", "--json", "--netns", std::to_string(arena.inode())});
    tracer.await_tracing();
    std::int64_t started = 0;
    const TwoClients made = two_clients(arena, stage, &group, [&](const Who& who) { started = started_ns(who.pid); });
    const Output output = tracer.stop();
    ASSERT_EQ(output.status, 0) << output.err;
    int found = 0;
    for (const Json& row : connections(output.rows())) {
        if (row["owner"].value("pid", 0) == made.in_group.pid) {
            ++found;
            EXPECT_NEAR(static_cast<double>(parse_time(row["owner"]["started"])), static_cast<double>(started), 30e6);
            EXPECT_EQ(row["owner"]["cgroup"], name);
            EXPECT_EQ(row["owner"]["netns"], arena.inode());
            EXPECT_TRUE(row["owner"].contains("unit")) << row["owner"];
            EXPECT_TRUE(row["owner"].contains("container")) << row["owner"];
        }
    }
    EXPECT_EQ(found, 1) << output.out;
}

TEST(Owner, GroupShapesNameUnitAndContainer) {
    REQUIRE_TRACING();
    if (v2_root().empty()) {
        GTEST_SKIP() << "needs a cgroup v2 mount";
    }
    const std::string id(64, 'a');
    struct Shape {
        std::vector<std::string> folders;
        Json unit;
        Json container;
    };
    const std::vector<Shape> shapes = {
        {{"/tt.slice", "/tt.slice/tt-web.service"}, "tt-web.service", nullptr},
        {{"/tt.slice", "/tt.slice/docker-" + id + ".scope"}, "docker-" + id + ".scope", id},
        {{"/docker", "/docker/" + id}, nullptr, id},
    };
    for (const Shape& shape : shapes) {
        SCOPED_TRACE(shape.folders.back());
        const Group above(shape.folders.front());
        const Group group(shape.folders.back());
        Arena arena;
        const Stage stage;
        Tracer tracer;
        tracer.start({"life", "--json", "--netns", std::to_string(arena.inode())});
        tracer.await_tracing();
        const TwoClients made = two_clients(arena, stage, &group, [](const Who&) {});
        const Output output = tracer.stop();
        int found = 0;
        for (const Json& row : connections(output.rows())) {
            if (row["owner"].value("pid", 0) == made.in_group.pid) {
                ++found;
                EXPECT_EQ(row["owner"]["cgroup"], shape.folders.back());
                EXPECT_EQ(row["owner"]["container"], shape.container);
                if (shape.container.is_null()) {
                    EXPECT_EQ(row["owner"]["unit"], shape.unit);
                }
            }
        }
        EXPECT_EQ(found, 1) << output.out << output.err;
    }
}

TEST(Owner, FilterByCgroup) {
    REQUIRE_TRACING();
    if (v2_root().empty()) {
        GTEST_SKIP() << "needs a cgroup v2 mount";
    }
    Arena arena;
    const std::string name = own_group();
    const Group group(name);
    const Stage stage;
    Tracer tracer;
    tracer.start({"trace", "--json", "--netns", std::to_string(arena.inode()), "--cgroup", name});
    tracer.await_tracing();
    const TwoClients made = two_clients(arena, stage, &group, [](const Who&) {});
    const Output output = tracer.stop();
    std::vector<std::string> course;
    for (const Json& row : output.rows()) {
        if (row.value("type", "") == "transition") {
            EXPECT_EQ(row["owner"].value("pid", 0), made.in_group.pid) << row;
            course.push_back(row["old"].get<std::string>() + ">" + row["new"].get<std::string>());
        }
    }
    // Softirq transitions too.
    EXPECT_EQ(course, (std::vector<std::string>{"CLOSE>SYN_SENT", "SYN_SENT>ESTABLISHED", "ESTABLISHED>FIN_WAIT1",
                                                "FIN_WAIT1>FIN_WAIT2", "FIN_WAIT2>TIME_WAIT"}));
}

/// A process that only closed is matched too, and from its FIN on in softirq transitions as well.
TEST(Owner, FilterByTheCloser) {
    REQUIRE_TRACING();
    Arena arena;
    const Stage stage;
    const Cue heir_may_close;
    Tracer tracer;
    const Who server = arena.spawn("tt-server", [&] {
        const Fd listener = open_listener(stage);
        for (const Fd& fd : accept_and_greet(listener.get(), 1)) {
            await_eof(fd.get());
        }
    });
    stage.listening.take();
    tracer.start({"trace", "--json", "--netns", std::to_string(arena.inode()), "-c", "tt-heir"});
    tracer.await_tracing();
    const Who opener = arena.spawn("tt-opener", [&] {
        Fd fd = dial_and_note(stage, 0);
        const pid_t heir = fork_named("tt-heir", [&] {
            heir_may_close.take();
            fd.close();
        });
        fd.close();
        heir_may_close.give();
        wait_for(heir);
    });
    arena.join(opener);
    arena.join(server);
    arena.settle();
    const Output output = tracer.stop();
    std::vector<std::string> course;
    for (const Json& row : output.rows()) {
        if (row.value("type", "") == "transition") {
            EXPECT_EQ(row["owner"].value("pid", 0), opener.pid) << row;
            course.push_back(row["old"].get<std::string>() + ">" + row["new"].get<std::string>());
        }
    }
    EXPECT_EQ(course,
              (std::vector<std::string>{"ESTABLISHED>FIN_WAIT1", "FIN_WAIT1>FIN_WAIT2", "FIN_WAIT2>TIME_WAIT"}));
}

/// A namespace without process and mount, held by its sockets alone: the snapshot reaches it through a holder.
TEST(Owner, NamespaceHeldBySocketsAlone) {
    REQUIRE_TRACING();
    Arena arena;
    auto left = std::make_unique<Arena>();
    const std::uint32_t hidden = left->inode();
    Shared<Tuple> noted;
    const Cue open;
    const Cue leave;
    const Who both = arena.spawn("tt-both", [&] {
        const auto go = [](int netns) {
            if (setns(netns, CLONE_NEWNET) != 0) {
                raise("setns");
            }
        };
        go(left->netns_fd());
        const Fd listener = listen_on(Net::v4, 5001);
        Fd client = dial(Net::v4, 5001);
        const Fd server = accept_from(listener.get());
        *noted = tuple_of(client.get());
        go(arena.netns_fd());
        open.give();
        leave.take();
        client.close();
        await_eof(server.get());
    });
    open.take();
    left.reset();  // the last process that stood in it
    Tracer tracer;
    tracer.start({"life", "--json", "--netns", std::to_string(hidden)});
    tracer.await_tracing();
    leave.give();
    arena.join(both);
    sleep_ms(20);
    const Output output = tracer.stop();
    int found = 0;
    for (const Json& row : connections(output.rows())) {
        ++found;
        EXPECT_EQ(row["netns"], hidden);
        EXPECT_EQ(row["before_trace"], true);
        EXPECT_EQ(row["owner"].value("pid", 0), both.pid) << row;
        EXPECT_EQ(row["owner"]["evidence"], "snapshot") << row;
        EXPECT_EQ(row["closer"].value("pid", 0), both.pid) << row;
        EXPECT_TRUE(row["lport"] == noted->lport || row["rport"] == noted->lport) << row;
    }
    EXPECT_EQ(found, 2) << output.out << output.err;
}

/// On a hybrid host the container may be named by a v1 controller alone.
TEST(Owner, ContainerOfAV1Controller) {
    REQUIRE_TRACING();
    const std::string id(64, 'b');
    const std::string root = v1_root();
    if (root.empty()) {
        GTEST_SKIP() << "needs a cgroup v1 hierarchy that lets groups be made";
    }
    Arena arena;
    const Group above(root, "/docker");
    const Group group(root, "/docker/" + id);
    const Stage stage;
    Tracer tracer;
    tracer.start({"life", "--json", "--netns", std::to_string(arena.inode())});
    tracer.await_tracing();
    const TwoClients made = two_clients(arena, stage, &group, [](const Who&) { sleep_ms(300); });
    const Output output = tracer.stop();
    int found = 0;
    for (const Json& row : connections(output.rows())) {
        if (row["owner"].value("pid", 0) == made.in_group.pid) {
            ++found;
            EXPECT_EQ(row["owner"]["container"], id) << row;
        } else {
            EXPECT_TRUE(row["owner"]["container"].is_null()) << row;
        }
    }
    EXPECT_EQ(found, 1) << output.out << output.err;
}

/// Whoever looks through /proc/PID/fd or iter/task_file holds each file for a moment. When its owner closes it just then,
/// the kernel closes the socket in the looker's name: the closer is unknown then, never the looker. Here that moment is as
/// long as it takes: another process, with the same table of files, waits in read().
TEST(Owner, ALookerIsNotTheCloser) {
    REQUIRE_TRACING();
    Arena arena;
    Tracer tracer;
    tracer.start({"life", "--json", "--netns", std::to_string(arena.inode())});
    tracer.await_tracing();
    const Stage stage;
    const Who server = arena.spawn("tt-server", [&] {
        const Fd listener = open_listener(stage);
        const std::vector<Fd> fds = accept_and_greet(listener.get(), 1);
        stage.to_server.take();
        put(fds[0].get(), 1);
        await_eof(fds[0].get());
    });
    stage.listening.take();
    const Who client = arena.spawn("tt-client", [&] {
        Fd fd = dial_and_note(stage, 0);
        const auto looker = static_cast<pid_t>(syscall(SYS_clone, CLONE_FILES | SIGCHLD, 0, 0, 0, 0));
        if (looker < 0) {
            raise("clone");
        }
        if (looker == 0) {
            char byte = 0;
            _exit(read(fd.get(), &byte, 1) == 1 ? 0 : 1);
        }
        sleep_ms(100);  // it waits now
        fd.close();
        sleep_ms(20);
        stage.to_server.give();
        wait_for(looker);
    });
    arena.join(client);
    arena.join(server);
    arena.settle();
    const Output output = tracer.stop();
    std::vector<std::pair<std::string, Json>> closers;  // by role
    for (const Json& row : connections(output.rows())) {
        const int owner = row["role"] == "active" ? client.pid : server.pid;
        EXPECT_EQ(row["owner"].value("pid", 0), owner) << row;
        closers.emplace_back(row["role"], row["closer"].is_null() ? Json() : row["closer"]["pid"]);
    }
    std::sort(closers.begin(), closers.end());
    const std::vector<std::pair<std::string, Json>> truth{{"active", Json()}, {"passive", server.pid}};
    EXPECT_EQ(closers, truth);
}

/// From the start to `tracing` in an empty namespace.
std::int64_t time_to_trace_nothing() {
    const Arena arena;
    Tracer tracer;
    const std::int64_t started = wall_clock_ns();
    tracer.start({"life", "--json", "--netns", std::to_string(arena.inode())});
    tracer.await_tracing();
    const std::int64_t took = wall_clock_ns() - started;
    tracer.stop();
    return took;
}

/// 20,000 sockets of four processes stand while the trace begins, and others are opened and closed all the time: each of
/// those is told at most once, and exactly once if it ended after `tracing`.
TEST(Owner, SnapshotUnderLoadLosesAndDoublesNothing) {
    REQUIRE_TRACING();
    constexpr int kPairs = 2;
    constexpr int kStanding = 5000;
    constexpr int kChurn = 4000;
    constexpr int kSlowly = 2500;  // one a millisecond, so that they spread over load, attach and snapshot
    const std::int64_t load_ns = time_to_trace_nothing();
    Arena arena;
    arena.sysctl("net/ipv4/ip_local_port_range", "10000 65000");
    arena.sysctl("net/ipv4/tcp_tw_reuse", "0");  // a port names one connection
    const Cue ready;
    const Cue leave;
    std::vector<Who> actors;
    for (int c = 0; c < kPairs; ++c) {
        const auto port = static_cast<std::uint16_t>(7000 + c);
        const Cue listening;
        actors.push_back(arena.spawn("tt-server", [&] {
            const Fd listener = listen_on(Net::v4, port);
            listening.give();
            const std::vector<Fd> fds = accept_and_greet(listener.get(), kStanding);
            ready.give();
            leave.take(60000);
        }));
        listening.take();
        actors.push_back(arena.spawn("tt-standing", [&] {
            std::vector<Fd> fds;
            for (int i = 0; i < kStanding; ++i) {
                fds.push_back(dial(Net::v4, port));
            }
            ready.give();
            leave.take(60000);
        }));
    }
    ready.take(60000);
    for (int i = 1; i < 2 * kPairs; ++i) {
        ready.take(60000);
    }
    const Stage stage;
    Shared<std::array<std::int64_t, kChurn>> closed_at;
    const Who server = arena.spawn("tt-churned", [&] {
        const Fd listener = open_listener(stage);
        for (int i = 0; i < kChurn; ++i) {
            const Fd fd = accept_from(listener.get());
            put(fd.get(), 1);
            await_eof(fd.get());
        }
    });
    stage.listening.take();
    const Who client = arena.spawn("tt-churner", [&] {
        for (int i = 0; i < kChurn; ++i) {
            Fd fd = dial_and_note(stage, i);
            (*closed_at)[static_cast<std::size_t>(i)] = wall_clock_ns();
            fd.close();
            if (i < kSlowly) {
                sleep_ms(1);
            } else if (i == kSlowly) {
                stage.to_client.take(60000);  // it traces
            }
        }
    });
    Tracer tracer;
    const std::int64_t started = wall_clock_ns();
    tracer.start({"life", "--json", "--netns", std::to_string(arena.inode()), "-c", "tt-churner"});
    tracer.await_tracing(30000);
    const std::int64_t tracing = wall_clock_ns();
    stage.to_client.give();
    // The machine may be busy with other things: what is asserted is generous, what it was is printed.
    const auto snapshot_ms = (tracing - started - load_ns) / 1'000'000;
    std::printf("             load and attach: %lld ms, snapshot of 20,000 sockets: %lld ms more\n",
                static_cast<long long>(load_ns / 1'000'000), static_cast<long long>(snapshot_ms));
    EXPECT_LT(snapshot_ms, 3000);
    arena.join(client);
    arena.join(server);
    arena.settle(2 * kPairs * kStanding + kPairs);
    const Output output = tracer.stop();
    leave.give(2 * kPairs);
    for (const Who& who : actors) {
        arena.join(who);
    }
    std::map<int, int> told;
    for (const Json& row : connections(output.rows())) {
        ++told[row["lport"].get<int>()];
        EXPECT_EQ(row["owner"].value("pid", 0), client.pid) << row;
    }
    int under_trace = 0;
    for (int i = 0; i < kChurn; ++i) {
        const int times = told[stage.client(i).lport];
        const bool due = (*closed_at)[static_cast<std::size_t>(i)] > tracing;
        under_trace += due ? 1 : 0;
        EXPECT_TRUE(times == 1 || (!due && times == 0)) << "connection " << i << " told " << times << " times";
    }
    EXPECT_GT(under_trace, kChurn / 4) << "the trace began too late to prove anything";
    const Json end = output.last_row();
    EXPECT_EQ(end["lost"], 0);
    EXPECT_EQ(end["missed"], 0);
}

}  // namespace

void register_owner_tests() {
    for (const Scene& scene : owner_scenes()) {
        testing::RegisterTest("Owner", scene.name.c_str(), nullptr, nullptr, __FILE__, __LINE__,
                              [&]() -> testing::Test* { return new OwnerScene(scene, "life", compare_connections); });
        testing::RegisterTest("Owner", (scene.name + "Transitions").c_str(), nullptr, nullptr, __FILE__, __LINE__,
                              [&]() -> testing::Test* { return new OwnerScene(scene, "trace", compare_transitions); });
    }
}

}  // namespace tcptrail::live
