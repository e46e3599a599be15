// SPDX-License-Identifier: Apache-2.0
// All scenes under one `trace` and one `life` that stay for the whole run: what a guest of tests/matrix has time for, and
// the longest run of many namespaces that there is. Each scene's rows are found by its namespace. Scenes that begin before
// the trace are not among them; they have tracers of their own in Owner.*.
#include <gtest/gtest.h>
#include <sys/utsname.h>

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <map>
#include <memory>
#include <set>
#include <string_view>

#include "suites.h"

namespace tcptrail::live {

namespace {

/// A run whose rows are read while it goes on.
class Watched {
public:
    explicit Watched(const char* command) {
        tracer_.start({command, "--json"});
        tracer_.await_tracing();
    }

    /// What it has said so far of the namespace, since `begin_ns`: the kernel gives its number again.
    std::vector<Json> rows_of(std::uint32_t netns, std::int64_t begin_ns) {
        read();
        std::vector<Json> rows;
        std::copy_if(rows_[netns].begin(), rows_[netns].end(), std::back_inserter(rows),
                     [&](const Json& row) { return is_since(row, begin_ns); });
        return rows;
    }

    long count_of(std::uint32_t netns, std::int64_t begin_ns) {
        read();
        return std::count_if(rows_[netns].begin(), rows_[netns].end(),
                             [&](const Json& row) { return is_since(row, begin_ns); });
    }

    Output stop() { return tracer_.stop(); }

    void lacks_accepts(long count) { accepts_lacking_ += count; }
    long accepts_lacking() const { return accepts_lacking_; }

private:
    static bool is_since(const Json& row, std::int64_t begin_ns) {
        return parse_time(row.value("time", Json())) >= begin_ns;
    }

    void read() {
        const std::string text = tracer_.out_since(read_);
        std::size_t begin = 0;
        for (std::size_t end = 0; (end = text.find('\n', begin)) != std::string::npos; begin = end + 1) {
            Json row = Json::parse(text.substr(begin, end - begin), nullptr, false);
            const Json inode = row.is_object() ? row.value("netns", Json()) : Json();
            rows_[inode.is_number() ? inode.get<std::uint32_t>() : 0].push_back(std::move(row));
        }
        read_ += begin;
    }

    Tracer tracer_;
    std::size_t read_ = 0;  // bytes
    long accepts_lacking_ = 0;
    std::map<std::uint32_t, std::vector<Json>> rows_;
};

struct Watch {
    Watched trace{"trace"};
    Watched life{"life"};
    long transitions = 0;                        // that the scenes made
    long repeated = 0;                           // scenes in which a tracer must have counted what it missed
    std::vector<std::unique_ptr<Arena>> arenas;  // to the end: an inode number stands for one namespace only
};

std::unique_ptr<Watch>& the_run() {
    static std::unique_ptr<Watch> run;
    return run;
}

using CompareRows = Differences (*)(const Truth&, const std::vector<Json>&, const Bounds&);

/// The rows come up to 100 ms after the events; on a busy machine later. To compare them costs a slow guest more than to wait.
Differences settled(Watched& watched, const Truth& truth, const Bounds& bounds, long rows, CompareRows compare) {
    using Clock = std::chrono::steady_clock;
    const auto until = Clock::now() + std::chrono::seconds(5);
    while (Clock::now() < until && watched.count_of(bounds.netns, bounds.begin_ns) < rows) {
        sleep_ms(20);
    }
    for (;;) {
        Differences differences = compare(truth, watched.rows_of(bounds.netns, bounds.begin_ns), bounds);
        if (differences.empty() || Clock::now() >= until) {
            return differences;
        }
        sleep_ms(20);
    }
}

int kernel_major() {
    utsname kernel{};
    uname(&kernel);
    return std::atoi(kernel.release);
}

/// Where the kernel preempts programs, a call finds the main program and both backups held up, if the machine is slow enough: an
/// emulated one's is now and then. That must be counted, and the scene is shown again.
bool may_miss() {
    return kernel_major() >= 7;
}

bool has_no_fentry() {
    const char* const hooks = std::getenv("TCPTRAIL_HOOKS");
    return hooks != nullptr && std::string_view(hooks) == "tracepoint";
}

/// README.md, the known limit: without a hook on time-wait sockets a RST is awaited for 2 ms, and an emulated processor may be
/// taken away for longer just there. Then this, and the scene is shown again.
bool came_too_late(const Differences& differences) {
    const auto of_reset = [](const std::string& line) {
        return line.find(R"(close_reason is late_data_rst, row says "local_fin")") != std::string::npos;
    };
    return has_no_fentry() && std::any_of(differences.begin(), differences.end(), of_reset);
}

/// Where the kernel preempts programs, and only the system call's exit tells of an accept, it skips that while another task is held
/// up in the same program on this CPU. The row must then claim no accept; and how many there were, the run's end must say.
bool may_lack_accepts() {
    return has_no_fentry() && kernel_major() >= 7;
}

/// Takes out what is said of connections whose accept was not told; returns how many there are.
long forgive_accepts(Differences& differences) {
    std::set<std::string> connections;
    std::erase_if(differences, [&](const std::string& line) {
        const bool claims_none = line.find(R"("evidence":"close")") != std::string::npos ||
                                 line.find(R"("evidence":"inherited")") != std::string::npos;
        const bool forgiven = claims_none && line.find(" by accept, row says ") != std::string::npos;
        if (forgiven) {
            connections.insert(line.substr(0, line.find(": ")));
        }
        return forgiven;
    });
    return static_cast<long>(connections.size());
}

/// Their truth says "before the trace", which is not so here.
bool begins_late(const std::string& name) {
    return name.starts_with("OpenedBefore") || name.starts_with("QueuedBefore") || name == "OwnerGoneBefore";
}

class TogetherScene : public testing::Test {
public:
    explicit TogetherScene(const Scene& scene) : scene_(scene) {}
    void TestBody() override {
        REQUIRE_TRACING();
        if (!the_run()) {
            the_run() = std::make_unique<Watch>();
        }
        Watch& run = *the_run();
        for (int shown = 1; !is_right(run, shown == 3); ++shown) {
        }
    }

private:
    /// False: it is to be shown again.
    bool is_right(Watch& run, bool last) {
        run.arenas.push_back(std::make_unique<Arena>());
        Arena& arena = *run.arenas.back();
        Bounds bounds{arena.inode(), wall_clock_ns(), 0};
        const Truth truth = scene_.run(arena, [] {});
        bounds.end_ns = wall_clock_ns();
        run.transitions += truth.transitions();
        const auto connections = std::count_if(truth.sides.begin(), truth.sides.end(),
                                               [](const Side& side) { return side.role != Role::listener; });
        Differences ends = settled(run.life, truth, bounds, connections, compare_connection_rows);
        // Not all kernels show each passive open's first step, so the count is not known; by now the rows are there.
        Differences steps = settled(run.trace, truth, bounds, 0, compare_transition_rows);
        if (may_lack_accepts()) {
            run.life.lacks_accepts(forgive_accepts(ends));
            run.trace.lacks_accepts(forgive_accepts(steps));
        }
        if (!last && came_too_late(ends)) {
            return false;
        }
        if (!last && may_miss() && !(ends.empty() && steps.empty())) {
            ++run.repeated;
            return false;
        }
        EXPECT_TRUE(ends.empty()) << "life: " << first_of(ends);
        EXPECT_TRUE(steps.empty()) << "trace: " << first_of(steps);
        RecordProperty("seen", static_cast<int>(run.life.rows_of(bounds.netns, bounds.begin_ns).size()));
        RecordProperty("true", static_cast<int>(connections));
        return true;
    }

    const Scene& scene_;
};

class TogetherEnd : public testing::Test {
public:
    void TestBody() override {
        if (!the_run()) {
            GTEST_SKIP() << "no scene ran before";
        }
        Watch& run = *the_run();
        long all_missed = 0;
        for (Watched* watched : {&run.trace, &run.life}) {
            const Output output = watched->stop();
            EXPECT_EQ(output.status, 0) << output.err;
            const Json end = output.last_row();
            EXPECT_EQ(end.value("lost", Json()), 0) << end;
            const long missed = end.value("missed", -1L);
            all_missed += missed;
            EXPECT_TRUE(missed == 0 || (missed > 0 && run.repeated > 0)) << end;
            EXPECT_GE(end.value("lost_other", 0L), watched->accepts_lacking()) << end;
            EXPECT_LE(end.value("incomplete_connections", -1L), missed) << end;
            EXPECT_GE(end.value("incomplete_connections", -1L), 0) << end;
            EXPECT_GE(end.value("transitions", 0L) + missed, run.transitions) << end;  // others may connect here too
            RecordProperty("seen", static_cast<int>(end.value("transitions", 0L)));
            RecordProperty("true", static_cast<int>(run.transitions));
        }
        EXPECT_TRUE(run.repeated == 0 || all_missed > 0) << "nothing explains what was wrong in a scene";
        the_run().reset();
    }
};

}  // namespace

void register_together_tests() {
    for (const auto* table : {&scenes(), &owner_scenes()}) {
        for (const Scene& scene : *table) {
            if (!begins_late(scene.name)) {
                testing::RegisterTest("Together", scene.name.c_str(), nullptr, nullptr, __FILE__, __LINE__,
                                      [&scene]() -> testing::Test* { return new TogetherScene(scene); });
            }
        }
    }
    testing::RegisterTest("Together", "TheRunIsComplete", nullptr, nullptr, __FILE__, __LINE__,
                          []() -> testing::Test* { return new TogetherEnd; });
}

}  // namespace tcptrail::live
