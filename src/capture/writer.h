// SPDX-License-Identifier: Apache-2.0
// Writes a recording: append() copies a record into a block and returns. One thread compresses the blocks, one
// writes them, one fdatasyncs: a disk may take seconds for that, and what waits for it is small by then. Whatever happens
// to the process, each whole block in the file stays readable.
#pragma once

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <string>
#include <thread>
#include <vector>

#include <tcptrail/result.h>
#include <tcptrail/wire.h>

#include "capture/block.h"
#include "capture/file_sink.h"

namespace tcptrail::capture {

class Writer;

struct WriterOptions {
    std::string path;
    std::uint64_t file_bytes = 0;  // -C; 0: one file (with ring: 100 MB each)
    unsigned files = 0;            // -W, needs -C; 0: any number (with ring: 10)
    bool ring = false;             // --ring: the last `files` files for ever; a full disk drops the oldest

    /// Called from within append() when a file after the first has begun, before the record at hand goes into it.
    /// What it appends is the file's preamble: the start record, known processes, names. It must repeat only
    /// what the stream has said before: a reader who has read the file before skips it. A fresh snapshot is not
    /// preamble: ask for it here, and append it as usual when it comes.
    std::function<void(Writer&)> on_new_file = {};

    // For tests; the defaults are what the recording promises.
    // From a block's first record to its write, at most, while the queue has room; fdatasync by 1 s.
    std::chrono::milliseconds flush_after{400};
    std::size_t block_bytes = 256 << 10;  // of records; more compresses little better and costs memory
    std::size_t queue_bytes =
        64 << 20;  // that wait for the disk, nearly all compressed; beyond it records are counted only
};

struct WriterStats {
    std::uint64_t records = 0;       // in blocks that were written
    std::uint64_t record_bytes = 0;  // of these
    std::uint64_t blocks = 0;
    std::uint64_t file_bytes = 0;              // of all files, dropped ones included
    std::uint64_t files = 0;                   // begun
    std::uint64_t dropped_files = 0;           // ring: removed because the disk was full
    std::uint64_t unwritten = 0;               // records that found no room in the queue or on the disk
    std::uint64_t late_blocks = 0;             // on the disk more than 1 s after their first record
    std::chrono::milliseconds worst_delay{0};  // from a block's first record until it was on the disk
};

/// All but stats() belongs to one thread, and none of it but close() waits: not for the disk, nor for a thread of ours that holds
/// the lock and gets no processor.
class Writer {
public:
    /// Creates the file and starts the thread.
    static Result<std::unique_ptr<Writer>> open(WriterOptions options);
    ~Writer();  // as close(), without its error
    Writer(const Writer&) = delete;
    Writer& operator=(const Writer&) = delete;

    /// Takes a copy. Never waits for the disk. An Error once writing has failed: end the run with it.
    Result<void> append(const tt_head& record);

    /// The error that append() would return: for a loop that is idle, several times a second. A block that found the lock taken
    /// goes its way with the next append() or check().
    Result<void> check();

    /// Waits until all is on the disk. The last record before it should be TT_END.
    Result<void> close();

    WriterStats stats() const;

    /// Whether records wait to be compressed for want of processor time.
    bool is_starved() const;

    /// A line for stderr when the recording is behind or records could not be written; each is told once, and again
    /// when it has got ten times worse.
    std::optional<std::string> take_warning();

private:
    using Clock = std::chrono::steady_clock;
    /// What became of a file's records so far; by the sealing thread.
    struct Tally {
        std::atomic<std::uint64_t> raw = 0;    // bytes of records that are compressed
        std::atomic<std::uint64_t> bytes = 0;  // of the blocks they became, written or not
    };
    /// Records on their way to be compressed. The owner fills it; the sealing thread takes from it what gets old, and alone
    /// gives it back: so it may read what is published at any time.
    struct Block {
        std::vector<std::uint8_t> raw;  // never grows beyond what was reserved
        std::uint8_t flags = 0;
        std::uint64_t unwritten = 0;
        std::uint64_t file = 0;        // which of the run's files it belongs to
        std::shared_ptr<Tally> tally;  // of this file
        Clock::time_point born;
        Clock::time_point queued;
        std::atomic<std::size_t> published = 0;  // bytes of raw; by the owner
        std::atomic<std::size_t> taken = 0;      // of these, sealed before it was full; by the sealing thread
    };
    using BlockPtr = std::unique_ptr<Block>;
    /// A block as it stands in the file.
    struct Sealed {
        std::vector<std::uint8_t> ending;  // of the file before, where a file begins with this block
        std::vector<std::uint8_t> bytes;
        std::size_t raw_bytes = 0;
        std::uint64_t sequence = 0;
        std::uint32_t records = 0;
        std::uint64_t file = 0;
        Clock::time_point born;
    };

    explicit Writer(WriterOptions options);
    // The owner's, without mutex_.
    bool rotation_due() const;
    void begin_next_file();
    bool make_room(const tt_head& record);
    void hold_back();
    bool hand_over(bool even_if_full);
    void begin_block();
    BlockPtr end_block();
    void put(const tt_head& record);
    // The owner's, with mutex_ held.
    bool seal(bool even_if_full);
    void enqueue(BlockPtr block);
    bool has_room(std::size_t bytes) const { return queued_bytes_ + bytes <= options_.queue_bytes; }
    // The threads', with mutex_ held.
    void begin_sync();
    void finish(const Sealed& block, const Result<bool>& written);
    void fail_with(const Error& error);
    bool write_is_due() const;
    bool sync_is_due() const;
    // The threads, and what they do without mutex_.
    void run_sealing();
    Block* old_block() const;
    void seal_piece(std::unique_lock<std::mutex>& lock, const Block& block, std::size_t from, std::size_t to);
    Result<Sealed> compress(std::span<const std::uint8_t> records, BlockHeader header, const Block& block);
    void run_writing();
    void write_sealed(std::unique_lock<std::mutex>& lock);
    Result<bool> write(const Sealed& block);
    void run_syncs();

    const WriterOptions options_;
    FileSink sink_;                                    // the writing thread's
    std::uint64_t open_file_ = 0;                      // the writing thread's
    BlockSealer sealer_;                               // the sealing thread's
    std::uint64_t sequence_ = 0;                       // the sealing thread's
    std::uint64_t sealed_file_ = 0;                    // the sealing thread's
    const std::uint64_t run_;                          // the recording's number
    std::optional<Clock::time_point> unsynced_since_;  // the writing thread's

    BlockPtr current_;                // the owner's
    std::deque<BlockPtr> held_back_;  // the owner's: whole blocks that found the mutex taken
    std::size_t held_bytes_ = 0;      // of these
    std::uint64_t refused_ = 0;       // the owner's: records without room, or not written, that no block tells of yet
    bool in_preamble_ = false;        // the owner's
    std::shared_ptr<Tally> tally_ = std::make_shared<Tally>();  // of file_; the owner's
    std::uint64_t ended_in_file_ = 0;            // the owner's: bytes of records in ended blocks of file_
    std::atomic<std::uint64_t> file_ = 0;        // that the next block belongs to; only the owner changes it
    std::atomic<std::uint64_t> file_limit_ = 0;  // file_bytes, or less after a ring started over
    std::atomic<std::uint64_t> files_lost_ = 0;  // the sink lost the one before this, counted from 0: begin this one
    std::atomic<std::uint64_t> raw_ever_ = 0,
                               sealed_ever_ = 0;  // bytes of all records compressed so far, of their blocks
    std::atomic<Block*> open_ = nullptr;          // current_, for the sealing thread
    std::atomic<bool> holds_back_ = false;        // held_back_ is not empty: what is in it goes before open_
    std::atomic<std::uint64_t> unwritten_ = 0;    // records, of the whole run
    std::atomic<bool> failed_ = false;            // error_ is set
    // Records of blocks that were not written, which no block tells of yet.
    std::atomic<std::uint64_t> pending_unwritten_ = 0;

    mutable std::mutex mutex_;
    std::condition_variable work_;
    std::condition_variable write_work_;
    std::condition_variable sync_work_;
    std::deque<Sealed> sealed_;
    std::size_t sealed_bytes_ = 0;  // of these
    bool sealing_over_ = false;
    std::optional<FileSink::Sync> syncing_;  // under way
    Clock::time_point syncing_since_;        // what it puts on the disk was born then
    bool writing_over_ = false;
    std::deque<BlockPtr> queue_;
    std::vector<BlockPtr> spare_;
    std::uint64_t written_file_ = 0;   // the sink's
    std::uint64_t written_bytes_ = 0;  // in the sink's file
    std::uint64_t queued_bytes_ = 0;   // in memory on their way to the disk: records, or blocks of them
    bool closing_ = false;
    std::optional<Error> error_;
    WriterStats stats_;
    std::uint64_t warned_late_ = 0, warned_unwritten_ = 0, warned_dropped_ = 0;
    std::vector<std::thread> threads_;
};

}  // namespace tcptrail::capture
