// SPDX-License-Identifier: Apache-2.0
// Runs in a stream, and what the later files of a rotated recording repeat.
#include <gtest/gtest.h>

#include <cstddef>
#include <filesystem>
#include <random>
#include <set>
#include <thread>

#include "fixture.h"
#include "pipeline.h"
#include "recorder.h"
#include "render/json.h"

namespace tcptrail {
namespace {

using capture::test::Folder;
using test::Traffic;

std::vector<std::uint64_t> start_at(std::uint64_t time, const std::string& text) {
    std::vector<std::uint64_t> words((sizeof(tt_start) + text.size() + 7) / 8);
    tt_start start{};
    start.head.type = TT_START;
    start.head.size = static_cast<tt_u16>(words.size() * 8);
    start.head.time = time;
    std::memcpy(words.data(), &start, sizeof start);
    std::memcpy(reinterpret_cast<char*>(words.data()) + sizeof start, text.data(), text.size());
    return words;
}

const tt_head& head(const std::vector<std::uint64_t>& words) {
    return *reinterpret_cast<const tt_head*>(words.data());
}

/// What a view hears.
struct Heard {
    int runs = 0;
    int transitions = 0;
    std::vector<std::pair<MonoNs, MonoNs>> windows;
    std::vector<TraceEnd> ends;
    int unknown = 0;
};

class Ear final : public view::View {
public:
    Ear(Heard& heard, const view::Scope& scope) : heard_(heard), scope_(scope) { ++heard_.runs; }
    void on_transition(const TransitionRow& row) override {
        ++heard_.transitions;
        heard_.unknown += row.actor != 0 && scope_.table.find(row.actor) == nullptr ? 1 : 0;
    }
    void cut(MonoNs from, MonoNs to) override { heard_.windows.emplace_back(from, to); }
    bool end(const TraceEnd& end) override {
        heard_.ends.push_back(end);
        return true;
    }

private:
    Heard& heard_;
    view::Scope scope_;
};

class Records final : public RecordSource {
public:
    std::vector<std::vector<std::uint64_t>> records;
    Result<Poll> poll(std::chrono::milliseconds, const RecordHandler& handler) override {
        for (const auto& record : records) {
            handler(head(record));
        }
        return Poll::end;
    }
    void add(const tt_head& record) {
        auto& words = records.emplace_back(record.size / 8);
        std::memcpy(words.data(), &record, record.size);
    }
};

Result<Exit> hear(RecordSource& source, Heard& heard, std::optional<Moment> from = {}, std::optional<Moment> to = {}) {
    render::Json json;
    render::Output output(-1);
    const PipelineOptions options{
        [&](const view::Scope& scope) { return std::make_unique<Ear>(heard, scope); }, {{}, {}, from, to}, {}};
    return run_pipeline(source, options, json, output, [] { return std::optional(std::chrono::milliseconds(0)); });
}

TEST(Run, TwoRecordingsInOneStreamAreTwoRuns) {
    Records source;
    for (const char* boot : {"boot_id=a\n", "boot_id=b\n"}) {
        Traffic traffic({});
        source.add(head(start_at(traffic.now() - 1000, boot)));
        traffic.transitions(100, [&](const tt_head& record) { source.add(record); });
        source.add(Traffic::end(traffic.now()));
    }
    Heard heard;
    ASSERT_TRUE(hear(source, heard));
    EXPECT_EQ(heard.runs, 2);
    ASSERT_EQ(heard.ends.size(), 2u);
    EXPECT_EQ(heard.ends[0].transitions, heard.ends[1].transitions);
    EXPECT_FALSE(heard.ends[0].truncated);
    EXPECT_EQ(heard.windows[0], heard.windows[1]);
}

TEST(Run, ASpanIsCutOutAndWhatWasBeforeIsNotTold) {
    Records source;
    Traffic traffic({});
    const std::uint64_t start = traffic.now() - 1000;
    source.add(head(start_at(start, "boot_id=a\n")));
    traffic.transitions(10'000, [&](const tt_head& record) { source.add(record); });
    source.add(Traffic::end(traffic.now()));
    const std::uint64_t from = (traffic.now() - start) / 3;
    Heard heard;
    ASSERT_TRUE(
        hear(source, heard, Moment{Moment::Kind::after_start, from}, Moment{Moment::Kind::after_start, 2 * from}));
    EXPECT_EQ(heard.windows,
              (std::vector<std::pair<MonoNs, MonoNs>>{{start, start + from}, {start + from, start + 2 * from}}));
    EXPECT_EQ(heard.ends.at(0).transitions, traffic.made()) << "the end speaks of all";
    const auto beyond = hear(source, heard, Moment{Moment::Kind::after_start, 10 * from});
    ASSERT_FALSE(beyond);
    EXPECT_EQ(beyond.error().exit, Exit::failed);
    const auto backwards =
        hear(source, heard, Moment{Moment::Kind::after_start, 2}, Moment{Moment::Kind::after_start, 1});
    ASSERT_FALSE(backwards);
    EXPECT_EQ(backwards.error().exit, Exit::usage);
}

TEST(Preamble, EachLaterFileAloneNamesItsProcessesAndCountsItsOwnLosses) {
    const Folder folder;
    auto recorder = Recorder::open({folder / "f", 60'000, 0, false});
    ASSERT_TRUE(recorder);
    const auto start = start_at(4'999'999'999'000, "boot_id=a\n");
    (*recorder)->take(head(start));
    Traffic traffic({});
    Heard whole;
    Records all;
    const auto keep = [&](const tt_head& record) {
        (*recorder)->take(record);
        all.add(record);
    };
    std::set<std::uint64_t> named;
    const auto take = [&](const tt_head& record) {  // as the program does: who an actor is goes before its first use
        const bool acts = record.type == TT_STEP || record.type == TT_OPEN || record.type == TT_CLOSE;
        const std::uint64_t actor = acts ? reinterpret_cast<const tt_step&>(record).actor : 0;
        if (actor != 0 && named.insert(actor).second) {
            tt_process process{};
            process.head = {sizeof process, TT_PROCESS, 0, 0, 0, 0, record.time};
            process.id = actor;
            process.tgid = static_cast<std::uint32_t>(actor & 0xffff);
            std::strcpy(process.comm, "named");
            keep(process.head);
        }
        keep(record);
    };
    all.add(head(start));
    tt_counters counters{};
    counters.head = {sizeof counters, TT_COUNTERS, 0, 0, 0, 0, traffic.now()};
    counters.lost = 7;
    take(counters.head);
    bool wished = false;
    for (int round = 0; round < 40; ++round) {
        traffic.transitions(2'000, take);
        std::this_thread::sleep_for(std::chrono::milliseconds(2));
        wished |= (*recorder)->take_snapshot_wish();
    }
    EXPECT_TRUE(wished);
    take(Traffic::end(traffic.now()));
    ASSERT_TRUE((*recorder)->close());
    ASSERT_TRUE(hear(all, whole));
    std::vector<std::string> paths;
    for (const auto& entry : std::filesystem::directory_iterator(folder.str())) {
        paths.push_back(entry.path().string());
    }
    ASSERT_GT(paths.size(), 4u);
    int told = 0;
    for (const std::string& path : paths) {
        auto reader = capture::Reader::open({path});
        ASSERT_TRUE(reader);
        Heard heard;
        ASSERT_TRUE(hear(**reader, heard));
        told += heard.transitions;
        EXPECT_EQ(heard.runs, 1);
        EXPECT_EQ(heard.unknown, 0) << path;
        EXPECT_EQ(heard.ends.at(0).lost, path == folder / "f" ? 7u : 0u) << path;
        EXPECT_LT(heard.ends.at(0).window_ns, traffic.now() - head(start).time) << path;
    }
    EXPECT_GE(told, whole.transitions * 9 / 10);
    auto reader = capture::Reader::open(paths);
    ASSERT_TRUE(reader);
    Heard again;
    ASSERT_TRUE(hear(**reader, again));
    EXPECT_EQ(again.transitions, whole.transitions);
    EXPECT_EQ(again.windows, whole.windows);
    EXPECT_EQ(again.ends.at(0).lost, 7u);
}

TEST(Recorder, ARingThatIsTooSmallForASnapshotHoldsEventsAllTheSame) {
    const Folder folder;
    auto recorder = Recorder::open({folder / "f", 60'000, 3, true});
    ASSERT_TRUE(recorder);
    Traffic traffic({});
    std::uint64_t snapshots = 0;
    std::uint64_t time = traffic.now();
    const auto snapshot = [&] {  // of 5,000 sockets, no two alike: it does not fit into a file
        ++snapshots;
        std::mt19937_64 random(snapshots);
        for (int i = 0; i < 5'000; ++i) {
            tt_socket row{};
            row.head = {sizeof row, TT_SOCKET, 0, 0, 0, 0, time};
            row.cookie = random();
            row.inode = random();
            (*recorder)->take(row.head);
        }
    };
    const auto seconds = [&](int count, std::uint64_t transitions) {
        for (int second = 0; second < count; ++second) {
            traffic.transitions(transitions, [&](const tt_head& record) {
                (*recorder)->take(record);
                time = record.time;
            });
            time += 1'000'000'001;
            (*recorder)->take(tt_head{.size = sizeof(tt_head), .type = TT_TICK, .time = time});
            if ((*recorder)->take_snapshot_wish()) {
                snapshot();
            }
        }
    };
    snapshot();
    seconds(1, 20'000);
    seconds(100, 0);  // nothing but ticks
    EXPECT_EQ(snapshots, 2u) << "the first, and one after as many events";
    (*recorder)->take(Traffic::end(time));
    ASSERT_TRUE((*recorder)->close());
    std::vector<std::string> paths;
    for (const auto& entry : std::filesystem::directory_iterator(folder.str())) {
        paths.push_back(entry.path().string());
    }
    EXPECT_EQ(paths.size(), 3u);
    int transitions = 0;
    for (const std::string& record : capture::test::read(paths).records) {
        const auto type = static_cast<std::uint8_t>(record.at(offsetof(tt_head, type)));
        transitions += type == TT_STEP || type == TT_OPEN || type == TT_CLOSE ? 1 : 0;
    }
    EXPECT_GT(transitions, 1'000);
}

}  // namespace
}  // namespace tcptrail
