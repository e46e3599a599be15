// SPDX-License-Identifier: Apache-2.0
// The flight recorder itself: killed, out of room, rotated.
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <random>

#include "recorded.h"
#include "stage.h"
#include "suites.h"

namespace tcptrail::live {

namespace {

constexpr std::size_t kMost = 1 << 16;

/// When each connection of the load had ended, on both sides, by the client's clock.
struct Ends {
    std::size_t count = 0;
    std::int64_t ns[kMost] = {};
};

/// One connection after another, the server first to close, until told to stop.
struct Load {
    Stage stage;
    Shared<Ends> ends;
    Shared<bool> stop;  // told to the client
    Shared<bool> done;  // told to the server
    Who server, client;

    explicit Load(Arena& arena) {
        server = arena.spawn("tt-server", [this] {
            const Fd listener = open_listener(stage);
            while (!*done) {
                const Fd fd = accept_from(listener.get());
                put(fd.get(), 1);
            }
        });
        stage.listening.take();
        client = arena.spawn("tt-client", [this] {
            while (!*stop && ends->count < kMost) {
                {
                    const Fd fd = dial(Net::v4, kPort);
                    get(fd.get(), 1);
                    await_eof(fd.get());
                }
                ends->ns[ends->count] = wall_clock_ns();
                __atomic_store_n(&ends->count, ends->count + 1, __ATOMIC_RELEASE);
            }
            *done = true;
            const Fd last = fresh_socket(Net::v4);
            try_connect(last.get(), Net::v4, kPort);  // the server may wait for one more
        });
    }
    void finish(Arena& arena) {
        *stop = true;
        arena.join(client);
        arena.join(server);
    }
};

/// Kills a recorder at a random moment under load, and reads what it left.
void kill_once(std::mt19937& random) {
    const Folder folder;
    const std::string file = folder / "recording";
    Arena arena;
    Tracer tracer;
    tracer.start({"record", "-w", file, "--netns", std::to_string(arena.inode())});
    tracer.await_tracing();
    Load load(arena);
    sleep_ms(1200 + static_cast<int>(random() % 800));
    const std::int64_t killed = wall_clock_ns();
    tracer.send(SIGKILL);
    tracer.wait();
    load.finish(arena);

    std::size_t sure = 0;  // those that ended a second and more before
    while (sure < load.ends->count && load.ends->ns[sure] <= killed - 1'000'000'000) {
        ++sure;
    }
    ASSERT_GT(sure, 10U) << "too little happened to judge by";
    const Output read = run_tcptrail({"life", "--json", "-r", file, "-D", std::to_string(kPort)});
    EXPECT_EQ(read.status, 0) << read.err;
    EXPECT_NE(read.err.find("its end is missing: the recorder was killed"), std::string::npos) << read.err;
    EXPECT_EQ(read.err_lines().size(), 1U) << read.err;
    EXPECT_EQ(read.last_row()["truncated"], true);
    EXPECT_EQ(read.last_row()["lost"], 0);
    std::size_t told = 0;
    for (const Json& row : read.rows()) {
        told += row["type"] == "connection" && row["role"] == "active" ? 1 : 0;
    }
    EXPECT_GE(told, sure) << "of " << load.ends->count << " connections";
    EXPECT_LE(told, load.ends->count + 1);
}

TEST(Recorder, KilledTwiceUnderLoadLosesAtMostTheLastSecondAndSaysSo) {
    REQUIRE_TRACING();
    std::mt19937 random(std::random_device{}());
    for (int round = 0; round < 2; ++round) {
        kill_once(random);
    }
}

TEST(Recorder, TwiceTenTimesKilledUnderLoad) {
    REQUIRE_TRACING();
    std::mt19937 random(std::random_device{}());
    for (int round = 0; round < 20 && !testing::Test::HasFailure(); ++round) {
        SCOPED_TRACE("round " + std::to_string(round));
        kill_once(random);
    }
}

/// No room is left: one line, exit 1, the live report is there all the same, and the file is readable.
TEST(Recorder, WithoutRoomTheReportIsStillPrinted) {
    REQUIRE_TRACING();
    const Folder folder;
    const std::string file = folder / "recording";
    Arena arena;
    Tracer tracer;
    // Rows of nobody: stdout is a file with the same limit.
    tracer.start({"life", "--json", "-p", "1", "-w", file, "--netns", std::to_string(arena.inode())}, [] {
        const rlimit limit{60'000, 60'000};
        setrlimit(RLIMIT_FSIZE, &limit);
    });
    tracer.await_tracing();
    Load load(arena);
    const Output live = tracer.wait(30000);
    load.finish(arena);
    EXPECT_EQ(live.status, 1) << live.err;
    const auto lines = live.err_lines();
    ASSERT_EQ(lines.size(), 2U) << live.err;
    EXPECT_NE(lines[1].find("cannot write " + file + ": File too large"), std::string::npos) << lines[1];
    EXPECT_EQ(live.last_row()["type"], "trace_end");
    const Output read = run_tcptrail({"life", "--json", "-r", file});
    EXPECT_EQ(read.status, 0) << read.err;
    EXPECT_EQ(read.last_row()["truncated"], true);
    EXPECT_GT(read.rows().size(), 10U);
}

TEST(Recorder, AnUnwritablePathIsOneLine) {
    REQUIRE_TRACING();
    const Output output = run_tcptrail({"record", "-w", "/proc/none/recording", "-d", "1s"});
    EXPECT_EQ(output.status, 1);
    EXPECT_EQ(output.err_lines().size(), 1U) << output.err;
    EXPECT_NE(output.err.find("cannot create /proc/none/recording"), std::string::npos) << output.err;
}

/// The last files of a ring, read alone: every owner is known, though the processes were named in a file that is gone.
TEST(Recorder, TheRestOfARingNamesItsOwners) {
    REQUIRE_TRACING();
    const Folder folder;
    const std::string file = folder / "ring";
    Arena arena;
    // Each snapshot has all time-wait sockets, and two may stand at the end: of all that were made there is no room for more.
    arena.sysctl("net/ipv4/tcp_max_tw_buckets", "1000");
    Tracer tracer;
    tracer.start({"record", "-w", file, "-C", "50k", "-W", "3", "--ring", "--netns", std::to_string(arena.inode())});
    tracer.await_tracing();
    Load load(arena);
    for (int waited = 0; load.ends->count < 10'000 && waited < 15'000; waited += 100) {
        sleep_ms(100);
    }
    load.finish(arena);
    const Output recorded = tracer.stop();
    ASSERT_EQ(recorded.status, 0) << recorded.err;
    std::uintmax_t bytes = 0;
    int files = 0;
    for (const auto& entry : std::filesystem::directory_iterator(folder.path())) {
        struct stat info {};
        ASSERT_EQ(stat(entry.path().c_str(), &info), 0);
        EXPECT_EQ(info.st_mode & 0777, 0600U) << entry.path();
        bytes += entry.file_size();
        ++files;
    }
    EXPECT_EQ(files, 3);
    EXPECT_LT(bytes, 250'000U);
    const Output read = run_tcptrail({"life", "--json", "-r", file});
    EXPECT_EQ(read.status, 0);
    EXPECT_NE(read.err.find("older blocks are not in these files"), std::string::npos) << read.err;
    int connections = 0;
    for (const Json& row : read.rows()) {
        if (row["type"] != "connection" || row["before_trace"] == true || row["close_reason"] == "listener_closed") {
            continue;  // what nobody accepted is its listener's, whom only a snapshot in these files could name
        }
        ++connections;
        const Who& owner = row["lport"] == kPort ? load.server : load.client;
        EXPECT_EQ(row["owner"].value("pid", 0), owner.pid) << row;
        EXPECT_EQ(row["complete"], true) << row;
    }
    EXPECT_GT(connections, 1000) << bytes << " bytes, " << load.ends->count << " made, " << read.err;
    EXPECT_EQ(read.last_row()["truncated"], false);
}

/// With --netns a busy neighbour takes no room in the file: neither what happens there, the first snapshot included, nor what
/// is held there.
TEST(Recorder, HasNothingOfAnotherNamespace) {
    REQUIRE_TRACING();
    const Folder folder;
    const std::string file = folder / "recording";
    const Arena arena;
    Arena other;
    const Stage stage;
    const Cue all_stand, all_done, tracer_is_gone;
    constexpr int kMany = 2000;
    const Who server = other.spawn("tt-server", [&] {
        const Fd listener = open_listener(stage);
        std::vector<Fd> fds;
        for (int i = 0; i < 2 * kMany; ++i) {
            fds.push_back(accept_from(listener.get()));
        }
        all_done.give();
        tracer_is_gone.take(20'000);
    });
    stage.listening.take();
    const Who client = other.spawn("tt-client", [&] {
        std::vector<Fd> fds;
        for (int i = 0; i < kMany; ++i) {
            fds.push_back(dial(Net::v4, kPort));
        }
        all_stand.give();
        for (int i = 0; i < kMany; ++i) {
            sleep_ms(i % 10 == 0 ? 1 : 0);
            const Fd reset = dial(Net::v4, kPort);
            linger_zero(reset.get());
        }
        tracer_is_gone.take(20'000);
    });
    all_stand.take(20'000);
    Tracer tracer;
    tracer.start({"record", "-w", file, "--netns", std::to_string(arena.inode())});
    tracer.await_tracing();
    all_done.take(20'000);
    const Output recorded = tracer.stop();
    tracer_is_gone.give(2);
    other.join(client);
    other.join(server);
    EXPECT_EQ(recorded.status, 0) << recorded.err;
    EXPECT_LT(std::filesystem::file_size(file), 8000U);  // two snapshots of an empty namespace, mostly its settings
}

}  // namespace

}  // namespace tcptrail::live
