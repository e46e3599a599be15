// SPDX-License-Identifier: Apache-2.0
// The small language of these tests: a folder that goes away, recordings as strings of bytes, records as strings.
#pragma once

#include <gtest/gtest.h>

#include <cstring>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>
#include <vector>

#include "capture/reader.h"
#include "capture/writer.h"
#include "traffic.h"

namespace tcptrail::capture::test {

using tcptrail::test::Traffic;
using Records = std::vector<std::string>;  // each the bytes of one record

class Folder {
public:
    Folder() {
        std::string name = (std::filesystem::temp_directory_path() / "tcptrail-capture-XXXXXX").string();
        path_ = ::mkdtemp(name.data());
    }
    ~Folder() {
        std::error_code ignored;
        std::filesystem::remove_all(path_, ignored);
    }
    std::string operator/(const std::string& name) const { return (path_ / name).string(); }
    std::string str() const { return path_.string(); }

private:
    std::filesystem::path path_;
};

/// Small blocks, so that small files rotate often.
inline WriterOptions rotating(const Folder& folder, std::uint64_t file_bytes, unsigned files) {
    WriterOptions options{.path = folder / "f", .file_bytes = file_bytes, .files = files};
    options.block_bytes = 64 << 10;
    return options;
}

inline std::string bytes_of(const tt_head& record) {
    return {reinterpret_cast<const char*>(&record), record.size};
}

inline std::string slurp(const std::string& path) {
    std::ifstream in(path, std::ios::binary);
    return {std::istreambuf_iterator<char>(in), {}};
}

inline void spill(const std::string& path, const std::string& bytes) {
    std::ofstream(path, std::ios::binary | std::ios::trunc) << bytes;
}

/// One record with text behind it, so that kinds of many sizes occur.
inline std::string start_record(std::uint64_t time, const std::string& text) {
    tt_start start{};
    const std::size_t size = (sizeof start + text.size() + 7) / 8 * 8;
    start.head.size = static_cast<tt_u16>(size);
    start.head.type = TT_START;
    start.head.time = time;
    start.realtime_offset_ns = 1'700'000'000'000'000'000;
    std::string bytes(reinterpret_cast<const char*>(&start), sizeof start);
    bytes += text;
    bytes.resize(size);
    return bytes;
}

inline Result<void> append(Writer& writer, const std::string& record) {
    std::vector<std::uint64_t> aligned((record.size() + 7) / 8);
    std::memcpy(aligned.data(), record.data(), record.size());
    return writer.append(*reinterpret_cast<const tt_head*>(aligned.data()));
}

struct Read {
    Records records;
    std::size_t gaps = 0;  // TT_GAP, the reader's own
    Completeness completeness;
    std::string error;  // of open() or poll()
};

inline Read read(const std::vector<std::string>& paths) {
    Read result;
    auto reader = Reader::open(paths);
    if (!reader) {
        result.error = reader.error().message;
        return result;
    }
    for (;;) {
        const auto poll = (*reader)->poll(std::chrono::milliseconds(0), [&](const tt_head& record) {
            EXPECT_EQ(reinterpret_cast<std::uintptr_t>(&record) % 8, 0u);
            if (record.type == TT_GAP) {
                ++result.gaps;
                return;
            }
            result.records.push_back(bytes_of(record));
        });
        if (!poll) result.error = poll.error().message;
        if (!poll || *poll == Poll::end) break;
    }
    result.completeness = (*reader)->completeness();
    return result;
}

/// Records so many transitions of Traffic, with an end, and returns what was recorded.
inline Records record(const WriterOptions& options, std::uint64_t transitions, bool end = true) {
    auto writer = Writer::open(options);
    EXPECT_TRUE(writer) << writer.error().message;
    Records records;
    const auto put = [&](const tt_head& record) {
        records.push_back(bytes_of(record));
        const auto done = (*writer)->append(record);
        EXPECT_TRUE(done) << done.error().message;
    };
    Traffic traffic({});
    traffic.transitions(transitions, put);
    if (end) put(Traffic::end(traffic.now()));
    const auto closed = (*writer)->close();
    EXPECT_TRUE(closed) << closed.error().message;
    return records;
}

}  // namespace tcptrail::capture::test
