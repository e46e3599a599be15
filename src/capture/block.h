// SPDX-License-Identifier: Apache-2.0
// One block of a recording: records to the bytes of a whole block, and back. No files here.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "capture/codec.h"
#include "capture/format.h"

struct ZSTD_CCtx_s;
struct ZSTD_DCtx_s;

namespace tcptrail::capture {

/// XXH64 of all but the last 8 bytes of a header: what its `check` holds.
std::uint64_t header_check(std::span<const std::uint8_t> header);

/// Makes blocks. Keeps its buffers from block to block; one thread.
class BlockSealer {
public:
    BlockSealer();

    /// The bytes of a whole block around `raw`, valid until the next call. `header` says flags, records, run,
    /// sequence, times and unwritten; the rest is filled in here.
    std::span<const std::uint8_t> seal(std::span<const std::uint8_t> raw, BlockHeader header);

private:
    struct FreeContext {
        void operator()(ZSTD_CCtx_s* context) const;
    };
    std::unique_ptr<ZSTD_CCtx_s, FreeContext> zstd_;
    ColumnEncoder columns_;
    std::vector<std::uint8_t> packed_;
    std::vector<std::uint8_t> block_;
};

/// Opens blocks. Keeps its buffers from block to block; one thread.
class BlockOpener {
public:
    BlockOpener();

    /// The records between `header` and the next block, valid until the next call: `raw_bytes` bytes, aligned to 8.
    /// An empty span and `damage` where `stored` does not give them.
    std::span<const std::uint8_t> open(const BlockHeader& header, std::span<const std::uint8_t> stored,
                                       const char*& damage);

private:
    struct FreeContext {
        void operator()(ZSTD_DCtx_s* context) const;
    };
    std::unique_ptr<ZSTD_DCtx_s, FreeContext> zstd_;
    ColumnDecoder columns_;
    std::vector<std::uint8_t> packed_;
    std::vector<std::uint64_t> raw_;  // 64-bit elements: records must be aligned to 8
};

}  // namespace tcptrail::capture
