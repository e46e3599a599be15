// SPDX-License-Identifier: Apache-2.0
#include <array>
#include <bit>

#include "capture/codec.h"
#include "capture/layout.h"

namespace tcptrail::capture {

/// Takes bytes from the front of the packed bytes; never past their end.
class Cursor {
public:
    explicit Cursor(std::span<const std::uint8_t> bytes) : bytes_(bytes) {}

    template <typename T>
    bool take(T& value) {
        if (bytes_.size() < sizeof value) return false;
        value = load<T>(bytes_.data());
        bytes_ = bytes_.subspan(sizeof value);
        return true;
    }

    /// The next `count` bytes, or nullptr where there are fewer.
    const std::uint8_t* take_bytes(std::size_t count) {
        if (bytes_.size() < count) return nullptr;
        const std::uint8_t* at = bytes_.data();
        bytes_ = bytes_.subspan(count);
        return at;
    }

    bool at_end() const { return bytes_.empty(); }

private:
    std::span<const std::uint8_t> bytes_;
};

namespace {

constexpr std::uint64_t unzigzag(std::uint64_t code) {
    return (code >> 1) ^ (0 - (code & 1));
}

/// Gives every row's value to `put(row, value)`.
template <typename Put>
bool take_column(Cursor& in, std::size_t rows, Put put) {
    std::uint64_t base = 0;
    std::uint8_t mask = 0;
    if (!in.take(base) || !in.take(mask)) return false;
    std::array<const std::uint8_t*, 8> plane{};
    std::array<int, 8> shift{};
    int planes = 0;
    for (int byte = 0; byte < 8; ++byte) {
        if ((mask >> byte & 1) == 0) continue;
        shift[planes] = 8 * byte;
        plane[planes] = in.take_bytes(rows);
        if (plane[planes++] == nullptr) return false;
    }
    const auto part = [&](int p, std::size_t row) { return std::uint64_t{plane[p][row]} << shift[p]; };
    switch (planes) {
        case 0:
            for (std::size_t row = 0; row < rows; ++row) put(row, base);
            return true;
        case 1:
            for (std::size_t row = 0; row < rows; ++row) put(row, base | part(0, row));
            return true;
        case 2:
            for (std::size_t row = 0; row < rows; ++row) put(row, base | part(0, row) | part(1, row));
            return true;
        case 3:
            for (std::size_t row = 0; row < rows; ++row) {
                put(row, base | part(0, row) | part(1, row) | part(2, row));
            }
            return true;
        default:
            for (std::size_t row = 0; row < rows; ++row) {
                std::uint64_t value = base;
                for (int p = 0; p < planes; ++p) value |= part(p, row);
                put(row, value);
            }
            return true;
    }
}

}  // namespace

bool ColumnDecoder::read_kinds(Cursor& in, std::uint32_t records, std::size_t raw_bytes) {
    std::uint32_t kinds = 0;
    std::uint32_t actors = 0;
    if (!in.take(kinds) || !in.take(actors) || kinds > 255 || actors > records) return false;
    kinds_.clear();
    std::uint64_t rows = 0;
    std::uint64_t bytes = 0;
    for (std::uint32_t i = 0; i < kinds; ++i) {
        Kind kind{};
        std::uint8_t reserved = 0;
        if (!in.take(kind.type) || !in.take(reserved) || !in.take(kind.size) || !in.take(kind.count)) return false;
        if (!sound(kind.size, kind.type, raw_bytes)) return false;
        kind.begin = static_cast<std::uint32_t>(rows);
        rows += kind.count;
        bytes += std::uint64_t{kind.count} * kind.size;
        if (rows > records || bytes > raw_bytes) return false;
        kinds_.push_back(kind);
    }
    if (rows != records || bytes != raw_bytes) return false;
    actors_.resize(actors);
    for (std::uint64_t& actor : actors_) {
        if (!in.take(actor)) return false;
    }
    return true;
}

bool ColumnDecoder::read_order(Cursor& in, std::uint32_t records) {
    const std::uint8_t* order = in.take_bytes(records);
    if (order == nullptr) return false;
    offsets_.resize(records);
    by_kind_.resize(records);
    cookie_rows_.clear();
    std::uint32_t at = 0;
    for (std::uint32_t row = 0; row < records; ++row) {
        if (order[row] >= kinds_.size()) return false;
        Kind& kind = kinds_[order[row]];
        if (kind.filled == kind.count) return false;
        by_kind_[kind.begin + kind.filled++] = at;
        offsets_[row] = at;
        if (has_cookie(kind.type, kind.size)) cookie_rows_.push_back(at);
        at += kind.size;
    }
    return true;
}

/// With all other words in place: what was predicted from the cookie's record before becomes itself again.
bool ColumnDecoder::restore_cookies(std::span<std::uint8_t> out) {
    rows_.resize(cookie_rows_.size());
    std::size_t next_cookie = 0;
    std::uint64_t last_new_cookie = 0;
    for (std::size_t row = 0; row < cookie_rows_.size(); ++row) {
        std::uint8_t* record = out.data() + cookie_rows_[row];
        const std::uint64_t back = column_[row];
        Context now{0, 0, 0, 0};
        if (back == 0) {
            last_new_cookie += unzigzag(cookies_[next_cookie++]);
            now.cookie = last_new_cookie;
        } else {
            now = rows_[row - back];
        }
        auto head = load<tt_head>(record);
        head.old_state ^= now.state;
        head.lport ^= now.lport;
        store(record, head);
        store(record + 16, now.cookie);
        if (head.new_state != 0) now.state = head.new_state;
        if (head.lport != 0) now.lport = head.lport;
        if (has_actor(head.type, head.size)) {
            auto actor = load<std::uint64_t>(record + 24);
            if (actor >= 2) {
                if (actor - 2 >= actors_.size()) return false;
                actor = actors_[actor - 2];
            } else if (actor == 1) {
                actor = now.actor;
            }
            store(record + 24, actor);
            if (actor != 0) now.actor = actor;
        }
        rows_[row] = now;
    }
    return true;
}

bool ColumnDecoder::decode(std::span<const std::uint8_t> packed, std::uint32_t records, std::uint64_t first_ns,
                           std::span<std::uint8_t> out) {
    Cursor in(packed);
    if (!read_kinds(in, records, out.size()) || !read_order(in, records)) return false;

    std::uint64_t time = first_ns;
    if (!take_column(in, records, [&](std::size_t row, std::uint64_t value) {
            time += unzigzag(value);
            store(out.data() + offsets_[row] + 8, time);
        })) {
        return false;
    }
    column_.resize(cookie_rows_.size());
    std::size_t new_cookies = 0;
    bool within = true;
    if (!take_column(in, column_.size(), [&](std::size_t row, std::uint64_t back) {
            column_[row] = back;
            new_cookies += back == 0;
            within &= back <= row;
        })) {
        return false;
    }
    if (!within) return false;
    cookies_.resize(new_cookies);
    if (!take_column(in, new_cookies, [&](std::size_t row, std::uint64_t value) { cookies_[row] = value; })) {
        return false;
    }
    for (const Kind& kind : kinds_) {
        const std::uint32_t* offset = by_kind_.data() + kind.begin;
        const std::uint64_t framing = kind.size | std::uint64_t{kind.type} << 16;
        for (std::size_t byte = 0; byte < kind.size; byte += 8) {
            if (byte == 8 || (byte == 16 && has_cookie(kind.type, kind.size))) continue;
            std::uint8_t* base = out.data() + byte;
            const std::uint64_t keep = byte == 0 ? ~std::uint64_t{0xff'ffff} : ~std::uint64_t{0};
            const std::uint64_t set = byte == 0 ? framing : 0;
            if (!take_column(in, kind.count, [&](std::size_t row, std::uint64_t value) {
                    store(base + offset[row], (value & keep) | set);
                })) {
                return false;
            }
        }
    }
    return in.at_end() && restore_cookies(out);
}

}  // namespace tcptrail::capture
