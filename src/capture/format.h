// SPDX-License-Identifier: Apache-2.0
// The bytes of a recording, as FORMAT.md defines them: a file header, then blocks. Little endian only.
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>

namespace tcptrail::capture {

static_assert(std::endian::native == std::endian::little, "recordings are little endian: port the codec first");

inline constexpr std::uint64_t FILE_MAGIC = 0x0a6c'6961'7274'7489;      // bytes 89 't' 't' 'r' 'a' 'i' 'l' 0a
inline constexpr std::uint64_t BLOCK_MARK = 0xe3'9d'b7'4b'54'54'c5'9a;  // bytes 9a c5 'T' 'T' 'K' b7 9d e3

inline constexpr std::uint16_t FORMAT_MAJOR = 1;  // a reader refuses a newer one
inline constexpr std::uint16_t FORMAT_MINOR = 0;  // a reader accepts any

inline constexpr std::uint8_t ORDER_LITTLE = 1;
inline constexpr std::uint8_t ORDER_BIG = 2;

/// What a reader must be ready to hold; a block that claims more is damaged.
inline constexpr std::uint32_t MAX_RAW_BYTES = 4u << 20;
inline constexpr std::uint32_t MAX_PACKED_BYTES = 8u << 20;
inline constexpr std::uint32_t MAX_STORED_BYTES = 8u << 20;
inline constexpr std::uint16_t MAX_HEADER_BYTES = 1024;

/// At offset 0 of every file.
struct FileHeader {
    std::uint64_t magic = FILE_MAGIC;
    std::uint8_t order = ORDER_LITTLE;
    std::uint8_t reserved0 = 0;
    std::uint16_t header_bytes = 64;  // the whole header; `check` is always its last 8 bytes
    std::uint16_t major = FORMAT_MAJOR;
    std::uint16_t minor = FORMAT_MINOR;
    std::uint64_t created_ns = 0;      // CLOCK_REALTIME when the file was begun
    std::uint64_t run = 0;             // random, the same in all files of one run
    std::uint64_t file = 0;            // counts the run's files from 0, those that a ring dropped included
    std::uint64_t first_sequence = 0;  // of the file's first block
    std::uint64_t reserved1 = 0;
    std::uint64_t check = 0;  // XXH64 of the header before it
};
static_assert(sizeof(FileHeader) == 64);

enum class Encoding : std::uint8_t {
    verbatim = 0,  // the packed bytes are the records
    columns = 1,   // the packed bytes become the records by codec.h
};

enum BlockFlags : std::uint8_t {
    BLOCK_PREAMBLE = 1 << 0,   // repeats what the run has said before, for a reader who begins with this file
    BLOCK_CONTINUED = 1 << 1,  // nothing follows in this file; the run goes on in the next one
};

/// Before every block's stored bytes.
struct BlockHeader {
    std::uint64_t mark = BLOCK_MARK;
    std::uint16_t header_bytes = 88;  // the whole header; `check` is always its last 8 bytes
    Encoding encoding = Encoding::verbatim;
    std::uint8_t flags = 0;          // BlockFlags
    std::uint32_t records = 0;       // in this block
    std::uint32_t stored_bytes = 0;  // that follow the header: one zstd frame
    std::uint32_t packed_bytes = 0;  // that the zstd frame gives
    std::uint32_t raw_bytes = 0;     // of the records
    std::uint32_t reserved = 0;
    std::uint64_t run = 0;            // as in the file header
    std::uint64_t sequence = 0;       // counts the run's blocks from 0
    std::uint64_t first_ns = 0;       // the earliest `time` in the block
    std::uint64_t last_ns = 0;        // the latest
    std::uint64_t unwritten = 0;      // records that the writer had to drop between the block before and this one
    std::uint64_t payload_check = 0;  // XXH64 of the stored bytes
    std::uint64_t check = 0;          // XXH64 of the header before it
};
static_assert(sizeof(BlockHeader) == 88);

}  // namespace tcptrail::capture
