// SPDX-License-Identifier: Apache-2.0
// `X -w F`, then `X -r F`: the same answer, byte for byte, for every command in the table of views. A command that is
// added there is tested here without another word.
#include <gtest/gtest.h>
#include <signal.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>

#include "recorded.h"
#include "suites.h"
#include "view/kind.h"

namespace tcptrail::live {

namespace {

using Words = std::vector<std::string>;

/// Closes, breaks, a time-wait socket, and sockets older than the trace.
void play(Arena& arena, const TraceBegins& begin) {
    older_scenes().front().run(arena, begin);
    client_closes_first(
        arena, [] {}, 20);
    linger_reset(
        arena, [] {}, 5);
    silent_peer(
        arena, [] {}, 3);
    server_closes_first(
        arena, [] {}, 10, Net::v6);
}

Words without_write(Words words) {
    const auto at = std::find(words.begin(), words.end(), "-w");
    words.erase(at, at + 2);
    const auto duration = std::find(words.begin(), words.end(), "-d");
    if (duration != words.end()) {
        words.erase(duration, duration + 2);
    }
    return words;
}

/// Expects that `live`, run with these words, is what the recording tells.
void expect_same(const Output& live, const Words& words, const std::string& file) {
    Words again = without_write(words);
    again.insert(again.end(), {"-r", file});
    const Output replayed = run_tcptrail(again);
    EXPECT_EQ(replayed.status, live.status) << replayed.err;
    EXPECT_EQ(replayed.err, "");
    EXPECT_FALSE(live.out.empty());
    const auto split = std::mismatch(live.out.begin(), live.out.end(), replayed.out.begin(), replayed.out.end());
    const auto line = static_cast<std::size_t>(std::count(live.out.begin(), split.first, '\n'));
    EXPECT_TRUE(live.out == replayed.out) << "from line " << line + 1 << " on\nlive:     " << line_of(live.out, line)
                                          << "\nreplayed: " << line_of(replayed.out, line);
}

class Replay : public testing::Test {
public:
    explicit Replay(const ViewKind& kind) : kind_(kind) {}
    void TestBody() override {
        REQUIRE_TRACING();
        check({"--json"});
        check({});
        if (kind_.repeats) {
            check({"--json", "-i", "300ms"});
        }
    }

private:
    void check(const Words& options) const {
        SCOPED_TRACE(std::string(kind_.name) + (options.empty() ? "" : " " + options.back()));
        const Folder folder;
        const std::string file = folder / "recording";
        Arena arena;
        Words words = {kind_.name, "-w", file, "--netns", std::to_string(arena.inode())};
        words.insert(words.end(), options.begin(), options.end());
        if (kind_.duration) {
            words.insert(words.end(), {"-d", "3s"});
        }
        Tracer tracer;
        play(arena, [&] {
            tracer.start(words);
            tracer.await_tracing();
        });
        const Output live = tracer.stop();
        EXPECT_EQ(live.err, "tcptrail: tracing\n");
        if (kind_.view == View::record) {  // it shows nothing itself, and reads nothing
            const Output trace = run_tcptrail({"trace", "-r", file});
            EXPECT_EQ(trace.status, 0) << trace.err;
            EXPECT_GT(std::count(trace.out.begin(), trace.out.end(), '\n'), 300);
            return;
        }
        expect_same(live, words, file);
    }

    const ViewKind& kind_;
};

class ReplayScene : public testing::Test {
public:
    ReplayScene(const Scene& scene, const char* command) : scene_(scene), command_(command) {}
    void TestBody() override {
        REQUIRE_TRACING();
        const Folder folder;
        const std::string file = folder / "recording";
        Arena arena;
        const Words words = {command_, "-w", file, "--json", "--netns", std::to_string(arena.inode())};
        Tracer tracer;
        scene_.run(arena, [&] {
            tracer.start(words);
            tracer.await_tracing();
        });
        expect_same(tracer.stop(), words, file);
    }

private:
    const Scene& scene_;
    const char* command_;
};

/// Rows of [from, to] are those of the whole that lie there, and the state before is known.
TEST(Recorded, FromAndToSelectRows) {
    REQUIRE_TRACING();
    const Folder folder;
    const std::string file = folder / "recording";
    Arena arena;
    Tracer tracer;
    tracer.start({"record", "-w", file, "--netns", std::to_string(arena.inode())});
    tracer.await_tracing();
    client_closes_first(
        arena, [] {}, 20);
    sleep_ms(50);
    client_closes_first(
        arena, [] {}, 30);
    ASSERT_EQ(tracer.stop().status, 0);
    for (const char* command : {"trace", "life"}) {
        const Output whole = run_tcptrail({command, "--json", "-r", file});
        const auto rows = lines_of(whole.out);
        ASSERT_GT(rows.size(), 90U);
        const auto time_of = [](const std::string& row) { return Json::parse(row)["time"].get<std::string>(); };
        const std::string from = time_of(rows[rows.size() / 3]);
        const std::string to = time_of(rows[2 * rows.size() / 3]);
        std::vector<std::string> expected;
        for (const std::string& row : rows) {
            const Json json = Json::parse(row);
            const bool selectable = json["type"] == "transition" || json["type"] == "connection";
            if (selectable && json["time"] >= from && json["time"] <= to) {
                expected.push_back(row);
            }
        }
        ASSERT_GT(expected.size(), 10U);
        const Output part = run_tcptrail({command, "--json", "-r", file, "--from", from, "--to", to});
        EXPECT_EQ(part.status, 0) << part.err;
        auto shown = lines_of(part.out);
        EXPECT_EQ(shown.back(), rows.back()) << "trace_end speaks of all";
        shown.pop_back();
        if (std::string(command) == "life") {
            const Json summary = Json::parse(shown.back());
            EXPECT_EQ(summary["ended"], expected.size());
            EXPECT_EQ(summary["time"], to);
            shown.pop_back();
        }
        EXPECT_EQ(shown, expected);
        const Output early = run_tcptrail({command, "-r", file, "--to", "2001-01-01T00:00:00Z"});
        EXPECT_EQ(early.status, 1) << early.err;
        const Output late = run_tcptrail({command, "-r", file, "--from", "+1h"});
        EXPECT_EQ(late.status, 1) << late.err;
        EXPECT_EQ(late.err_lines().size(), 1U) << late.err;
    }
}

}  // namespace

void register_replay_tests() {
    for (const ViewKind& kind : view_kinds()) {
        testing::RegisterTest("Replay", kind.name, nullptr, nullptr, __FILE__, __LINE__,
                              [&kind]() -> testing::Test* { return new Replay(kind); });
    }
    for (const std::vector<Scene>* table : {&scenes(), &owner_scenes()}) {
        for (const Scene& scene : *table) {
            for (const char* command : {"trace", "life"}) {
                testing::RegisterTest(
                    "ReplayScene", (scene.name + "_" + command).c_str(), nullptr, nullptr, __FILE__, __LINE__,
                    [&scene, command]() -> testing::Test* { return new ReplayScene(scene, command); });
            }
        }
    }
}

}  // namespace tcptrail::live
