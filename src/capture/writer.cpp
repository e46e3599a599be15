// SPDX-License-Identifier: Apache-2.0
#include "capture/writer.h"

#include <pthread.h>

#include <algorithm>
#include <csignal>
#include <new>

#include "capture/layout.h"
#include "capture/names.h"

namespace tcptrail::capture {
namespace {

constexpr std::uint64_t RING_FILE_BYTES = 100'000'000;
constexpr unsigned RING_FILES = 10;
constexpr std::chrono::milliseconds PROMISED_DELAY{1000};
constexpr double EXPECTED_SHRINK = 0.12;        // of the first block
constexpr std::size_t WRITE_BYTES = 128 << 10;  // of sealed blocks that go to the file together

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
    std::unique_lock lock(mutex_);
    if (error_) return tl::unexpected(*error_);
    if (!make_room(record)) {
        ++pending_unwritten_;
        ++stats_.unwritten;
        return {};
    }
    if (!in_preamble_ && current_.records == 0 && rotation_due()) begin_next_file(lock);
    put(record);
    return {};
}

bool Writer::rotation_due() const {
    if (begin_wanted_) return true;
    if (file_limit_ == 0) return false;
    // What waits to be compressed: expect it to shrink as what went before; little went before when a run begins.
    const auto block = static_cast<double>(options_.block_bytes);
    const double shrink = (static_cast<double>(sealed_bytes_ever_) + EXPECTED_SHRINK * block) /
                          (static_cast<double>(sealed_raw_ever_) + block);
    return static_cast<double>(sealed_in_file_) + static_cast<double>(queued_in_file_) * shrink >=
           static_cast<double>(file_limit_);
}

void Writer::begin_next_file(std::unique_lock<std::mutex>& lock) {
    ++file_;
    queued_in_file_ = sealed_in_file_ = 0;
    begin_wanted_ = false;
    if (!options_.on_new_file) return;
    in_preamble_ = true;
    lock.unlock();
    options_.on_new_file(*this);
    lock.lock();
    if (current_.records > 0) seal(true);
    in_preamble_ = false;
}

void Writer::start_block() {
    current_.born = Clock::now();
    current_.flags = in_preamble_ ? BLOCK_PREAMBLE : 0;
    current_.file = file_;
    current_.unwritten = std::exchange(pending_unwritten_, 0);
    if (current_.raw.capacity() == 0 && !spare_.empty()) {
        current_.raw = std::move(spare_.back());
        spare_.pop_back();
    }
    current_.raw.reserve(options_.block_bytes);
    work_.notify_one();  // there is a deadline now
}

bool Writer::seal(bool even_if_full) {
    const std::size_t bytes = current_.raw.size();
    if (!even_if_full && queued_bytes_ + bytes > options_.queue_bytes) return false;
    queued_bytes_ += bytes;
    if (current_.file == file_) queued_in_file_ += bytes;
    queue_.push_back(std::exchange(current_, Block{}));
    work_.notify_one();
    return true;
}

/// False where the queue is full, or the record is none.
bool Writer::make_room(const tt_head& record) {
    if (!sound(record.size, record.type, record.size)) return false;
    if (current_.records == 0) return true;
    // After a gap a new block begins: its header says how wide the gap is.
    if (pending_unwritten_ == 0 && current_.raw.size() + record.size <= options_.block_bytes) return true;
    return seal(record.type == TT_END);
}

void Writer::put(const tt_head& record) {
    if (current_.records == 0) {
        start_block();
        current_.first_ns = current_.last_ns = record.time;
    }
    const auto* bytes = reinterpret_cast<const std::uint8_t*>(&record);
    current_.raw.insert(current_.raw.end(), bytes, bytes + record.size);
    ++current_.records;
    current_.first_ns = std::min<std::uint64_t>(current_.first_ns, record.time);
    current_.last_ns = std::max<std::uint64_t>(current_.last_ns, record.time);
}

/// Takes full blocks, and the open one when its time has come, and compresses them.
void Writer::run_sealing() {
    block_signals();
    std::unique_lock lock(mutex_);
    for (;;) {
        if (queue_.empty()) {
            if (current_.records > 0 && (closing_ || Clock::now() >= current_.born + options_.flush_after)) {
                if (!seal(closing_)) {  // the disk takes nothing: the block goes on growing
                    work_.wait_for(lock, options_.flush_after);
                    continue;
                }
            } else if (closing_) {
                break;
            } else if (current_.records > 0) {
                work_.wait_until(lock, current_.born + options_.flush_after);
                continue;
            } else {
                work_.wait(lock);
                continue;
            }
        }
        Block block = std::move(queue_.front());
        queue_.pop_front();
        lock.unlock();
        auto sealed = seal_block(block);
        lock.lock();
        queued_bytes_ -= block.raw.size();
        if (block.file == file_) queued_in_file_ -= block.raw.size();
        if (sealed) {
            if (block.file == file_) sealed_in_file_ += sealed->bytes.size();
            sealed_raw_ever_ += block.raw.size();
            sealed_bytes_ever_ += sealed->bytes.size();
            queued_bytes_ += sealed->bytes.size();
            sealed_bytes_ += sealed->bytes.size();
            sealed_.push_back(std::move(*sealed));
            if (sealed_.size() == 1 || write_is_due()) write_work_.notify_one();
        } else {
            stats_.unwritten += block.records;
            if (!error_) error_ = sealed.error();
        }
        block.raw.clear();
        if (spare_.size() < 4) spare_.push_back(std::move(block.raw));
    }
    sealing_over_ = true;
    write_work_.notify_one();
}

/// Where a file begins with it, the old one ends with a block that says that it is whole.
Result<Writer::Sealed> Writer::seal_block(const Block& block) try {
    const auto copy = [](std::span<const std::uint8_t> bytes) { return std::vector(bytes.begin(), bytes.end()); };
    Sealed sealed;
    if (block.file != sealed_file_) {
        BlockHeader last;
        last.flags = BLOCK_CONTINUED;
        last.run = run_;
        last.sequence = sequence_++;
        last.first_ns = last.last_ns = block.first_ns;
        sealed.ending = copy(sealer_.seal({}, last));
        sealed_file_ = block.file;
    }
    BlockHeader header;
    header.flags = block.flags;
    header.records = block.records;
    header.run = run_;
    header.sequence = sequence_++;
    header.first_ns = block.first_ns;
    header.last_ns = block.last_ns;
    header.unwritten = block.unwritten;
    sealed.bytes = copy(sealer_.seal(block.raw, header));
    sealed.raw_bytes = block.raw.size();
    sealed.sequence = header.sequence;
    sealed.records = block.records;
    sealed.file = block.file;
    sealed.born = block.born;
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
        if (!done && !error_) error_ = done.error();
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
        stats_.unwritten += block.records;
        pending_unwritten_ += block.records;
    }
    written_file_ = open_file_;
    written_bytes_ = sink_.bytes();
    stats_.files = open_file_ + 1;
    stats_.dropped_files = sink_.dropped();
    file_limit_ = sink_.file_bytes();
    if (!written && !error_) error_ = written.error();
    if (!error_ && !sink_.is_open() && file_ == open_file_) begin_wanted_ = true;
}

Result<void> Writer::check() const {
    const std::lock_guard lock(mutex_);
    if (error_) return tl::unexpected(*error_);
    return {};
}

Result<void> Writer::close() {
    {
        const std::lock_guard lock(mutex_);
        closing_ = true;
        work_.notify_one();
    }
    for (std::thread& thread : threads_) thread.join();
    threads_.clear();
    return check();
}

WriterStats Writer::stats() const {
    const std::lock_guard lock(mutex_);
    return stats_;
}

std::optional<std::string> Writer::take_warning() {
    const std::lock_guard lock(mutex_);
    if (error_) return std::nullopt;  // the run ends with it
    const auto worse = [](std::uint64_t now, std::uint64_t& warned) {
        if (now == 0 || now < warned * 10) return false;
        warned = now;
        return true;
    };
    if (worse(stats_.unwritten, warned_unwritten_)) {
        return std::to_string(stats_.unwritten) +
               " records could not be written: the disk is slower than the events; record to a faster one, "
               "or filter";
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
