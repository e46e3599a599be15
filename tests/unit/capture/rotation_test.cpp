// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <chrono>
#include <random>
#include <thread>

#include "capture/names.h"
#include "fixture.h"

namespace tcptrail::capture::test {
namespace {

std::vector<std::string> names_in(const Folder& folder) {
    std::vector<std::string> names;
    for (const auto& entry : std::filesystem::directory_iterator(folder.str())) {
        names.push_back(entry.path().filename().string());
    }
    std::sort(names.begin(), names.end());
    return names;
}

std::vector<std::string> paths_in(const Folder& folder) {
    std::vector<std::string> paths = names_in(folder);
    for (std::string& name : paths) name = folder / name;
    return paths;
}

TEST(Names, AreThoseOfTcpdump) {
    EXPECT_EQ(file_name("f", 0, 0), "f");
    EXPECT_EQ(file_name("f", 3, 0), "f3");
    EXPECT_EQ(file_name("f", 0, 10), "f0");
    EXPECT_EQ(file_name("f", 19, 10), "f9");
    EXPECT_EQ(file_name("f", 7, 11), "f07");
    EXPECT_EQ(file_name("f", 99, 100), "f99");
    EXPECT_EQ(file_name("f", 100, 100), "f00");
}

TEST(Names, SizesAreDecimal) {
    EXPECT_EQ(parse_size("100M").value(), 100'000'000u);
    EXPECT_EQ(parse_size("1G").value(), 1'000'000'000u);
    EXPECT_EQ(parse_size("500k").value(), 500'000u);
    EXPECT_EQ(parse_size("2.5MB").value(), 2'500'000u);
    EXPECT_EQ(parse_size("7").value(), 7'000'000u);
    for (const char* wrong :
         {"", "M", "-1M", "1X", "1 M", "9k", "nan", "inf", "1e9", "99999999999T", "0x10M", "100Mi"}) {
        const auto size = parse_size(wrong);
        ASSERT_FALSE(size) << wrong;
        EXPECT_EQ(size.error().exit, Exit::usage) << wrong;
    }
}

TEST(Rotation, AllFilesInAnyOrderAreOneStream) {
    const Folder folder;
    const Records written = record(rotating(folder, 50'000, 0), 50'000);
    std::vector<std::string> paths = paths_in(folder);
    ASSERT_GE(paths.size(), 5u);
    for (const std::string& path : paths) EXPECT_LT(std::filesystem::file_size(path), 70'000u) << path;
    std::mt19937 random(5);
    for (int round = 0; round < 5; ++round) {
        std::shuffle(paths.begin(), paths.end(), random);
        const Read back = read(paths);
        EXPECT_EQ(back.error, "");
        EXPECT_EQ(back.records, written);
        EXPECT_TRUE(back.completeness.whole()) << *back.completeness.line();
    }
    paths.push_back(paths.front());  // given twice
    EXPECT_EQ(read(paths).records, written);
}

TEST(Rotation, AFileMissingOrTheRestNotGivenIsSaid) {
    const Folder folder;
    record(rotating(folder, 50'000, 0), 30'000);
    const Read first = read({folder / "f"});
    EXPECT_TRUE(first.completeness.truncated);
    EXPECT_TRUE(first.completeness.continued);
    const Read hole = read({folder / "f", folder / "f2"});
    EXPECT_GT(hole.completeness.missing_blocks, 0u);
    EXPECT_EQ(hole.completeness.blocks_before, 0u);
    EXPECT_GT(read({folder / "f2"}).completeness.blocks_before, 0u);
}

TEST(Rotation, WithWTheFirstIsOverwrittenAndTheSetIsFoundByItsName) {
    const Folder folder;
    const Records written = record(rotating(folder, 50'000, 3), 50'000);
    EXPECT_EQ(names_in(folder), (std::vector<std::string>{"f0", "f1", "f2"}));
    const Read back = read({folder / "f"});
    EXPECT_EQ(back.error, "");
    EXPECT_FALSE(back.completeness.truncated);
    EXPECT_EQ(back.completeness.missing_blocks, 0u);
    EXPECT_GT(back.completeness.blocks_before, 0u);
    ASSERT_LT(back.records.size(), written.size());
    EXPECT_TRUE(std::equal(back.records.rbegin(), back.records.rend(), written.rbegin()));
}

TEST(Rotation, EachFileBeginsWithItsPreambleWhichIsReadOnlyWhereSomethingIsMissing) {
    const Folder folder;
    WriterOptions options = rotating(folder, 50'000, 0);
    const std::string preamble = start_record(1, "version=test\n");
    options.on_new_file = [&](Writer& writer) { EXPECT_TRUE(append(writer, preamble)); };
    const Records written = record(options, 30'000);
    const Read whole = read(paths_in(folder));
    EXPECT_EQ(whole.records, written);
    EXPECT_EQ(whole.completeness.repeated_records, names_in(folder).size() - 1);
    EXPECT_EQ(read({folder / "f1"}).records.front(), preamble);
    const Read hole = read({folder / "f", folder / "f2", folder / "f3"});
    EXPECT_EQ(std::count(hole.records.begin(), hole.records.end(), preamble), 1);
}

TEST(Rotation, AFileIsFilledThoughNothingOfItHasBeenWrittenYet) {
    const Folder folder;
    constexpr std::uint64_t limit = 100'000;
    WriterOptions options{.path = folder / "f", .file_bytes = limit};
    options.flush_after = std::chrono::milliseconds(600);  // several files' worth: they begin before one is written
    auto writer = Writer::open(options);
    ASSERT_TRUE(writer);
    Traffic traffic(Traffic::World{.in_flight = 1});
    const auto put = [&](const tt_head& head) { EXPECT_TRUE((*writer)->append(head)); };
    traffic.transitions(1, put);  // so little shrinks badly: it says nothing of what comes
    while ((*writer)->stats().blocks == 0) {
        EXPECT_TRUE((*writer)->check());
        std::this_thread::sleep_for(std::chrono::milliseconds(5));
    }
    for (int blocks = 0; blocks < 60; ++blocks) {
        traffic.transitions(5'000, put);
        std::this_thread::sleep_for(std::chrono::milliseconds(10));  // to be compressed
    }
    EXPECT_TRUE((*writer)->close());
    const std::size_t files = names_in(folder).size();
    EXPECT_GT(files, 2u);
    for (std::size_t i = 0; i + 1 < files; ++i) {
        EXPECT_GT(std::filesystem::file_size(folder / file_name("f", i, 0)), limit * 8 / 10) << i;
    }
}

TEST(Ring, BoundsTheDiskForEverAndGoesOnBehindAnEarlierRun) {
    const Folder folder;
    WriterOptions options = rotating(folder, 50'000, 4);
    options.ring = true;
    record(options, 10'000);
    const std::size_t earlier = names_in(folder).size();
    ASSERT_LT(earlier, 4u);
    const std::string before = slurp(folder / "f0");
    const Records second = record(options, 1'000);
    EXPECT_EQ(slurp(folder / "f0"), before);
    EXPECT_EQ(names_in(folder).size(), earlier + 1);
    EXPECT_EQ(read({folder / "f"}).completeness.runs, 2u);
    const Records third = record(options, 100'000);
    EXPECT_EQ(names_in(folder).size(), 4u);
    std::uintmax_t bytes = 0;
    for (const std::string& path : paths_in(folder)) bytes += std::filesystem::file_size(path);
    EXPECT_LT(bytes, 4u * 70'000u);
    const Read back = read({folder / "f"});
    EXPECT_EQ(back.completeness.runs, 1u);
    EXPECT_TRUE(std::equal(back.records.rbegin(), back.records.rend(), third.rbegin()));
}

TEST(Runs, TwoRecordingsAreReadInTheOrderOfTheirBeginning) {
    const Folder folder;
    Records written = record({.path = folder / "b"}, 100);
    for (const std::string& bytes : record({.path = folder / "a"}, 200)) written.push_back(bytes);
    const Read back = read({folder / "a", folder / "b"});
    EXPECT_EQ(back.records, written);
    EXPECT_EQ(back.completeness.runs, 2u);
    EXPECT_TRUE(back.completeness.whole());
}

TEST(Usage, WrongOptions) {
    const Folder folder;
    EXPECT_EQ(Writer::open({.path = folder / "f", .files = 3}).error().exit, Exit::usage);
    const auto missing = Writer::open({.path = folder / "none/f"});
    ASSERT_FALSE(missing);
    EXPECT_EQ(missing.error().message, "cannot create " + (folder / "none/f") + ": No such file or directory");
}

}  // namespace
}  // namespace tcptrail::capture::test
