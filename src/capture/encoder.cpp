// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <bit>
#include <cstddef>

#include "capture/codec.h"
#include "capture/layout.h"

namespace tcptrail::capture {
namespace {

constexpr std::uint64_t zigzag(std::uint64_t delta) {
    return (delta << 1) ^ static_cast<std::uint64_t>(static_cast<std::int64_t>(delta) >> 63);
}

template <typename T>
void put(std::vector<std::uint8_t>& out, T value) {
    const auto* bytes = reinterpret_cast<const std::uint8_t*>(&value);
    out.insert(out.end(), bytes, bytes + sizeof value);
}

/// column := base, mask of the byte positions that vary, one plane for each of these.
void put_column(std::vector<std::uint8_t>& out, std::span<const std::uint64_t> values) {
    std::uint64_t varying = 0;
    for (const std::uint64_t value : values) varying |= value ^ values.front();
    std::uint8_t mask = 0;
    std::uint64_t base = values.empty() ? 0 : values.front();
    for (int byte = 0; byte < 8; ++byte) {
        const auto here = std::uint64_t{0xff} << (8 * byte);
        if ((varying & here) == 0) continue;
        mask |= static_cast<std::uint8_t>(1 << byte);
        base &= ~here;
    }
    put(out, base);
    put(out, mask);
    static_assert(std::endian::native == std::endian::little);  // as the file is
    const auto* const bytes = reinterpret_cast<const std::uint8_t*>(values.data());
    for (std::size_t byte = 0; byte < 8; ++byte) {
        if ((mask >> byte & 1) == 0) continue;
        const std::size_t begin = out.size();
        out.resize(begin + values.size());
        std::uint8_t* const plane = out.data() + begin;
        for (std::size_t row = 0; row < values.size(); ++row) plane[row] = bytes[row * 8 + byte];
    }
}

}  // namespace

ColumnEncoder::Seen& ColumnEncoder::find(std::uint64_t cookie) {
    const std::size_t mask = seen_.size() - 1;
    // The kernel counts cookies up: sixteen neighbours stand side by side, in the same few cache lines.
    std::size_t slot = ((cookie >> 4) * 0x9e37'79b9'7f4a'7c15u >> 32 << 4 | (cookie & 15)) & mask;
    while (seen_[slot].stamp == stamp_ && seen_[slot].cookie != cookie) slot = (slot + 1) & mask;
    return seen_[slot];
}

int ColumnEncoder::kind_of(std::uint8_t type, std::uint16_t size) {
    if (last_of_type_[type] < kinds_used_) {  // nearly always
        const Kind& last = kinds_[last_of_type_[type]];
        if (last.type == type && last.size == size) return last_of_type_[type];
    }
    std::size_t at = 0;
    while (at < kinds_used_ && (kinds_[at].type != type || kinds_[at].size != size)) ++at;
    if (at == 255) return -1;
    if (at == kinds_used_) {
        if (at == kinds_.size()) kinds_.emplace_back();
        kinds_[at].type = type;
        kinds_[at].size = size;
        kinds_[at].rows.clear();
        ++kinds_used_;
    }
    last_of_type_[type] = static_cast<std::uint8_t>(at);
    return static_cast<int>(at);
}

std::uint64_t ColumnEncoder::actor_code(std::uint64_t actor, std::uint64_t before) {
    if (actor == 0) return 0;
    if (actor == before) return 1;
    const auto found = std::find(actors_.rbegin(), actors_.rend(), actor);
    if (found != actors_.rend()) return 2 + static_cast<std::uint64_t>(actors_.rend() - found - 1);
    actors_.push_back(actor);
    return 1 + actors_.size();
}

/// Words 0 and 3 of a record with a cookie, as the columns hold them.
ColumnEncoder::Words ColumnEncoder::predict(const std::uint8_t* record, const tt_head& head) {
    const auto cookie = load<std::uint64_t>(record + 16);
    const auto row = static_cast<std::uint32_t>(rows_.size());
    Context now{0, 0, 0};

    Seen& seen = find(cookie);
    if (seen.stamp == stamp_) {
        backs_.push_back(row - seen.row);
        now = rows_[seen.row];
    } else {
        backs_.push_back(0);
        cookies_.push_back(zigzag(cookie - last_new_cookie_));
        last_new_cookie_ = cookie;
    }
    seen = {cookie, row, stamp_};

    static_assert(offsetof(tt_head, old_state) == 4 && offsetof(tt_head, lport) == 6);
    Words words{load<std::uint64_t>(record) ^ std::uint64_t{now.state} << 32 ^ std::uint64_t{now.lport} << 48, 0};
    if (has_actor(head.type, head.size)) {
        const auto actor = load<std::uint64_t>(record + 24);
        words.actor = actor_code(actor, now.actor);
        if (actor != 0) now.actor = actor;
    }
    if (head.new_state != 0) now.state = head.new_state;
    if (head.lport != 0) now.lport = head.lport;
    rows_.push_back(now);
    return words;
}

bool ColumnEncoder::split(std::span<const std::uint8_t> raw, std::uint32_t records, std::uint64_t first_ns) {
    const std::size_t slots = std::bit_ceil(std::size_t{records} * 2 + 2);
    if (seen_.size() < slots) {
        seen_.assign(slots, Seen{0, 0, 0});
        stamp_ = 0;
    }
    if (++stamp_ == 0) {
        std::fill(seen_.begin(), seen_.end(), Seen{0, 0, 0});
        stamp_ = 1;
    }
    kinds_used_ = 0;
    last_new_cookie_ = 0;
    order_.clear();
    words_.clear();
    rows_.clear();
    for (auto* column : {&times_, &backs_, &cookies_, &actors_}) column->clear();

    std::uint64_t time = first_ns;
    for (std::size_t at = 0; at < raw.size();) {
        const std::uint8_t* const record = raw.data() + at;
        const auto head = load<tt_head>(record);
        const int kind = kind_of(head.type, head.size);
        if (kind < 0) return false;
        order_.push_back(static_cast<std::uint8_t>(kind));
        kinds_[static_cast<std::size_t>(kind)].rows.push_back(
            {static_cast<std::uint32_t>(at), static_cast<std::uint32_t>(words_.size())});
        times_.push_back(zigzag(head.time - time));
        time = head.time;
        words_.push_back(has_cookie(head.type, head.size) ? predict(record, head)
                                                          : Words{load<std::uint64_t>(record), 0});
        at += head.size;
    }
    return order_.size() == records;
}

/// The column of a kind's word at `byte`, into column_.
void ColumnEncoder::gather(std::span<const std::uint8_t> raw, const Kind& kind, std::size_t byte) {
    column_.resize(kind.rows.size());
    std::uint64_t* out = column_.data();
    if (byte == 0) {
        for (const Row& row : kind.rows) *out++ = words_[row.record].head;
    } else if (byte == 24 && has_actor(kind.type, kind.size)) {
        for (const Row& row : kind.rows) *out++ = words_[row.record].actor;
    } else {
        for (const Row& row : kind.rows) *out++ = load<std::uint64_t>(raw.data() + row.offset + byte);
    }
}

bool ColumnEncoder::encode(std::span<const std::uint8_t> raw, std::uint32_t records, std::uint64_t first_ns,
                           std::vector<std::uint8_t>& out) {
    out.clear();
    if (!split(raw, records, first_ns)) return false;

    put(out, static_cast<std::uint32_t>(kinds_used_));
    put(out, static_cast<std::uint32_t>(actors_.size()));
    for (std::size_t i = 0; i < kinds_used_; ++i) {
        put(out, kinds_[i].type);
        put(out, std::uint8_t{0});
        put(out, kinds_[i].size);
        put(out, static_cast<std::uint32_t>(kinds_[i].rows.size()));
    }
    for (const std::uint64_t actor : actors_) put(out, actor);
    out.insert(out.end(), order_.begin(), order_.end());
    put_column(out, times_);
    put_column(out, backs_);
    put_column(out, cookies_);
    for (std::size_t i = 0; i < kinds_used_; ++i) {
        const Kind& kind = kinds_[i];
        for (std::size_t byte = 0; byte < kind.size; byte += 8) {
            if (byte == 8 || (byte == 16 && has_cookie(kind.type, kind.size))) continue;
            gather(raw, kind, byte);
            put_column(out, column_);
        }
    }
    return true;
}

}  // namespace tcptrail::capture
