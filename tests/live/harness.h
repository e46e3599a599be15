// SPDX-License-Identifier: Apache-2.0
// The real binary under test: started, awaited, stopped, and its whole output kept. One thread.
#pragma once

#include <sys/types.h>

#include <functional>
#include <initializer_list>
#include <stdexcept>
#include <string>
#include <vector>

#include "sockets.h"

namespace tcptrail::live {
[[noreturn]] void row_lacks(const char* condition);  // throws
}
// A field that the output lacks is the test's failure, not undefined behaviour.
#define JSON_ASSERT(condition) ((condition) ? void() : ::tcptrail::live::row_lacks(#condition))
#include <nlohmann/json.hpp>

namespace tcptrail::live {

using Json = nlohmann::json;

/// From --tcptrail=PATH, else $TCPTRAIL_BIN, else `tcptrail` beside this program.
const std::string& binary_path();
void set_binary_path(const std::string& path);

/// How to start it: runs in the child just before exec (drop privileges, close stderr, ...).
using BeforeExec = std::function<void()>;

struct Output {
    int status = -1;  // exit status; 128 + signal if a signal ended it; -1: it had to be killed
    std::string out;
    std::string err;
    double seconds = 0;

    /// stdout as JSON Lines; throws naming the line that does not parse.
    std::vector<Json> rows() const;
    /// The last row, an empty object if there is none.
    Json last_row() const;
    std::vector<std::string> err_lines() const;
};

/// One run. Its stdout and stderr go to memory files, so that it is never held up by a slow reader.
class Tracer {
public:
    Tracer() = default;
    ~Tracer();
    Tracer(const Tracer&) = delete;
    Tracer& operator=(const Tracer&) = delete;

    void start(const std::vector<std::string>& args, const BeforeExec& before_exec = {});
    /// The same with another binary than binary_path().
    void start_copy(const std::string& binary, const std::vector<std::string>& args, const BeforeExec& before_exec);
    /// Waits for `tcptrail: tracing`. Throws with what it said instead when it ends or is silent for too long.
    void await_tracing(int timeout_ms = 15000);
    void send(int signal) const;
    /// Waits for its end; kills it after the time and says so in the status.
    Output wait(int timeout_ms = 20000);
    /// SIGINT, then wait().
    Output stop();

    pid_t pid() const { return pid_; }
    bool running() const { return pid_ > 0; }
    std::string out_so_far() const { return out_since(0); }
    std::string out_since(std::size_t bytes) const;
    std::string err_so_far() const;

private:
    pid_t pid_ = -1;
    Fd out_;
    Fd err_;
    double started_ = 0;
};

/// Runs it to its own end.
Output run_tcptrail(const std::vector<std::string>& args, const BeforeExec& before_exec = {}, int timeout_ms = 20000);
/// Runs any program found on PATH, in the network namespace `netns_fd` if it is not -1.
Output run_program(const std::vector<std::string>& argv, int netns_fd = -1, int timeout_ms = 30000);
bool have_program(const std::string& name);

/// The last row of `type`; {} where there is none.
Json last_of(const std::vector<Json>& rows, const std::string& type);

/// How many of `count` sockets a scene makes here: all, or one of TCPTRAIL_LIVE_PART (an emulated guest, where it is the kinds
/// that matter).
int part_of(int count) noexcept;

/// Empty if a trace can be made here. Otherwise what is missing.
const std::string& missing_for_tracing();

/// Skips the test naming what is missing; where CI is set the miss is a failure.
#define REQUIRE_TRACING()                                                                       \
    do {                                                                                        \
        if (const std::string& miss = ::tcptrail::live::missing_for_tracing(); !miss.empty()) { \
            if (std::getenv("CI") != nullptr) {                                                 \
                FAIL() << "cannot run in CI: " << miss;                                         \
            }                                                                                   \
            GTEST_SKIP() << miss;                                                               \
        }                                                                                       \
    } while (false)

#define REQUIRE_PROGRAM(name)                               \
    do {                                                    \
        if (!::tcptrail::live::have_program(name)) {        \
            GTEST_SKIP() << "needs the program " << (name); \
        }                                                   \
    } while (false)

/// True where `LISTEN -> SYN_RECV` carries the child's own addresses and is therefore printed.
bool kernel_shows_syn_recv();

}  // namespace tcptrail::live
