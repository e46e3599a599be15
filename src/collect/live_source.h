// SPDX-License-Identifier: Apache-2.0
// The live kernel as a source of records: loads the programs, drains the logs, makes snapshots.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include <tcptrail/record_source.h>

namespace tcptrail::collect {

struct Options {
    std::vector<std::uint32_t> netns;  // inode numbers, at most 16; empty: all
    bool ipv4 = true;
    bool ipv6 = true;
    std::vector<std::uint16_t> lports;  // host order; empty: all
    std::vector<std::uint16_t> rports;  // host order; empty: all
    std::size_t buffer_bytes = 0;       // of all logs together, rounded up to a power of two; 0: 8 MiB for each CPU
    bool tracepoint_only = false;       // no fentry: what --hooks tracepoint asks for
    std::string btf_file;               // this kernel's BTF, where the kernel does not show it
    std::vector<std::string> without;   // needs of hooks.h that are left without a hook, for tests
    bool final_snapshot = false;        // a snapshot at stop(), for the last report
    std::chrono::nanoseconds report_every{0};  // a snapshot for a report after each such time; 0: none
};

/// Takes libbpf's own messages, each as libbpf wrote it; without one they are dropped. Set before open().
void set_libbpf_log(std::function<void(std::string_view)> log);

class LiveSource final : public RecordSource {
public:
    /// Loads and attaches; events are collected from here on. The error says what is missing.
    static Result<std::unique_ptr<LiveSource>> open(const Options& options);

    ~LiveSource() override;
    LiveSource(const LiveSource&) = delete;
    LiveSource& operator=(const LiveSource&) = delete;

    Result<Poll> poll(std::chrono::milliseconds max_wait, const RecordHandler& handler) override;
    void announce_to(const RecordHandler& soon) override;

    /// The next polls hand over what is left, then TT_COUNTERS and TT_END. From any thread.
    void stop();

    /// A snapshot with the next poll; `what` is of enum tt_snapshot_what. Neither sockets nor holders named: both.
    void request_snapshot(std::uint32_t what);

    /// One line each, for stderr: what is missing here and what serves instead.
    const std::vector<std::string>& notes() const;

    /// The first snapshot has been handed over.
    bool ready() const;

private:
    struct State;
    explicit LiveSource(std::unique_ptr<State> state);

    std::unique_ptr<State> state_;
};

}  // namespace tcptrail::collect
