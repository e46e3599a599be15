// SPDX-License-Identifier: Apache-2.0
#include "capture/writer.h"

#include <pthread.h>

#include <algorithm>
#include <csignal>
#include <cstring>
#include <new>

#include "capture/layout.h"
#include "capture/names.h"

namespace tcptrail::capture {
namespace {

constexpr std::uint64_t RING_FILE_BYTES = 100'000'000;
constexpr unsigned RING_FILES = 10;
constexpr std::chrono::milliseconds PROMISED_DELAY{1000};
constexpr std::chrono::milliseconds STARVED_AFTER{500};  // a block takes 2 ms, when its turn comes
constexpr double EXPECTED_SHRINK = 0.12;                 // of the first block
constexpr std::size_t WRITE_BYTES = 128 << 10;           // of sealed blocks that go to the file together

/// Signals are the owner's; a file-size limit is then an errno.
void block_signals() {
    sigset_t all;
    sigfillset(&all);
    pthread_sigmask(SIG_BLOCK, &all, nullptr);
}

WriterOptions with_defaults(WriterOptions options) {
    if (options.ring && options.file_bytes == 0) options.file_bytes = RING_FILE_BYTES;
    if (options.ring && options.files == 0) options.files = RING_FILES;
    options.block_bytes = std::clamp(options.block_bytes, std::size_t{64 << 10}, std::size_t{MAX_RAW_BYTES});
    options.queue_bytes = std::max(options.queue_bytes, options.block_bytes);  // else none would ever be sealed
    return options;
}

}  // namespace

Writer::Writer(WriterOptions options)
    : options_(with_defaults(std::move(options))),
      sink_({options_.path, options_.file_bytes, options_.files, options_.ring}),
      run_(sink_.run()),
      file_limit_(options_.file_bytes) {}

Result<std::unique_ptr<Writer>> Writer::open(WriterOptions options) {
    if (options.files > 0 && options.file_bytes == 0 && !options.ring) {
        return fail(Exit::usage, "-W needs -C: how large a file may become");
    }
    if (options.ring && options.files == 1) return fail(Exit::usage, "--ring needs at least two files: -W 2");
    std::unique_ptr<Writer> writer(new Writer(std::move(options)));
    if (auto begun = writer->sink_.begin_file(0); !begun) return tl::unexpected(begun.error());
    writer->written_bytes_ = writer->sink_.bytes();
    writer->stats_.files = 1;
    writer->stats_.file_bytes = writer->sink_.bytes();
    for (const auto work : {&Writer::run_sealing, &Writer::run_writing, &Writer::run_syncs}) {
        writer->threads_.emplace_back(work, writer.get());
    }
    return writer;
}

Writer::~Writer() {
    (void)close();
}

Result<void> Writer::append(const tt_head& record) {
    if (failed_.load(std::memory_order_relaxed)) return check();
    if (!make_room(record)) {
        ++refused_;
        unwritten_.fetch_add(1, std::memory_order_relaxed);
        return {};
    }
    put(record);
    return {};
}

bool Writer::rotation_due() const {
    if (files_lost_ == file_ + 1) return true;
    if (file_limit_ == 0) return false;
    // What waits to be compressed: expect it to shrink as what went before; little went before when a run begins.
    const auto block = static_cast<double>(options_.block_bytes);
    const double shrink =
        (static_cast<double>(sealed_ever_) + EXPECTED_SHRINK * block) / (static_cast<double>(raw_ever_) + block);
    const auto waiting = static_cast<double>(ended_in_file_ - std::min<std::uint64_t>(tally_->raw, ended_in_file_));
    return static_cast<double>(tally_->bytes) + waiting * shrink >= static_cast<double>(file_limit_);
}

void Writer::begin_next_file() {
    ++file_;
    tally_ = std::make_shared<Tally>();
    ended_in_file_ = 0;
    if (!options_.on_new_file) return;
    in_preamble_ = true;
    options_.on_new_file(*this);
    if (std::unique_lock lock(mutex_, std::try_to_lock); lock) {
        seal(true);
    } else {
        hold_back();
    }
    in_preamble_ = false;
}

/// Where the mutex is taken, the block gets memory of its own.
void Writer::begin_block() {
    if (!in_preamble_ && rotation_due()) begin_next_file();
    BlockPtr block;
    if (const std::unique_lock lock(mutex_, std::try_to_lock); lock && !spare_.empty()) {
        block = std::move(spare_.back());
        spare_.pop_back();
    }
    if (!block) block = std::make_unique<Block>();
    block->raw.reserve(options_.block_bytes);
    block->flags = in_preamble_ ? BLOCK_PREAMBLE : 0;
    block->unwritten = std::exchange(refused_, 0);
    block->file = file_;
    block->tally = tally_;
    block->born = Clock::now();
    current_ = std::move(block);
    open_.store(current_.get(), std::memory_order_release);
}

Writer::BlockPtr Writer::end_block() {
    open_ = nullptr;
    ended_in_file_ += current_->raw.size();
    current_->queued = Clock::now();
    return std::move(current_);
}

void Writer::enqueue(BlockPtr block) {
    queued_bytes_ += block->raw.size();
    queue_.push_back(std::move(block));
    work_.notify_one();
}

bool Writer::seal(bool even_if_full) {
    for (; !held_back_.empty(); held_back_.pop_front()) enqueue(std::move(held_back_.front()));
    held_bytes_ = 0;
    holds_back_ = false;
    refused_ += pending_unwritten_.exchange(0);
    if (!current_) return true;
    if (!even_if_full && !has_room(current_->raw.size())) return false;
    enqueue(end_block());
    return true;
}

/// Ends the current block, if there is one, where the mutex is taken.
void Writer::hold_back() {
    if (!current_) return;
    held_bytes_ += current_->raw.size();
    holds_back_ = true;
    held_back_.push_back(end_block());
}

/// Ends the current block, if there is one. False where it finds no room and goes on.
bool Writer::hand_over(bool even_if_full) {
    std::unique_lock lock(mutex_, std::defer_lock);
    if (even_if_full) {
        lock.lock();
    } else if (!lock.try_lock()) {
        if (!current_) return true;
        if (held_bytes_ + current_->raw.size() > options_.queue_bytes / 4) return false;
        hold_back();
        return true;
    }
    return seal(even_if_full);
}

/// False where the queue is full, or the record is none.
bool Writer::make_room(const tt_head& record) {
    if (!sound(record.size, record.type, record.size)) return false;
    if (!current_) return true;
    // After a gap a new block begins: its header says how wide the gap is.
    const bool gap = refused_ > 0 || pending_unwritten_.load(std::memory_order_relaxed) > 0;
    const bool fits = current_->raw.size() + record.size <= options_.block_bytes;
    if (fits && !gap && current_->taken.load(std::memory_order_relaxed) == 0) return true;
    return hand_over(record.type == TT_END);
}

void Writer::put(const tt_head& record) {
    if (!current_) begin_block();
    const auto* bytes = reinterpret_cast<const std::uint8_t*>(&record);
    std::vector<std::uint8_t>& raw = current_->raw;
    raw.insert(raw.end(), bytes, bytes + record.size);
    current_->published.store(raw.size(), std::memory_order_release);
}

/// The open block, when its time has come.
Writer::Block* Writer::old_block() const {
    Block* const open = open_.load(std::memory_order_acquire);
    const bool old = open != nullptr && Clock::now() >= open->born + options_.flush_after;
    return old && !holds_back_ && open->published > open->taken ? open : nullptr;
}

/// Takes full blocks, and what stands in the open one when its time has come, and compresses them.
void Writer::run_sealing() {
    block_signals();
    std::unique_lock lock(mutex_);
    for (;;) {
        if (!queue_.empty()) {
            BlockPtr block = std::move(queue_.front());
            queue_.pop_front();
            seal_piece(lock, *block, block->taken, block->raw.size());
            queued_bytes_ -= block->raw.size();
            block->raw.clear();
            block->published = block->taken = 0;
            if (spare_.size() < 4) spare_.push_back(std::move(block));
        } else if (closing_) {
            break;
        } else if (Block* const open = old_block(); open != nullptr && has_room(open->published)) {
            const std::size_t bytes = open->published.load(std::memory_order_acquire);
            seal_piece(lock, *open, open->taken, bytes);
            open->taken = bytes;
        } else {
            work_.wait_for(lock, options_.flush_after / 4);  // nobody tells of a new block
        }
    }
    sealing_over_ = true;
    write_work_.notify_one();
}

/// Bytes from..to of a block, if there are any; `lock` is held before and after.
void Writer::seal_piece(std::unique_lock<std::mutex>& lock, const Block& block, std::size_t from, std::size_t to) {
    if (from == to) return;
    lock.unlock();
    const std::span<const std::uint8_t> piece(block.raw.data() + from, to - from);
    BlockHeader header;
    header.flags = block.flags;
    header.run = run_;
    header.first_ns = ~std::uint64_t{0};
    header.unwritten = from == 0 ? block.unwritten : 0;
    for (std::size_t at = 0; at < piece.size();) {
        tt_head head;
        std::memcpy(&head, piece.data() + at, sizeof head);
        header.first_ns = std::min<std::uint64_t>(header.first_ns, head.time);
        header.last_ns = std::max<std::uint64_t>(header.last_ns, head.time);
        ++header.records;
        at += head.size;
    }
    auto sealed = compress(piece, header, block);
    lock.lock();
    if (!sealed) {
        unwritten_ += header.records;
        fail_with(sealed.error());
        return;
    }
    queued_bytes_ += sealed->bytes.size();
    sealed_bytes_ += sealed->bytes.size();
    sealed_.push_back(std::move(*sealed));
    if (sealed_.size() == 1 || write_is_due()) write_work_.notify_one();
}

/// Where a file begins with it, the old one ends with a block that says that it is whole.
Result<Writer::Sealed> Writer::compress(std::span<const std::uint8_t> records, BlockHeader header,
                                        const Block& block) try {
    const auto copy = [](std::span<const std::uint8_t> bytes) { return std::vector(bytes.begin(), bytes.end()); };
    Sealed sealed;
    if (block.file != sealed_file_) {
        BlockHeader last;
        last.flags = BLOCK_CONTINUED;
        last.run = run_;
        last.sequence = sequence_++;
        last.first_ns = last.last_ns = header.first_ns;
        sealed.ending = copy(sealer_.seal({}, last));
        sealed_file_ = block.file;
    }
    header.sequence = sequence_++;
    sealed.bytes = copy(sealer_.seal(records, header));
    sealed.raw_bytes = records.size();
    sealed.sequence = header.sequence;
    sealed.records = header.records;
    sealed.file = block.file;
    sealed.born = block.born;
    // The bytes first: whoever reads in between expects too much of the file, not too little.
    block.tally->bytes += sealed.bytes.size();
    block.tally->raw += sealed.raw_bytes;
    sealed_ever_ += sealed.bytes.size();
    raw_ever_ += sealed.raw_bytes;
    return sealed;
} catch (const std::bad_alloc&) {
    return fail(Exit::failed, "out of memory while recording to " + options_.path);
}

void Writer::run_writing() {
    block_signals();
    std::unique_lock lock(mutex_);
    for (;;) {
        if (!syncing_ && sync_is_due()) {
            begin_sync();
        } else if (write_is_due()) {
            write_sealed(lock);
        } else if (sealing_over_ && !syncing_ && sealed_.empty()) {
            break;
        } else {
            std::optional<Clock::time_point> since;
            if (!sealed_.empty()) since = sealed_.front().born;
            if (unsynced_since_ && !syncing_) since = since ? std::min(*since, *unsynced_since_) : *unsynced_since_;
            if (since) {
                write_work_.wait_until(lock, *since + options_.flush_after);
            } else {
                write_work_.wait(lock);
            }
        }
    }
    writing_over_ = true;
    sync_work_.notify_one();
}

/// Several blocks at a time, and no wake-up for each, as long as none of them gets old.
bool Writer::write_is_due() const {
    if (sealed_.empty()) return false;
    return sealing_over_ || sealed_bytes_ >= std::min<std::size_t>(WRITE_BYTES, options_.queue_bytes / 8) ||
           Clock::now() >= sealed_.front().born + options_.flush_after;
}

bool Writer::sync_is_due() const {
    if (!unsynced_since_) return false;
    return (sealing_over_ && sealed_.empty()) || Clock::now() >= *unsynced_since_ + options_.flush_after;
}

/// On the writing thread: all that is sealed.
void Writer::write_sealed(std::unique_lock<std::mutex>& lock) {
    while (!sealed_.empty()) {
        const Sealed block = std::move(sealed_.front());
        sealed_.pop_front();
        sealed_bytes_ -= block.bytes.size();
        const bool failed = error_.has_value();
        lock.unlock();

        Result<bool> written = false;
        if (!failed) {
            written = write(block);
            if (written && !unsynced_since_) unsynced_since_ = block.born;
        }
        lock.lock();
        finish(block, written);
        if (!syncing_ && sync_is_due()) begin_sync();
    }
}

/// True if the block is in the file; false if it was given up for room in a ring.
Result<bool> Writer::write(const Sealed& block) {
    if (block.file != open_file_) {
        if (sink_.is_open()) {
            if (auto wrote = sink_.write(block.ending); !wrote) return tl::unexpected(wrote.error());
        }
        open_file_ = block.file;
        if (auto begun = sink_.begin_file(block.sequence); !begun) return tl::unexpected(begun.error());
    }
    if (!sink_.is_open()) return false;
    const auto wrote = sink_.write(block.bytes);
    if (!wrote) return tl::unexpected(wrote.error());
    return *wrote == FileSink::Wrote::whole;
}

/// On the writing thread: what was written so far goes to the disk.
void Writer::begin_sync() {
    syncing_since_ = *std::exchange(unsynced_since_, std::nullopt);
    syncing_ = sink_.sync_later();
    sync_work_.notify_one();
}

void Writer::run_syncs() {
    block_signals();
    std::unique_lock lock(mutex_);
    for (;;) {
        sync_work_.wait(lock, [this] { return syncing_ || writing_over_; });
        if (!syncing_) break;
        lock.unlock();
        const auto done = syncing_->wait();
        lock.lock();
        const auto delay = std::chrono::duration_cast<std::chrono::milliseconds>(Clock::now() - syncing_since_);
        stats_.worst_delay = std::max(stats_.worst_delay, delay);
        if (delay > PROMISED_DELAY) ++stats_.late_blocks;
        if (!done) fail_with(done.error());
        syncing_.reset();
        write_work_.notify_one();
    }
}

void Writer::finish(const Sealed& block, const Result<bool>& written) {
    queued_bytes_ -= block.bytes.size();
    const bool whole = written && *written;
    if (whole) {
        stats_.records += block.records;
        stats_.record_bytes += block.raw_bytes;
        ++stats_.blocks;
        stats_.file_bytes += open_file_ == written_file_ ? sink_.bytes() - written_bytes_ : sink_.bytes();
    } else {
        unwritten_ += block.records;
        pending_unwritten_ += block.records;
    }
    written_file_ = open_file_;
    written_bytes_ = sink_.bytes();
    stats_.files = open_file_ + 1;
    stats_.dropped_files = sink_.dropped();
    file_limit_ = sink_.file_bytes();
    if (!written) fail_with(written.error());
    if (!error_ && !sink_.is_open() && file_ == open_file_) files_lost_ = open_file_ + 1;
}

void Writer::fail_with(const Error& error) {
    if (!error_) error_ = error;
    failed_ = true;
}

Result<void> Writer::check() {
    if (!held_back_.empty()) (void)hand_over(false);
    if (!failed_) return {};
    const std::lock_guard lock(mutex_);
    return tl::unexpected(*error_);
}

Result<void> Writer::close() {
    {
        const std::lock_guard lock(mutex_);
        seal(true);
        closing_ = true;
        work_.notify_one();
    }
    for (std::thread& thread : threads_) thread.join();
    threads_.clear();
    return check();
}

WriterStats Writer::stats() const {
    const std::lock_guard lock(mutex_);
    WriterStats out = stats_;
    out.unwritten = unwritten_;
    return out;
}

bool Writer::is_starved() const {
    const auto waits = [](const std::deque<BlockPtr>& blocks) {
        return !blocks.empty() && Clock::now() >= blocks.front()->queued + STARVED_AFTER;
    };
    const std::unique_lock lock(mutex_, std::try_to_lock);
    return waits(held_back_) || (lock && waits(queue_));
}

std::optional<std::string> Writer::take_warning() {
    const std::unique_lock lock(mutex_, std::try_to_lock);
    if (!lock || error_) return std::nullopt;  // soon; the run ends with it
    const std::uint64_t unwritten = unwritten_;
    const auto worse = [](std::uint64_t now, std::uint64_t& warned) {
        if (now == 0 || now < warned * 10) return false;
        warned = now;
        return true;
    };
    if (worse(unwritten, warned_unwritten_)) {
        return std::to_string(unwritten) +
               " records could not be written: the disk or the processors are slower than the events; record to a "
               "faster disk, or filter";
    }
    if (worse(stats_.late_blocks, warned_late_)) {
        return "the recording is behind, by a slow disk or for want of processor time: what happened reached the disk "
               "up to " +
               std::to_string(stats_.worst_delay.count()) + " ms later; a crash now would lose that much";
    }
    if (worse(stats_.dropped_files, warned_dropped_)) {
        return "the disk is full: the ring drops its oldest files (" + std::to_string(stats_.dropped_files) +
               " so far)";
    }
    return std::nullopt;
}

}  // namespace tcptrail::capture
