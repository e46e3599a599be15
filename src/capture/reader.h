// SPDX-License-Identifier: Apache-2.0
// Reads recordings: the record source of -r. Memory is that of one block, however long the files are.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include <tcptrail/record_source.h>

#include "capture/block.h"
#include "capture/byte_window.h"
#include "capture/format.h"

namespace tcptrail::capture {

/// How complete the answer of a recording can be. Final once poll() has returned Poll::end.
struct Completeness {
    std::uint64_t files = 0;
    std::uint64_t runs = 0;              // recordings that these files are of
    std::uint64_t blocks = 0;            // read whole
    std::uint64_t records = 0;           // handed over
    std::uint64_t repeated_records = 0;  // preambles of later files, not handed over: all of it had been said before
    bool truncated = false;            // a run does not end with TT_END: its recorder was killed, or files are missing
    bool continued = false;            // …and the last file says that it goes on in a next one that was not given
    std::uint64_t torn_bytes = 0;      // of unfinished blocks at the end of files
    std::uint64_t damaged_blocks = 0;  // places where bytes are not what was written
    std::uint64_t skipped_bytes = 0;   // there
    std::uint64_t missing_blocks = 0;  // sequence numbers that are in no file, damaged headers included
    std::uint64_t blocks_before = 0;   // older than the first file given: a ring dropped them, or they were not given
    std::uint64_t unwritten_records = 0;  // that the recorder could not write, by its own count

    bool whole() const;
    /// What is missing as one line for stderr; nothing where nothing is.
    std::optional<std::string> line() const;
};

class Reader final : public RecordSource {
public:
    /// Opens recordings, in whatever order they are given: the files of one run are read in the order of their
    /// writing, runs in the order of their beginning. "-" is standard input. A path that does not exist stands for
    /// the rotated set path0, path1, …. An Error where one of them cannot be read or is no recording.
    static Result<std::unique_ptr<Reader>> open(const std::vector<std::string>& paths);

    /// Hands over the records of one block; never waits for anything but the disk or pipe.
    Result<Poll> poll(std::chrono::milliseconds max_wait, const RecordHandler& handler) override;

    const Completeness& completeness() const { return completeness_; }

private:
    struct File {
        std::string path;
        std::optional<ByteWindow> window;  // open already: a pipe cannot be opened twice
        std::uint64_t run = 0, begun_ns = 0, sequence = 0;
    };
    struct Passed {
        bool found;           // a trustworthy block header stands at the window's front; else the file is over
        std::uint64_t bytes;  // that were passed on the way
    };

    Reader() = default;
    static Result<File> inspect(const std::string& path, bool alone);
    void sort_files();
    Result<void> next_file();
    Result<Passed> search();
    Result<bool> read_block(const RecordHandler& handler);
    Result<bool> pass_damage(bool torn_if_last);
    Result<void> pass_damaged_payload(std::size_t block_bytes);
    void damage(std::uint64_t bytes);
    bool follows(const BlockHeader& header);
    void hand_over(std::span<const std::uint8_t> raw, const RecordHandler& handler);
    void end_run();

    std::vector<File> files_;  // in the order of reading
    std::size_t at_file_ = 0;
    std::optional<ByteWindow> window_;
    BlockOpener opener_;
    Completeness completeness_;
    bool have_run_ = false;
    std::uint64_t run_ = 0;
    std::uint64_t next_sequence_ = 0;
    bool gap_ = false;          // something is missing since the last preamble: the next one tells something new
    bool lacking_ = false;      // so, and no TT_GAP has told of it yet
    bool in_preamble_ = false;  // one is being handed over
    bool ended_ = false;
    bool continued_ = false;
};

}  // namespace tcptrail::capture
