// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <bit>

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
void put_column(std::vector<std::uint8_t>& out, const std::vector<std::uint64_t>& values) {
    const std::uint64_t first = values.empty() ? 0 : values.front();
    std::uint64_t varying = 0;
    for (const std::uint64_t value : values) varying |= value ^ first;
    std::uint8_t mask = 0;
    std::uint64_t base = first;
    for (int byte = 0; byte < 8; ++byte) {
        const auto here = std::uint64_t{0xff} << (8 * byte);
        if ((varying & here) == 0) continue;
        mask |= static_cast<std::uint8_t>(1 << byte);
        base &= ~here;
    }
    put(out, base);
    put(out, mask);
    for (int byte = 0; byte < 8; ++byte) {
        if ((mask >> byte & 1) == 0) continue;
        const std::size_t begin = out.size();
        out.resize(begin + values.size());
        std::uint8_t* const plane = out.data() + begin;
        for (std::size_t row = 0; row < values.size(); ++row) {
            plane[row] = static_cast<std::uint8_t>(values[row] >> (8 * byte));
        }
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
    for (std::size_t i = 0; i < kinds_used_; ++i) {
        if (kinds_[i].type == type && kinds_[i].size == size) return static_cast<int>(i);
    }
    if (kinds_used_ == 255) return -1;
    if (kinds_used_ == kinds_.size()) kinds_.emplace_back();
    kinds_[kinds_used_].type = type;
    kinds_[kinds_used_].size = size;
    kinds_[kinds_used_].offsets.clear();
    return static_cast<int>(kinds_used_++);
}

std::uint64_t ColumnEncoder::actor_code(std::uint64_t actor, std::uint64_t before) {
    if (actor == 0) return 0;
    if (actor == before) return 1;
    const auto found = std::find(actors_.rbegin(), actors_.rend(), actor);
    if (found != actors_.rend()) return 2 + static_cast<std::uint64_t>(actors_.rend() - found - 1);
    actors_.push_back(actor);
    return 1 + actors_.size();
}

void ColumnEncoder::predict_cookie(std::uint8_t* record) {
    const auto head = load<tt_head>(record);
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

    tt_head coded = head;
    coded.old_state ^= now.state;
    coded.lport ^= now.lport;
    store(record, coded);
    if (has_actor(head.type, head.size)) {
        const auto actor = load<std::uint64_t>(record + 24);
        store(record + 24, actor_code(actor, now.actor));
        if (actor != 0) now.actor = actor;
    }
    if (head.new_state != 0) now.state = head.new_state;
    if (head.lport != 0) now.lport = head.lport;
    rows_.push_back(now);
}

bool ColumnEncoder::split(std::span<const std::uint8_t> raw, std::uint32_t records, std::uint64_t first_ns) {
    work_.assign(raw.begin(), raw.end());
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
    rows_.clear();
    for (auto* column : {&times_, &backs_, &cookies_, &actors_}) column->clear();

    std::uint64_t time = first_ns;
    for (std::size_t at = 0; at < work_.size();) {
        std::uint8_t* record = work_.data() + at;
        const auto head = load<tt_head>(record);
        const int kind = kind_of(head.type, head.size);
        if (kind < 0) return false;
        order_.push_back(static_cast<std::uint8_t>(kind));
        kinds_[static_cast<std::size_t>(kind)].offsets.push_back(static_cast<std::uint32_t>(at));
        times_.push_back(zigzag(head.time - time));
        time = head.time;
        if (has_cookie(head.type, head.size)) predict_cookie(record);
        at += head.size;
    }
    return order_.size() == records;
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
        put(out, static_cast<std::uint32_t>(kinds_[i].offsets.size()));
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
            column_.clear();
            for (const std::uint32_t offset : kind.offsets)
                column_.push_back(load<std::uint64_t>(&work_[offset + byte]));
            put_column(out, column_);
        }
    }
    return true;
}

}  // namespace tcptrail::capture
