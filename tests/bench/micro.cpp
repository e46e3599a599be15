// What a transition costs in user space, stage by stage: Google Benchmark over a synthetic stream (synthetic.h).
// The promise is 5 million transitions a second on one core through decode, tracker and report: 200 ns for all of it.
#include <benchmark/benchmark.h>

#include "synthetic.h"

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

}  // namespace

BENCHMARK_MAIN();
