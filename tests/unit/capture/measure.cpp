// SPDX-License-Identifier: Apache-2.0
// Measures the recording: bytes for each transition on disk, speed of writing and reading, memory of the reader.
// capture_measure [transitions [connections in flight [FILE]]]; a FILE that is named is kept. Not a test, its figures depend on the machine.
#include <sys/resource.h>

#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <filesystem>

#include "capture/reader.h"
#include "capture/writer.h"
#include "traffic.h"

using namespace tcptrail;
using Clock = std::chrono::steady_clock;

namespace {

double seconds_since(Clock::time_point start) {
    return std::chrono::duration<double>(Clock::now() - start).count();
}

long resident_kb() {
    rusage usage{};
    getrusage(RUSAGE_SELF, &usage);
    return usage.ru_maxrss;
}

}  // namespace

int main(int argc, char** argv) {
    const std::uint64_t transitions = argc > 1 ? std::strtoull(argv[1], nullptr, 10) : 1'000'000;
    const auto in_flight = static_cast<unsigned>(argc > 2 ? std::strtoul(argv[2], nullptr, 10) : 32);
    const std::string path = argc > 3 ? argv[3] : "/tmp/tcptrail-measure";

    test::Traffic traffic({.in_flight = in_flight});
    auto writer = capture::Writer::open({.path = path, .queue_bytes = std::size_t{4} << 30});
    if (!writer) return std::fprintf(stderr, "%s\n", writer.error().message.c_str()), 1;
    std::uint64_t records = 0;
    std::uint64_t raw = 0;
    Clock::duration appending{};
    std::vector<std::uint64_t> chunk;
    std::vector<std::size_t> starts;
    const auto flush = [&] {
        const auto start = Clock::now();
        for (const std::size_t at : starts) (void)(*writer)->append(*reinterpret_cast<const tt_head*>(&chunk[at]));
        appending += Clock::now() - start;
        chunk.clear();
        starts.clear();
    };
    traffic.transitions(transitions, [&](const tt_head& record) {
        starts.push_back(chunk.size());
        const auto* words = reinterpret_cast<const std::uint64_t*>(&record);
        chunk.insert(chunk.end(), words, words + record.size / 8);
        ++records;
        raw += record.size;
        if (starts.size() == 10'000) flush();
    });
    flush();
    (void)(*writer)->append(test::Traffic::end(traffic.now()));
    if (const auto closed = (*writer)->close(); !closed)
        return std::fprintf(stderr, "%s\n", closed.error().message.c_str()), 1;
    const auto disk = std::filesystem::file_size(path);
    const auto stats = (*writer)->stats();
    writer->reset();
    std::printf(
        "%llu transitions in %llu records of %.1f bytes: %llu bytes on disk, %.2f a transition, %.2f a "
        "record\n",
        static_cast<unsigned long long>(transitions), static_cast<unsigned long long>(records),
        static_cast<double>(raw) / static_cast<double>(records), static_cast<unsigned long long>(disk),
        static_cast<double>(disk) / static_cast<double>(transitions),
        static_cast<double>(disk) / static_cast<double>(records));
    std::printf("append: %.0f ns a record; %llu blocks, worst delay %lld ms, %llu unwritten\n",
                std::chrono::duration<double, std::nano>(appending).count() / static_cast<double>(records),
                static_cast<unsigned long long>(stats.blocks), static_cast<long long>(stats.worst_delay.count()),
                static_cast<unsigned long long>(stats.unwritten));

    for (int round = 0; round < 3; ++round) {
        const auto start = Clock::now();
        auto reader = capture::Reader::open({path});
        if (!reader) return std::fprintf(stderr, "%s\n", reader.error().message.c_str()), 1;
        std::uint64_t sum = 0;
        const RecordHandler handler = [&](const tt_head& record) { sum += record.time; };
        for (;;) {
            const auto poll = (*reader)->poll(std::chrono::milliseconds(0), handler);
            if (!poll || *poll == Poll::end) break;
        }
        const double time = seconds_since(start);
        const auto& whole = (*reader)->completeness();
        std::printf("read: %.3f s, %.1f million records/s, %.0f MB/s of records; most memory %ld MB; %s\n", time,
                    static_cast<double>(whole.records) / time / 1e6, static_cast<double>(raw) / time / 1e6,
                    resident_kb() / 1024, whole.line().value_or("whole").c_str());
    }
    if (argc <= 3) std::filesystem::remove(path);
    return 0;
}
