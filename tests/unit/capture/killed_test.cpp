// SPDX-License-Identifier: Apache-2.0
// kill -9 at a random moment.
#include <fcntl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <memory>
#include <random>

#include "fixture.h"

namespace tcptrail::capture::test {
namespace {

std::int64_t now_ns() {
    return std::chrono::steady_clock::now().time_since_epoch().count();
}

/// A child that records under load and tells its parent, again and again, when it had appended how many records.
struct Recorder {
    struct Told {
        std::int64_t time_ns;
        std::uint64_t appended;
    };
    Folder folder;
    std::uint64_t seed;
    std::int64_t kill_ns;
    pid_t child = -1;
    int told = -1;  // our end of the pipe

    Recorder(std::uint64_t number, std::int64_t lifetime_ns) : seed(number), kill_ns(now_ns() + lifetime_ns) {
        int pipe[2];
        if (::pipe(pipe) != 0) return;
        ::fcntl(pipe[1], F_SETPIPE_SZ, 1 << 20);
        child = ::fork();
        if (child == 0) run(pipe[1]);
        ::close(pipe[1]);
        told = pipe[0];
    }

    [[noreturn]] void run(int tell) {
        auto writer = Writer::open({.path = folder / "f"});
        Traffic traffic({.seed = seed});
        Told state{0, 0};
        for (;;) {
            traffic.transitions(200, [&](const tt_head& record) {
                (void)(*writer)->append(record);
                ++state.appended;
            });
            state.time_ns = now_ns();
            if (::write(tell, &state, sizeof state) < 0) ::_exit(1);
            ::usleep(1000);
        }
    }

    void check() {
        const Read back = read({folder / "f"});
        std::uint64_t second_ago = 0;
        for (Told state{}; ::read(told, &state, sizeof state) == sizeof state;) {
            if (state.time_ns <= kill_ns - 1'000'000'000) second_ago = state.appended;
        }
        ::close(told);
        ASSERT_EQ(back.error, "");
        ASSERT_TRUE(back.completeness.truncated);
        ASSERT_EQ(back.completeness.damaged_blocks, 0u);
        ASSERT_EQ(back.completeness.missing_blocks, 0u);
        ASSERT_GT(second_ago, 0u) << "this child lived too short to tell anything";
        ASSERT_GE(back.records.size(), second_ago);
        Traffic same({.seed = seed});
        for (std::size_t at = 0; at < back.records.size();) {
            same.transitions(200, [&](const tt_head& record) {
                if (at == back.records.size()) return;
                ASSERT_EQ(back.records[at], bytes_of(record));
                ++at;
            });
        }
    }
};

TEST(Killed, TwentyTimesUnderLoadTheFileIsReadableAndAtMostTheLastSecondIsMissing) {
    std::mt19937 random(std::random_device{}());
    for (int batch = 0; batch < 5; ++batch) {
        std::vector<std::unique_ptr<Recorder>> recorders;
        for (std::uint64_t i = 0; i < 4; ++i) {
            const std::int64_t lifetime_ns = 1'300'000'000 + static_cast<std::int64_t>(random() % 700'000'000);
            recorders.push_back(std::make_unique<Recorder>(i, lifetime_ns));
            ASSERT_GT(recorders.back()->child, 0);
        }
        std::sort(recorders.begin(), recorders.end(),
                  [](const auto& a, const auto& b) { return a->kill_ns < b->kill_ns; });
        for (const auto& recorder : recorders) {
            while (now_ns() < recorder->kill_ns) ::usleep(200);
            recorder->kill_ns = now_ns();
            ::kill(recorder->child, SIGKILL);
            ::waitpid(recorder->child, nullptr, 0);
        }
        for (const auto& recorder : recorders) recorder->check();
    }
}

}  // namespace
}  // namespace tcptrail::capture::test
