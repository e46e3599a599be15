// SPDX-License-Identifier: Apache-2.0
#include "recorder.h"

#include <cstring>
#include <utility>

#include <tcptrail/record_text.h>

namespace tcptrail {
namespace {

std::vector<std::uint64_t> copy_of(const tt_head& record) {
    std::vector<std::uint64_t> words(record.size / 8);
    std::memcpy(words.data(), &record, words.size() * 8);
    return words;
}

const tt_head& head_of(const std::vector<std::uint64_t>& words) {
    return *reinterpret_cast<const tt_head*>(words.data());
}

/// The start record of a later file: its time is the file's, and a line more says when the run began.
std::vector<std::uint64_t> start_of_file(const std::vector<std::uint64_t>& start, std::uint64_t time) {
    const auto& original = reinterpret_cast<const tt_start&>(head_of(start));
    std::string text(text_after(original));
    text += std::string(run_start_key) + "=" + std::to_string(original.head.time) + "\n";
    const std::size_t words = (sizeof(tt_start) + text.size() + 7) / 8;
    if (words * 8 > 65'528) {
        return start;
    }
    tt_start record = original;
    record.head.size = static_cast<tt_u16>(words * 8);
    record.head.time = time;
    std::vector<std::uint64_t> bytes(words);
    std::memcpy(bytes.data(), &record, sizeof record);
    std::memcpy(reinterpret_cast<char*>(bytes.data()) + sizeof record, text.data(), text.size());
    return bytes;
}

}  // namespace

void Preamble::learn(const tt_head& record) {
    switch (record.type) {
        case TT_START: start_ = copy_of(record); break;
        case TT_PROCESS: {
            const auto& process = reinterpret_cast<const tt_process&>(record);
            constexpr std::uint64_t tid_bits = (std::uint64_t{1} << 22) - 1;
            processes_[process.id & tid_bits & (process_slots - 1)] = process;
            break;
        }
        case TT_CGROUP: {
            const auto& cgroup = reinterpret_cast<const tt_cgroup&>(record);
            const bool container = (record.flags & TT_F_CONTAINER) != 0;
            const std::uint64_t key = container ? ~cgroup.start_ns : cgroup.id;
            if (names_.insert_or_assign(key, copy_of(record)).second) {
                names_order_.push_back(key);
            }
            if (names_order_.size() > most_names) {
                names_.erase(names_order_.front());
                names_order_.pop_front();
            }
            break;
        }
        case TT_COUNTERS: counters_ = reinterpret_cast<const tt_counters&>(record); break;
        default: break;  // sockets, holders and settings come with the file's own snapshot
    }
}

void Preamble::write(capture::Writer& writer, std::uint64_t time) const {
    if (start_.empty()) {
        return;
    }
    // A failure of the writer is told by its check().
    (void)writer.append(head_of(start_of_file(start_, time)));
    for (const std::uint64_t key : names_order_) {
        (void)writer.append(head_of(names_.at(key)));
    }
    for (const std::optional<tt_process>& process : processes_) {
        if (process) {
            (void)writer.append(process->head);
        }
    }
    tt_counters counters = counters_;
    counters.head.type = TT_COUNTERS;
    counters.head.size = sizeof counters;
    counters.head.time = time;
    (void)writer.append(counters.head);
}

Result<std::unique_ptr<Recorder>> Recorder::open(const RecorderOptions& options) {
    std::unique_ptr<Recorder> recorder(new Recorder());
    capture::WriterOptions wanted;
    wanted.path = options.path;
    wanted.file_bytes = options.file_bytes;
    wanted.files = options.files;
    wanted.ring = options.ring;
    wanted.on_new_file = [self = recorder.get()](capture::Writer& writer) {
        self->preamble_.write(writer, self->now_);
        self->wants_snapshot_ = true;
    };
    auto writer = capture::Writer::open(std::move(wanted));
    if (!writer) {
        return tl::unexpected(writer.error());
    }
    recorder->writer_ = std::move(*writer);
    return recorder;
}

void Recorder::take(const tt_head& record) {
    if (error_) {
        return;
    }
    now_ = record.time;
    const bool of_snapshot =
        record.type == TT_SNAPSHOT || record.type == TT_SOCKET || record.type == TT_HOLDER || record.type == TT_NETNS;
    (of_snapshot ? snapshot_bytes_ : event_bytes_) += record.size;
    if (auto taken = writer_->append(record); !taken) {
        error_ = taken.error();
    }
    preamble_.learn(record);
}

bool Recorder::take_snapshot_wish() {
    constexpr std::uint64_t second = 1'000'000'000;
    if (!wants_snapshot_ || now_ < last_wish_ + second || event_bytes_ < snapshot_bytes_) {
        return false;
    }
    wants_snapshot_ = false;
    event_bytes_ = snapshot_bytes_ = 0;
    last_wish_ = now_;
    return true;
}

const std::optional<Error>& Recorder::error() {
    if (!error_) {
        if (auto well = writer_->check(); !well) {
            error_ = well.error();
        }
    }
    return error_;
}

Result<void> Recorder::close() {
    auto closed = writer_->close();
    return error_ ? tl::unexpected(*error_) : closed;
}

}  // namespace tcptrail
