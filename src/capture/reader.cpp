// SPDX-License-Identifier: Apache-2.0
#include "capture/reader.h"

#include <algorithm>
#include <cstring>
#include <map>
#include <tuple>

#include "capture/layout.h"
#include "capture/names.h"
#include "capture/signature.h"

namespace tcptrail::capture {
namespace {

constexpr std::size_t SEARCH_BYTES = 64 << 10;

/// The block header at the front of `bytes`, if one stands there and can be trusted. `length` is its whole length.
bool read_header(std::span<const std::uint8_t> bytes, BlockHeader& header, std::size_t& length) {
    if (bytes.size() < sizeof header) return false;
    std::memcpy(&header, bytes.data(), sizeof header);
    if (header.mark != BLOCK_MARK || header.header_bytes < sizeof header) return false;
    length = header.header_bytes;
    if (length > MAX_HEADER_BYTES || length > bytes.size()) return false;
    const auto whole = bytes.first(length);
    if (header_check(whole) != load<std::uint64_t>(whole.data() + length - 8)) return false;
    return header.raw_bytes <= MAX_RAW_BYTES && header.packed_bytes <= MAX_PACKED_BYTES &&
           header.stored_bytes <= MAX_STORED_BYTES;
}

}  // namespace

Result<Reader::File> Reader::inspect(const std::string& path, bool alone) {
    auto window = ByteWindow::open(path);
    if (!window) return tl::unexpected(window.error());
    auto head = window->peek(MAX_HEADER_BYTES * 2);
    if (!head) return tl::unexpected(head.error());
    File file{path, std::nullopt, 0, 0, 0};
    if (!head->empty() || alone) {
        const auto signature = read_signature(path, *head);
        if (!signature) return tl::unexpected(signature.error());
        file.run = signature->header.run;
        file.begun_ns = signature->header.created_ns;
        file.sequence = signature->header.first_sequence;
        BlockHeader block;
        std::size_t length = 0;
        if (!signature->whole && read_header(head->subspan(signature->bytes), block, length)) {
            file.run = block.run;
            file.sequence = block.sequence;
        }
    }
    file.window = std::move(*window);
    return file;
}

Result<std::unique_ptr<Reader>> Reader::open(const std::vector<std::string>& paths) {
    std::unique_ptr<Reader> reader(new Reader());
    std::vector<std::string> names;
    for (const std::string& path : paths) {
        for (std::string& name : find_set(path)) names.push_back(std::move(name));
    }
    std::set<std::pair<std::uint64_t, std::uint64_t>> known;
    for (const std::string& name : names) {
        auto file = inspect(name, names.size() == 1);
        if (!file) return tl::unexpected(file.error());
        if (file->window->rereadable()) {
            if (!known.emplace(file->window->device(), file->window->inode()).second) continue;  // given twice
            file->window.reset();
        }
        reader->files_.push_back(std::move(*file));
    }
    if (reader->files_.empty()) return fail(Exit::usage, "no recording to read");
    reader->sort_files();
    return reader;
}

void Reader::sort_files() {
    std::map<std::uint64_t, std::uint64_t> begun;  // of each run
    for (const File& file : files_) {
        if (file.begun_ns == 0) continue;
        const auto [at, fresh] = begun.emplace(file.run, file.begun_ns);
        if (!fresh) at->second = std::min(at->second, file.begun_ns);
    }
    std::stable_sort(files_.begin(), files_.end(), [&](const File& a, const File& b) {
        const auto key = [&](const File& file) { return std::tuple(begun[file.run], file.run, file.sequence); };
        return key(a) < key(b);
    });
}

/// Opens the file at at_file_ and passes its header.
Result<void> Reader::next_file() {
    File& file = files_[at_file_];
    if (!file.window) {
        auto window = ByteWindow::open(file.path);
        if (!window) return tl::unexpected(window.error());
        file.window = std::move(*window);
    }
    window_ = std::move(file.window);
    file.window.reset();
    ++completeness_.files;
    lacking_ = false;
    const auto head = window_->peek(MAX_HEADER_BYTES);
    if (!head) return tl::unexpected(head.error());
    if (head->empty()) return {};  // one of several: its recorder was killed before it wrote anything
    const auto signature = read_signature(file.path, *head);
    if (!signature) return tl::unexpected(signature.error());
    if (signature->torn) {
        completeness_.torn_bytes += head->size();
        window_->skip(head->size());
    } else if (signature->whole) {
        window_->skip(signature->bytes);
    } else {
        const std::size_t length = std::min(head->size(), sizeof(FileHeader));
        damage(length);
        window_->skip(length);
    }
    return {};
}

void Reader::damage(std::uint64_t bytes) {
    ++completeness_.damaged_blocks;
    completeness_.skipped_bytes += bytes;
    gap_ = lacking_ = true;
}

/// Moves the window forward by at least one byte, to the next trustworthy block header or the end of the file.
Result<Reader::Passed> Reader::search() {
    Passed passed{false, 1};
    window_->skip(1);
    for (;;) {
        const auto bytes = window_->peek(SEARCH_BYTES);
        if (!bytes) return tl::unexpected(bytes.error());
        const void* mark = ::memmem(bytes->data(), bytes->size(), &BLOCK_MARK, sizeof BLOCK_MARK);
        std::size_t gone = 0;
        if (mark != nullptr) {
            gone = static_cast<std::size_t>(static_cast<const std::uint8_t*>(mark) - bytes->data());
        } else {
            // The window's last bytes may be the beginning of a mark, unless the file ends there.
            gone = bytes->size() < SEARCH_BYTES ? bytes->size() : bytes->size() - sizeof BLOCK_MARK + 1;
        }
        window_->skip(gone);
        passed.bytes += gone;
        const auto front = window_->peek(MAX_HEADER_BYTES);
        if (!front) return tl::unexpected(front.error());
        if (front->empty()) return passed;
        BlockHeader header;
        std::size_t length = 0;
        if (read_header(*front, header, length)) {
            passed.found = true;
            return passed;
        }
        if (mark != nullptr) {
            window_->skip(1);
            ++passed.bytes;
        }
    }
}

/// Passes bytes that are no block. False where the file ends with them.
Result<bool> Reader::pass_damage(bool torn_if_last) {
    const auto passed = search();
    if (!passed) return tl::unexpected(passed.error());
    if (!passed->found && torn_if_last) {
        completeness_.torn_bytes += passed->bytes;
    } else {
        damage(passed->bytes);
    }
    return passed->found;
}

/// Passes a block whose header is sound and whose payload is not: as a whole if a block or nothing follows it, else
/// (bytes are missing) to the next mark, wherever that is.
Result<void> Reader::pass_damaged_payload(std::size_t block_bytes) {
    const auto bytes = window_->peek(block_bytes + MAX_HEADER_BYTES);
    if (!bytes) return tl::unexpected(bytes.error());
    const auto rest = bytes->subspan(block_bytes);
    if (std::memcmp(rest.data(), &BLOCK_MARK, std::min(rest.size(), sizeof BLOCK_MARK)) == 0) {
        window_->skip(block_bytes);
        damage(block_bytes);
        return {};
    }
    if (auto found = pass_damage(false); !found) return tl::unexpected(found.error());
    return {};
}

/// Accounts for a block's place in the stream. False if its records need not be handed over.
bool Reader::follows(const BlockHeader& header) {
    if (!have_run_ || header.run != run_) {
        end_run();
        have_run_ = true;
        run_ = header.run;
        ++completeness_.runs;
        completeness_.blocks_before += header.sequence;
        next_sequence_ = header.sequence;
        gap_ = header.sequence > 0;
        in_preamble_ = false;
    }
    if (header.sequence < next_sequence_) {  // a copy of a file that was read before
        completeness_.repeated_records += header.records;
        return false;
    }
    const std::uint64_t missing = header.sequence - next_sequence_;
    next_sequence_ = header.sequence + 1;
    completeness_.missing_blocks += missing;
    completeness_.unwritten_records += header.unwritten;
    const bool lacks = missing > 0 || header.unwritten > 0;
    gap_ |= lacks;
    lacking_ |= lacks;
    continued_ = (header.flags & BLOCK_CONTINUED) != 0;

    const bool preamble = (header.flags & BLOCK_PREAMBLE) != 0;
    if (!preamble && in_preamble_) gap_ = in_preamble_ = false;
    if (preamble && !gap_) {
        completeness_.repeated_records += header.records;
        return false;
    }
    in_preamble_ = preamble;
    return true;
}

void Reader::hand_over(std::span<const std::uint8_t> raw, const RecordHandler& handler) {
    while (!raw.empty()) {
        const auto* record = reinterpret_cast<const tt_head*>(raw.data());
        if (raw.size() < sizeof *record || !sound(record->size, record->type, raw.size())) {
            damage(raw.size());
            return;
        }
        ++completeness_.records;
        if (lacking_ && !in_preamble_) {
            lacking_ = false;
            handler(tt_head{.size = sizeof(tt_head), .type = TT_GAP, .time = record->time});
        }
        ended_ = record->type == TT_END;
        handler(*record);
        raw = raw.subspan(record->size);
    }
}

/// Handles what stands at the window's front. False where the file is over.
Result<bool> Reader::read_block(const RecordHandler& handler) {
    auto bytes = window_->peek(MAX_HEADER_BYTES);
    if (!bytes) return tl::unexpected(bytes.error());
    if (bytes->empty()) return false;

    BlockHeader header;
    std::size_t length = 0;
    if (!read_header(*bytes, header, length)) {
        const bool mark = std::memcmp(bytes->data(), &BLOCK_MARK, std::min(bytes->size(), sizeof BLOCK_MARK)) == 0;
        return pass_damage(mark && bytes->size() < sizeof header);
    }
    const std::size_t whole = length + header.stored_bytes;
    bytes = window_->peek(whole);
    if (!bytes) return tl::unexpected(bytes.error());
    if (bytes->size() < whole) return pass_damage(true);

    const bool wanted = follows(header);
    if (wanted) {
        const char* why = nullptr;
        const auto raw = opener_.open(header, bytes->subspan(length, header.stored_bytes), why);
        if (why != nullptr) {
            if (auto passed = pass_damaged_payload(whole); !passed) return tl::unexpected(passed.error());
            return true;
        }
        window_->skip(whole);
        hand_over(raw, handler);
    } else {
        window_->skip(whole);
    }
    ++completeness_.blocks;
    return true;
}

Result<Poll> Reader::poll(std::chrono::milliseconds, const RecordHandler& handler) {
    if (!window_) {
        if (at_file_ == files_.size()) return Poll::end;
        if (auto opened = next_file(); !opened) return tl::unexpected(opened.error());
    }
    const auto more = read_block(handler);
    if (!more) return tl::unexpected(more.error());
    if (*more) return Poll::more;
    window_.reset();
    if (++at_file_ < files_.size()) return Poll::more;
    end_run();
    completeness_.truncated |= !have_run_;
    return Poll::end;
}

void Reader::end_run() {
    if (!have_run_) return;
    completeness_.truncated |= !ended_;
    completeness_.continued |= !ended_ && continued_;
    ended_ = continued_ = false;
}

}  // namespace tcptrail::capture
