// SPDX-License-Identifier: Apache-2.0
// The disk is full or slow, the recording comes out of a pipe or is long.
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>

#include "fixture.h"

namespace {

std::atomic<int> sync_takes_ms = 0;

}  // namespace

/// Instead of libc's: a disk that takes its time.
extern "C" int fdatasync(int fd) {
    std::this_thread::sleep_for(std::chrono::milliseconds(sync_takes_ms));
    return static_cast<int>(::syscall(SYS_fdatasync, fd));
}

namespace tcptrail::capture::test {
namespace {

/// A file system of one megabyte.
class TinyDisk {
public:
    TinyDisk() : mounted_(::mount("tcptrail-test", folder_.str().c_str(), "tmpfs", 0, "size=1m") == 0) {}
    ~TinyDisk() {
        if (mounted_) ::umount2(folder_.str().c_str(), MNT_DETACH);
    }
    bool mounted() const { return mounted_; }
    std::string operator/(const std::string& name) const { return folder_ / name; }
    std::string str() const { return folder_.str(); }

private:
    Folder folder_;
    bool mounted_;
};

#define NEEDS_TINY_DISK(disk) \
    if (!(disk).mounted()) GTEST_SKIP() << "needs root, to mount a tmpfs of 1 MB: " << std::strerror(errno)

/// Appends until an error comes or `limit` transitions are in.
Result<void> fill(Writer& writer, Records& records, std::uint64_t limit) {
    Traffic traffic({});
    Result<void> result;
    while (result && traffic.made() < limit) {
        traffic.transitions(1'000, [&](const tt_head& record) {
            if (result) result = writer.append(record);
            if (result) records.push_back(bytes_of(record));
        });
        // At the disk's pace: this is about room, not about speed.
        while (result && writer.stats().records + writer.stats().unwritten + 20'000 < records.size()) {
            std::this_thread::sleep_for(std::chrono::milliseconds(1));
            result = writer.check();
        }
    }
    return result;
}

TEST(FullDisk, EndsTheRunWithAMessageAndKeepsEveryWholeBlock) {
    const TinyDisk disk;
    NEEDS_TINY_DISK(disk);
    auto writer = Writer::open({.path = disk / "f"});
    ASSERT_TRUE(writer);
    Records records;
    const auto result = fill(**writer, records, 1'000'000);
    ASSERT_FALSE(result);
    EXPECT_EQ(result.error().exit, Exit::failed);
    EXPECT_EQ(result.error().message,
              "cannot write " + (disk / "f") +
                  ": No space left on device; what was written before is kept: free some space, "
                  "or record with --ring");
    EXPECT_FALSE((*writer)->close());
    const auto stats = (*writer)->stats();
    EXPECT_GT(stats.unwritten, 0u);
    EXPECT_GT(std::filesystem::file_size(disk / "f"), 900'000u);
    const Read back = read({disk / "f"});
    EXPECT_EQ(back.records.size(), stats.records);
    EXPECT_TRUE(std::equal(back.records.begin(), back.records.end(), records.begin()));
    EXPECT_TRUE(back.completeness.truncated);
    EXPECT_EQ(back.completeness.torn_bytes, 0u);
}

TEST(FullDisk, ARingDropsItsOldestFilesAndGoesOn) {
    const TinyDisk disk;
    NEEDS_TINY_DISK(disk);
    WriterOptions options{.path = disk / "f", .file_bytes = 200'000, .files = 10, .ring = true};
    options.block_bytes = 64 << 10;
    auto writer = Writer::open(options);
    ASSERT_TRUE(writer);
    Records records;
    const auto result = fill(**writer, records, 600'000);
    ASSERT_TRUE(result) << result.error().message;
    ASSERT_TRUE((*writer)->append(Traffic::end(1)));
    ASSERT_TRUE((*writer)->close());
    EXPECT_GT((*writer)->stats().dropped_files, 10u);
    EXPECT_EQ((*writer)->stats().unwritten, 0u);
    std::string warnings;  // on a machine that starves the writer's thread, one says that the recording is behind, too
    while (const auto warning = (*writer)->take_warning()) warnings += *warning + "\n";
    EXPECT_NE(warnings.find("the ring drops its oldest files"), std::string::npos) << warnings;
    const Read back = read({disk / "f"});
    EXPECT_FALSE(back.completeness.truncated);
    EXPECT_EQ(back.completeness.missing_blocks, 0u);
    EXPECT_GT(back.records.size(), 50'000u);
    EXPECT_TRUE(std::equal(back.records.rbegin() + 1, back.records.rend(), records.rbegin()));
}

TEST(FullDisk, ARingWhoseOneFileFillsTheDiskStartsOverWithSmallerFiles) {
    const TinyDisk disk;
    NEEDS_TINY_DISK(disk);
    unsigned begun = 0;
    WriterOptions options{.path = disk / "f", .ring = true};  // 100 MB each
    options.on_new_file = [&](Writer&) { ++begun; };
    auto writer = Writer::open(options);
    ASSERT_TRUE(writer);
    Records records;
    const auto result = fill(**writer, records, 600'000);
    ASSERT_TRUE(result) << result.error().message;
    ASSERT_TRUE((*writer)->append(Traffic::end(1)));
    ASSERT_TRUE((*writer)->close());
    EXPECT_GT(begun, 3u);
    EXPECT_GT((*writer)->stats().unwritten, 0u);  // the block that found no room, and what waited behind it
    const Read back = read({disk / "f"});
    EXPECT_GT(back.completeness.blocks_before, 0u);
    EXPECT_GT(back.records.size(), 30'000u);
    EXPECT_EQ(back.completeness.missing_blocks, 0u);
}

TEST(FullDisk, DevFull) {
    auto writer = Writer::open({.path = "/dev/full"});
    ASSERT_FALSE(writer);
    EXPECT_EQ(writer.error().message.substr(0, 47), "cannot write /dev/full: No space left on device");
    EXPECT_TRUE(std::filesystem::exists("/dev/full"));
}

TEST(FullDisk, AFileSizeLimitIsAnErrorNotASignal) {
    const Folder folder;
    const pid_t child = ::fork();
    if (child == 0) {
        const rlimit limit{100'000, 100'000};
        ::setrlimit(RLIMIT_FSIZE, &limit);
        auto writer = Writer::open({.path = folder / "f"});
        Records records;
        const auto result = fill(**writer, records, 1'000'000);
        (void)(*writer)->close();
        ::_exit(result ? 2 : 7);
    }
    int status = 0;
    ASSERT_EQ(::waitpid(child, &status, 0), child);
    EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 7) << status;
    EXPECT_EQ(read({folder / "f"}).completeness.torn_bytes, 0u);
}

/// The disk, a fifo, takes what it is given again: into a file.
void recover(int disk, const std::string& file) {
    std::ofstream out(file, std::ios::binary);
    char bytes[65536];
    ssize_t got = 0;
    pollfd ready{disk, POLLIN, 0};
    while (::poll(&ready, 1, 1000) > 0 && (got = ::read(disk, bytes, sizeof bytes)) > 0) out.write(bytes, got);
}

TEST(SlowDisk, AppendNeverWaitsAndWhatFoundNoRoomIsCountedAndSaidInTheFile) {
    const Folder folder;
    ASSERT_EQ(::mkfifo((folder / "fifo").c_str(), 0600), 0);
    const int disk = ::open((folder / "fifo").c_str(), O_RDWR);  // a disk that takes nothing until it is read
    // What comes is compressed to five times this.
    auto writer = Writer::open({.path = folder / "fifo", .queue_bytes = 512 << 10});
    ASSERT_TRUE(writer);
    std::uint64_t appended = 0;
    Traffic traffic({});
    const auto start = std::chrono::steady_clock::now();
    traffic.transitions(300'000, [&](const tt_head& record) {
        ++appended;
        ASSERT_TRUE((*writer)->append(record));
    });
    ASSERT_TRUE((*writer)->append(Traffic::end(traffic.now())));
    EXPECT_LT(std::chrono::steady_clock::now() - start, std::chrono::seconds(5));
    EXPECT_GT((*writer)->stats().unwritten, appended / 2);
    EXPECT_TRUE((*writer)->take_warning());

    std::this_thread::sleep_for(std::chrono::milliseconds(1200));
    std::thread drain(recover, disk, folder / "f");
    EXPECT_TRUE((*writer)->close());
    drain.join();
    ::close(disk);
    EXPECT_GT((*writer)->stats().late_blocks, 0u);
    const Read back = read({folder / "f"});
    EXPECT_FALSE(back.completeness.truncated);
    EXPECT_EQ(back.completeness.unwritten_records, (*writer)->stats().unwritten);
    EXPECT_EQ(back.records.size() + back.completeness.unwritten_records, appended + 1);
    EXPECT_GE(back.gaps, 1u);
}

TEST(SlowDisk, WhatComesSlowlyFillsNoMemoryEither) {
    const Folder folder;
    ASSERT_EQ(::mkfifo((folder / "fifo").c_str(), 0600), 0);
    const int disk = ::open((folder / "fifo").c_str(), O_RDWR);  // a disk that takes nothing until it is read
    WriterOptions options{.path = folder / "fifo", .block_bytes = 64 << 10, .queue_bytes = 128 << 10};
    options.flush_after = std::chrono::milliseconds(2);  // each piece would be a block of its own
    auto writer = Writer::open(options);
    ASSERT_TRUE(writer);
    Traffic traffic({});
    std::uint64_t appended = 0;
    for (int i = 0; i < 150; ++i) {  // 40 kB each, compressed 4 or more
        traffic.transitions(1'000, [&](const tt_head& record) {
            ++appended;
            ASSERT_TRUE((*writer)->append(record));
        });
        std::this_thread::sleep_for(std::chrono::milliseconds(5));
    }
    ASSERT_TRUE((*writer)->append(Traffic::end(traffic.now())));
    EXPECT_GT((*writer)->stats().unwritten, 0u);
    std::thread drain(recover, disk, folder / "f");
    EXPECT_TRUE((*writer)->close());
    drain.join();
    ::close(disk);
    EXPECT_EQ((*writer)->stats().records + (*writer)->stats().unwritten, appended + 1);
}

TEST(SlowDisk, BlocksAreWrittenWhileItIsAskedForSafety) {
    const Folder folder;
    sync_takes_ms = 2500;
    auto writer = Writer::open({.path = folder / "f", .queue_bytes = 3 << 20});
    ASSERT_TRUE(writer);
    Traffic traffic({});
    for (int i = 0; i < 90; ++i) {  // in two seconds, compressed, more than may wait
        traffic.transitions(5'000, [&](const tt_head& record) { ASSERT_TRUE((*writer)->append(record)); });
        std::this_thread::sleep_for(std::chrono::milliseconds(20));
    }
    ASSERT_TRUE((*writer)->append(Traffic::end(traffic.now())));
    EXPECT_TRUE((*writer)->close());
    sync_takes_ms = 0;
    EXPECT_EQ((*writer)->stats().unwritten, 0u);
    EXPECT_GT((*writer)->stats().file_bytes, std::uint64_t{3} << 20);
    EXPECT_GT((*writer)->stats().late_blocks, 0u);
    EXPECT_TRUE(read({folder / "f"}).completeness.whole());
}

/// One processor for the owner and its writer, and the owner takes it.
class OneProcessor {
public:
    OneProcessor() {
        ::sched_getaffinity(0, sizeof before_, &before_);
        cpu_set_t one;
        CPU_ZERO(&one);
        CPU_SET(::sched_getcpu(), &one);
        ::sched_setaffinity(0, sizeof one, &one);
    }
    ~OneProcessor() {
        give();
        ::sched_setaffinity(0, sizeof before_, &before_);
    }
    bool take() const { return set(SCHED_FIFO, 1); }
    void give() const { set(SCHED_OTHER, 0); }

private:
    static bool set(int policy, int priority) {
        sched_param wanted{};
        wanted.sched_priority = priority;
        return ::sched_setscheduler(0, policy, &wanted) == 0;
    }
    cpu_set_t before_{};
};

TEST(Starved, TheOwnerIsNotHeldUpAndNothingIsLost) {
    const Folder folder;
    const OneProcessor processor;
    auto writer = Writer::open({.path = folder / "f"});
    ASSERT_TRUE(writer);
    if (!processor.take()) GTEST_SKIP() << "needs CAP_SYS_NICE, to take a processor: " << std::strerror(errno);
    Traffic traffic({});
    std::uint64_t appended = 0;
    const auto start = std::chrono::steady_clock::now();
    for (auto now = start; now < start + std::chrono::milliseconds(700);) {
        traffic.transitions(100, [&](const tt_head& record) {
            ++appended;
            ASSERT_TRUE((*writer)->append(record));
        });
        ASSERT_TRUE((*writer)->check());
        const auto next = std::chrono::steady_clock::now() + std::chrono::milliseconds(1);
        while ((now = std::chrono::steady_clock::now()) < next) continue;
    }
    EXPECT_TRUE((*writer)->is_starved());
    processor.give();
    for (int i = 0; i < 1000 && (*writer)->is_starved(); ++i) std::this_thread::sleep_for(std::chrono::milliseconds(1));
    EXPECT_FALSE((*writer)->is_starved());
    ASSERT_TRUE((*writer)->append(Traffic::end(traffic.now())));
    EXPECT_TRUE((*writer)->close());
    EXPECT_EQ((*writer)->stats().unwritten, 0u);
    const Read back = read({folder / "f"});
    EXPECT_TRUE(back.completeness.whole());
    EXPECT_EQ(back.records.size(), appended + 1);
}

TEST(Starved, FilesDoNotGrowPastTheirSize) {
    const OneProcessor processor;  // in every fifth round the sealing thread loses it while it holds the lock
    for (int round = 0; round < 20; ++round) {
        const Folder folder;
        record(rotating(folder, 50'000, 0), 50'000);
        for (const auto& file : std::filesystem::directory_iterator(folder.str())) {
            ASSERT_LT(file.file_size(), 70'000u) << file.path();
        }
    }
}

TEST(Pipe, ARecordingCanBeReadFromOne) {
    const Folder folder;
    const Records written = record({.path = folder / "f"}, 20'000);
    const std::string bytes = slurp(folder / "f");
    int pipe[2];
    ASSERT_EQ(::pipe(pipe), 0);
    std::thread feed([&] {
        for (std::size_t at = 0; at < bytes.size(); at += 777) {
            const std::size_t part = std::min<std::size_t>(777, bytes.size() - at);
            if (::write(pipe[1], bytes.data() + at, part) < 0) break;
        }
        ::close(pipe[1]);
    });
    const Read back = read({"/dev/fd/" + std::to_string(pipe[0])});
    feed.join();
    ::close(pipe[0]);
    EXPECT_EQ(back.records, written);
    EXPECT_TRUE(back.completeness.whole());
}

TEST(Long, TheReadersMemoryDoesNotGrowWithTheFile) {
    const Folder folder;
    record({.path = folder / "part", .block_bytes = 1 << 20}, 60'000, false);
    const std::string part = slurp(folder / "part");
    const auto peak_kb = [&](int parts) {
        {
            std::ofstream out(folder / "long", std::ios::binary);
            // Not one run, but as long: each copy is passed over or read, and some bytes are noise.
            for (int i = 0; i < parts; ++i) out << part << std::string(50'000, static_cast<char>(i));
        }
        const pid_t child = ::fork();
        if (child == 0) {
            auto reader = Reader::open({folder / "long"});
            for (;;) {
                const auto poll = (*reader)->poll(std::chrono::milliseconds(0), [](const tt_head&) {});
                if (!poll || *poll == Poll::end) break;
            }
            ::_exit(0);
        }
        int status = 0;
        rusage usage{};
        ::wait4(child, &status, 0, &usage);
        EXPECT_EQ(status, 0);
        return usage.ru_maxrss;
    };
    const long shorter = peak_kb(2);
    const long longer = peak_kb(200);     // 100 MB
    EXPECT_LT(longer, shorter + 16'384);  // of 100 MB; sanitizers keep some of their own
}

}  // namespace
}  // namespace tcptrail::capture::test
