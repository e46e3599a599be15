// SPDX-License-Identifier: Apache-2.0
// The files of one run: created, filled with whole blocks, rotated, and dropped when a ring's disk is full.
// Knows no records and no threads; the writer's thread owns it.
#pragma once

#include <cstdint>
#include <span>
#include <string>

#include <tcptrail/result.h>

#include "capture/fd.h"

namespace tcptrail::capture {

struct SinkOptions {
    std::string path;
    std::uint64_t file_bytes = 0;  // -C: a file ends with the block that reaches this size; 0: never
    unsigned files = 0;            // -W: so many files, then the first is overwritten; 0: any number
    bool ring = false;             // a full disk drops the oldest file instead of ending the run
};

class FileSink {
public:
    explicit FileSink(SinkOptions options);

    /// Begins the next file, the first one too: 0600, header and directory entry on the disk.
    Result<void> begin_file(std::uint64_t first_sequence);

    enum class Wrote {
        whole,         // the block is in the file
        started_over,  // ring: the disk is full and this file was the only one; it is gone, begin the next
    };
    /// Appends a block, wholly or (Error) not at all.
    Result<Wrote> write(std::span<const std::uint8_t> block);

    /// Returns when all written blocks are on the disk.
    Result<void> sync() const;

    /// The same for any thread, and for what was written until now; writing goes on meanwhile.
    struct Sync {
        Fd fd;  // none: no file, or no descriptor to be had
        bool regular = false;
        std::string name;

        Result<void> wait() const;
    };
    Sync sync_later() const;

    bool is_open() const { return static_cast<bool>(fd_); }
    std::uint64_t run() const { return run_; }
    std::uint64_t bytes() const { return bytes_; }                    // in the current file
    std::uint64_t file_bytes() const { return options_.file_bytes; }  // shrinks when a ring had to start over
    std::uint64_t dropped() const { return dropped_; }                // files removed because the disk was full
    const std::string& name() const { return name_; }                 // of the current file

private:
    Result<void> open_file();
    Result<void> write_header(std::uint64_t first_sequence);
    int write_all(std::span<const std::uint8_t> bytes);
    bool drop_oldest();
    void sync_folder() const;
    Error cannot(const char* what, int error) const;
    static Error cannot(const char* what, const std::string& name, int error);
    static Result<void> sync_file(int fd, bool regular, const std::string& name);

    SinkOptions options_;
    std::uint64_t run_;
    std::uint64_t first_slot_ = 0;  // ring: where in the set this run begins
    std::uint64_t slot_ = 0;        // of the current file; its name is that of slot_ modulo files
    std::uint64_t begun_ = 0;       // files so far
    std::uint64_t dropped_ = 0;
    std::uint64_t bytes_ = 0;
    std::string name_;
    Fd fd_;
    bool regular_ = false;
};

}  // namespace tcptrail::capture
