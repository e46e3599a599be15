// SPDX-License-Identifier: Apache-2.0
// The column encoding of a block (FORMAT.md, "Columns"): records to bytes that zstd can squeeze, and back, exactly.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include <tcptrail/wire.h>

namespace tcptrail::capture {

/// Encodes whole records. Keeps its tables from block to block; one thread.
class ColumnEncoder {
public:
    /// Replaces `out` by the columns of `raw` (`records` whole records). False where the block cannot be
    /// held in columns (more than 255 kinds of record): store it verbatim.
    bool encode(std::span<const std::uint8_t> raw, std::uint32_t records, std::uint64_t first_ns,
                std::vector<std::uint8_t>& out);

private:
    struct Seen {
        std::uint64_t cookie;
        std::uint32_t row;    // of the cookie's latest record
        std::uint32_t stamp;  // equal to stamp_ if of this block
    };
    struct Row {
        std::uint32_t offset;  // in the block
        std::uint32_t record;  // counted from 0
    };
    struct Kind {
        std::uint8_t type;
        std::uint16_t size;
        std::vector<Row> rows;
    };
    struct Words {
        std::uint64_t head, actor;
    };

    Seen& find(std::uint64_t cookie);
    int kind_of(std::uint8_t type, std::uint16_t size);
    bool split(std::span<const std::uint8_t> raw, std::uint32_t records, std::uint64_t first_ns);
    std::uint64_t actor_code(std::uint64_t actor, std::uint64_t before);
    Words predict(const std::uint8_t* record, const tt_head& head);
    void gather(std::span<const std::uint8_t> raw, const Kind& kind, std::size_t byte);

    std::vector<Seen> seen_;
    std::uint32_t stamp_ = 0;
    std::vector<Kind> kinds_;
    std::size_t kinds_used_ = 0;
    std::array<std::uint8_t, 256> last_of_type_{};  // index of the kind that a record of this type was last
    std::vector<Words> words_;                      // of each record, the predictable ones replaced
    std::vector<std::uint8_t> order_;               // kind of each record
    std::vector<std::uint64_t> times_, backs_, cookies_, actors_;
    std::vector<std::uint64_t> column_;  // at hand
    std::uint64_t last_new_cookie_ = 0;
    struct Context {
        std::uint64_t actor;
        std::uint16_t lport;
        std::uint8_t state;
    };
    std::vector<Context> rows_;  // one for each record with a cookie
};

class Cursor;

/// Decodes columns. Keeps its tables from block to block; one thread.
class ColumnDecoder {
public:
    /// Fills `out`, whose size is the block's raw size, with `records` records; each one's size and type are
    /// sound afterwards. False if `packed` is not what an encoder writes.
    bool decode(std::span<const std::uint8_t> packed, std::uint32_t records, std::uint64_t first_ns,
                std::span<std::uint8_t> out);

private:
    struct Kind {
        std::uint8_t type;
        std::uint16_t size;
        std::uint32_t count, begin, filled;  // rows begin.. of by_kind_
    };
    bool read_kinds(Cursor& in, std::uint32_t records, std::size_t raw_bytes);
    bool read_order(Cursor& in, std::uint32_t records);
    bool restore_cookies(std::span<std::uint8_t> out);

    std::vector<Kind> kinds_;
    std::vector<std::uint32_t> offsets_, by_kind_, cookie_rows_;
    std::vector<std::uint64_t> actors_, column_, cookies_;
    struct Context {
        std::uint64_t cookie, actor;
        std::uint16_t lport;
        std::uint8_t state;
    };
    std::vector<Context> rows_;
};

}  // namespace tcptrail::capture
