// SPDX-License-Identifier: Apache-2.0
#include <sys/stat.h>

#include <cstdlib>
#include <random>

#include "fixture.h"

namespace tcptrail::capture::test {
namespace {

TEST(RoundTrip, EveryRecordComesBackAsItWas) {
    const Folder folder;
    const Records written = record({.path = folder / "f"}, 50'000);
    const Read back = read({folder / "f"});
    EXPECT_EQ(back.error, "");
    EXPECT_EQ(back.records, written);
    EXPECT_TRUE(back.completeness.whole()) << *back.completeness.line();
    EXPECT_EQ(back.completeness.runs, 1u);
    EXPECT_GT(back.completeness.blocks, 2u);
}

TEST(RoundTrip, RecordsOfEveryKindAndSizeWithRandomBytes) {
    const Folder folder;
    std::mt19937_64 random(7);
    Records written;
    {
        auto writer = Writer::open({.path = folder / "f"});
        ASSERT_TRUE(writer);
        for (int i = 0; i < 5'000; ++i) {
            const auto type = static_cast<std::uint8_t>(1 + random() % 40);
            std::string bytes = start_record(random(), std::string(random() % 700, 'x'));
            if (bytes.size() < sizeof(tt_socket)) bytes.resize(sizeof(tt_socket));  // the longest that a type asks for
            for (std::size_t at = 3; at < bytes.size(); ++at)
                bytes[at] = static_cast<char>(random() % 3 ? random() : 0);
            const auto size = static_cast<std::uint16_t>(bytes.size());
            std::memcpy(bytes.data(), &size, 2);
            bytes[2] = static_cast<char>(type);
            written.push_back(bytes);
            ASSERT_TRUE(append(**writer, bytes));
        }
        ASSERT_TRUE((*writer)->close());
        EXPECT_EQ((*writer)->stats().unwritten, 0u);
    }
    EXPECT_EQ(read({folder / "f"}).records, written);
}

TEST(RoundTrip, ManyKindsInOneBlockAreStoredVerbatim) {
    const Folder folder;
    Records written;
    auto writer = Writer::open({.path = folder / "f", .block_bytes = MAX_RAW_BYTES});
    ASSERT_TRUE(writer);
    for (std::size_t text = 8; text < 8 * 300; text += 8) {
        written.push_back(start_record(text, std::string(text, 'k')));
        ASSERT_TRUE(append(**writer, written.back()));
    }
    ASSERT_TRUE((*writer)->close());
    EXPECT_EQ(read({folder / "f"}).records, written);
    EXPECT_EQ(slurp(folder / "f")[64 + 10], static_cast<char>(Encoding::verbatim));
}

TEST(RoundTrip, FilesAreForTheirOwnerOnly) {
    const Folder folder;
    spill(folder / "f", "older, and readable by all");
    ::chmod((folder / "f").c_str(), 0644);
    record({.path = folder / "f"}, 10);
    struct stat info {};
    ASSERT_EQ(::stat((folder / "f").c_str(), &info), 0);
    EXPECT_EQ(info.st_mode & 07777, 0600u);
}

TEST(RoundTrip, ABlockIsOnTheDiskWithinASecondOfItsFirstRecordThoughNothingFollows) {
    const Folder folder;
    auto writer = Writer::open({.path = folder / "f"});
    ASSERT_TRUE(writer);
    Traffic traffic({});
    traffic.transitions(10, [&](const tt_head& record) { (void)(*writer)->append(record); });
    std::this_thread::sleep_for(std::chrono::milliseconds(1000));
    const Read back = read({folder / "f"});  // the writer is still open
    EXPECT_GE(back.records.size(), 10u);
    EXPECT_TRUE(back.completeness.truncated);
    EXPECT_LE((*writer)->stats().worst_delay.count(), 1000);
}

TEST(RoundTrip, UnsoundRecordsAreCountedNotWritten) {
    const Folder folder;
    auto writer = Writer::open({.path = folder / "f"});
    ASSERT_TRUE(writer);
    tt_head record = Traffic::end(1);
    record.type = TT_OPEN;  // too short for it
    ASSERT_TRUE((*writer)->append(record));
    ASSERT_TRUE((*writer)->append(Traffic::end(2)));
    ASSERT_TRUE((*writer)->close());
    EXPECT_EQ((*writer)->stats().unwritten, 1u);
    const Read back = read({folder / "f"});
    EXPECT_EQ(back.records.size(), 1u);
    EXPECT_EQ(back.completeness.unwritten_records, 1u);
}

TEST(FormatPage, AReaderWrittenFromItInAnotherLanguageReadsTheSame) {
    if (std::system("python3 -c '' 2>/dev/null && zstd --version >/dev/null 2>&1") != 0) {
        GTEST_SKIP() << "needs python3 and zstd(1)";
    }
    const Folder folder;
    std::string written;
    for (const std::string& bytes : record({.path = folder / "f"}, 20'000)) written += bytes;
    const std::string command =
        "python3 " CAPTURE_TESTS "/second_reader.py " + (folder / "f") + " > " + (folder / "out");
    ASSERT_EQ(std::system(command.c_str()), 0);
    EXPECT_TRUE(slurp(folder / "out") == written);
}

}  // namespace
}  // namespace tcptrail::capture::test
