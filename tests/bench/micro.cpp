// What a transition costs in user space, stage by stage: Google Benchmark over a synthetic stream (synthetic.h).
// The promise is 5 million transitions a second on one core through decode, tracker and report: 200 ns for all of it.
#include <benchmark/benchmark.h>
#include <stdlib.h>
#include <unistd.h>

#include <filesystem>
#include <string>

#include "synthetic.h"
#ifdef BENCH_CORE
#include "capture/reader.h"
#include "capture/writer.h"
#include "report/life.h"
#include "track/table.h"
#endif

namespace {

const bench::Stream& stream() {
    static const bench::Stream s = bench::churn(100'000, 1'000);
    return s;
}

void per_transition(benchmark::State& state, const bench::Stream& s) {
    state.counters["transitions/s"] = benchmark::Counter(
        static_cast<double>(s.transitions) * static_cast<double>(state.iterations()), benchmark::Counter::kIsRate);
    state.counters["per_transition"] =
        benchmark::Counter(static_cast<double>(s.transitions) * static_cast<double>(state.iterations()),
                           benchmark::Counter::kIsRate | benchmark::Counter::kInvert);
}

// The floor: to walk over the records and read their heads.
void BM_walk(benchmark::State& state) {
    for (auto _ : state) {
        std::uint64_t sum = 0;
        stream().each([&](const tt_head& head) { sum += head.time; });
        benchmark::DoNotOptimize(sum);
    }
    per_transition(state, stream());
}
BENCHMARK(BM_walk)->Unit(benchmark::kMillisecond);

#ifdef BENCH_CORE
using namespace tcptrail;

struct Deaf final : TrackObserver {};

struct ToLife final : TrackObserver {
    void on_ended(const ConnectionRow& row) override { report.add(row, *table); }
    const ConnectionTable* table = nullptr;
    report::LifeReport report;
};

// Records to transitions and ended connections, which nobody hears.
void BM_tracker(benchmark::State& state) {
    for (auto _ : state) {
        Deaf deaf;
        ConnectionTable table(deaf);
        stream().each([&](const tt_head& head) { table.apply(head); });
        if (table.trace_end().incomplete_connections != 0) state.SkipWithError("incomplete connections");
    }
    per_transition(state, stream());
}
BENCHMARK(BM_tracker)->Unit(benchmark::kMillisecond);

void BM_tracker_and_life(benchmark::State& state) {
    for (auto _ : state) {
        ToLife life;
        ConnectionTable table(life);
        life.table = &table;
        stream().each([&](const tt_head& head) { table.apply(head); });
        benchmark::DoNotOptimize(life.report.summary(table.start(), table.now()));
    }
    per_transition(state, stream());
}
BENCHMARK(BM_tracker_and_life)->Unit(benchmark::kMillisecond);

// A recording of the stream in a folder of its own.
class Recording {
public:
    Recording() {
        char name[] = "/tmp/tcptrail-bench-XXXXXX";
        folder_ = mkdtemp(name);
        write();
    }
    ~Recording() { std::filesystem::remove_all(folder_); }
    Recording(const Recording&) = delete;
    Recording& operator=(const Recording&) = delete;

    std::string path() const { return folder_ + "/stream"; }
    // Time on the caller's side only: a thread of the writer's own encodes, compresses and writes.
    void write() {
        std::filesystem::remove(path());
        writer_ = std::move(*capture::Writer::open({.path = path(), .queue_bytes = std::size_t{1} << 30}));
        stream().each([&](const tt_head& head) { (void)writer_->append(head); });
    }
    void finish() { (void)writer_->close(); }

private:
    std::string folder_;
    std::unique_ptr<capture::Writer> writer_;
};

void BM_record(benchmark::State& state) {
    Recording recording;
    recording.finish();
    for (auto _ : state) {
        recording.write();
        recording.finish();
    }
    per_transition(state, stream());
}
BENCHMARK(BM_record)->Unit(benchmark::kMillisecond)->MeasureProcessCPUTime();

void replay(const std::string& path, const RecordHandler& handler) {
    auto reader = capture::Reader::open({path});
    while (*(*reader)->poll(std::chrono::milliseconds(0), handler) == Poll::more) {
    }
}

void BM_decode(benchmark::State& state) {
    Recording recording;
    recording.finish();
    for (auto _ : state) {
        std::uint64_t records = 0;
        replay(recording.path(), [&](const tt_head&) { ++records; });
        benchmark::DoNotOptimize(records);
    }
    per_transition(state, stream());
}
BENCHMARK(BM_decode)->Unit(benchmark::kMillisecond);

// The promise: a recording through decode, tracker and report.
void BM_replay(benchmark::State& state) {
    Recording recording;
    recording.finish();
    for (auto _ : state) {
        ToLife life;
        ConnectionTable table(life);
        life.table = &table;
        replay(recording.path(), [&](const tt_head& head) { table.apply(head); });
        if (table.trace_end().transitions != stream().transitions) state.SkipWithError("not all transitions");
        benchmark::DoNotOptimize(life.report.summary(table.start(), table.now()));
    }
    per_transition(state, stream());
}
BENCHMARK(BM_replay)->Unit(benchmark::kMillisecond);
#endif

}  // namespace

BENCHMARK_MAIN();
