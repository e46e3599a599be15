// SPDX-License-Identifier: Apache-2.0
// Whole records one behind the other, each at an address that is a multiple of 8.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <ctime>
#include <string_view>
#include <vector>

#include <tcptrail/wire.h>

namespace tcptrail::collect {

/// A clock's time in ns.
inline std::uint64_t clock_ns(clockid_t clock) {
    timespec now{};
    clock_gettime(clock, &now);
    return static_cast<std::uint64_t>(now.tv_sec) * 1'000'000'000ULL + static_cast<std::uint64_t>(now.tv_nsec);
}

/// CLOCK_MONOTONIC in ns, as bpf_ktime_get_ns gives it.
inline std::uint64_t monotonic_ns() {
    return clock_ns(CLOCK_MONOTONIC);
}

/// A head for records that the collector makes; the size is filled in on appending.
inline tt_head make_head(tt_type type, unsigned flags = 0, std::uint64_t time = monotonic_ns()) {
    tt_head head{};
    head.type = static_cast<tt_u8>(type);
    head.flags = static_cast<tt_u8>(flags);
    head.time = time;
    return head;
}

/// Owns copies of records. References to its records end with the next append or clear.
class RecordBuffer {
public:
    void append(const void* record, std::size_t bytes) {
        const std::size_t at = words_.size();
        words_.resize(at + (bytes + 7) / 8);
        std::memcpy(&words_[at], record, bytes);
    }

    void append(const tt_head& record) { append(&record, record.size); }

    /// A record of the collector's, with the text that follows it; padded with zero bytes, cut at 64 KiB.
    template <typename Record>
    void append_with_text(Record record, std::string_view text) {
        text = text.substr(0, std::min(text.size(), std::size_t{65'528} - sizeof(Record)));
        const std::size_t words = (sizeof(Record) + text.size() + 7) / 8;
        const auto size = static_cast<tt_u16>(words * 8);
        std::memcpy(&record, &size, sizeof(size));
        const std::size_t at = words_.size();
        words_.resize(at + words);
        auto* out = reinterpret_cast<std::byte*>(&words_[at]);
        std::memcpy(out, &record, sizeof(record));
        if (!text.empty()) std::memcpy(out + sizeof(record), text.data(), text.size());
    }

    template <typename Record>
    void append_record(const Record& record) {
        append_with_text(record, {});
    }

    bool empty() const { return words_.empty(); }
    std::size_t words() const { return words_.size(); }
    void clear() { words_.clear(); }

    /// The record that starts at `word`; the next one starts size / 8 words later.
    const tt_head& at(std::size_t word) const { return *reinterpret_cast<const tt_head*>(&words_[word]); }

private:
    std::vector<std::uint64_t> words_;
};

/// Each record of the buffer, in order; the buffer must not change meanwhile.
template <typename Take>
void for_each_record(const RecordBuffer& buffer, Take&& take) {
    for (std::size_t at = 0; at < buffer.words(); at += buffer.at(at).size / 8) take(buffer.at(at));
}

/// Hands both buffers' records over by time; within each the order stays. `first` goes first where times are equal.
template <typename Take>
void merge_records(const RecordBuffer& first, const RecordBuffer& second, Take&& take) {
    std::size_t a = 0;
    std::size_t b = 0;
    while (a < first.words() || b < second.words()) {
        const bool from_first = b >= second.words() || (a < first.words() && first.at(a).time <= second.at(b).time);
        const tt_head& record = from_first ? first.at(a) : second.at(b);
        (from_first ? a : b) += record.size / 8;
        take(record);
    }
}

}  // namespace tcptrail::collect
