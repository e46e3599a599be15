// SPDX-License-Identifier: Apache-2.0
#include "capture/block.h"

#include <cstring>
#include <new>
#include <utility>

#include <xxhash.h>
#include <zstd.h>

#include "capture/layout.h"

namespace tcptrail::capture {

std::uint64_t header_check(std::span<const std::uint8_t> header) {
    return XXH64(header.data(), header.size() - sizeof(std::uint64_t), 0);
}

void BlockSealer::FreeContext::operator()(ZSTD_CCtx_s* context) const {
    ZSTD_freeCCtx(context);
}
void BlockOpener::FreeContext::operator()(ZSTD_DCtx_s* context) const {
    ZSTD_freeDCtx(context);
}

BlockSealer::BlockSealer() : zstd_(ZSTD_createCCtx()) {
    if (!zstd_) throw std::bad_alloc();
    // Columns repeat over short distances in short runs. Level 3 makes files as small in a third more time; more costs much
    // and saves little.
    constexpr std::pair<ZSTD_cParameter, int> parameters[] = {
        {ZSTD_c_compressionLevel, 1}, {ZSTD_c_minMatch, 5}, {ZSTD_c_hashLog, 10}};
    for (const auto& [parameter, value] : parameters) {
        if (ZSTD_isError(ZSTD_CCtx_setParameter(zstd_.get(), parameter, value))) throw std::bad_alloc();
    }
}

std::span<const std::uint8_t> BlockSealer::seal(std::span<const std::uint8_t> raw, BlockHeader header) {
    std::span<const std::uint8_t> packed = raw;
    header.encoding = Encoding::verbatim;
    if (columns_.encode(raw, header.records, header.first_ns, packed_)) {
        header.encoding = Encoding::columns;
        packed = packed_;
    }
    block_.resize(sizeof header + ZSTD_compressBound(packed.size()));
    const std::size_t stored = ZSTD_compress2(zstd_.get(), block_.data() + sizeof header, block_.size() - sizeof header,
                                              packed.data(), packed.size());
    if (ZSTD_isError(stored)) throw std::bad_alloc();  // the destination is large enough: only memory is left
    block_.resize(sizeof header + stored);

    header.stored_bytes = static_cast<std::uint32_t>(stored);
    header.packed_bytes = static_cast<std::uint32_t>(packed.size());
    header.raw_bytes = static_cast<std::uint32_t>(raw.size());
    header.payload_check = XXH64(block_.data() + sizeof header, stored, 0);
    header.check = header_check({reinterpret_cast<const std::uint8_t*>(&header), sizeof header});
    std::memcpy(block_.data(), &header, sizeof header);
    return block_;
}

BlockOpener::BlockOpener() : zstd_(ZSTD_createDCtx()) {
    if (!zstd_) throw std::bad_alloc();
}

std::span<const std::uint8_t> BlockOpener::open(const BlockHeader& header, std::span<const std::uint8_t> stored,
                                                const char*& damage) {
    damage = nullptr;
    const auto damaged = [&](const char* what) {
        damage = what;
        return std::span<const std::uint8_t>();
    };
    if (XXH64(stored.data(), stored.size(), 0) != header.payload_check) return damaged("checksum");
    raw_.resize((std::size_t{header.raw_bytes} + 7) / 8);
    const std::span<std::uint8_t> raw(reinterpret_cast<std::uint8_t*>(raw_.data()), header.raw_bytes);
    const bool columns = header.encoding == Encoding::columns;
    if (!columns && header.encoding != Encoding::verbatim) return damaged("unknown encoding");
    if (columns) packed_.resize(header.packed_bytes);
    const std::span<std::uint8_t> packed = columns ? std::span(packed_) : raw;
    if (packed.size() != header.packed_bytes) return damaged("length");

    const std::size_t got =
        ZSTD_decompressDCtx(zstd_.get(), packed.data(), packed.size(), stored.data(), stored.size());
    if (ZSTD_isError(got) || got != packed.size()) return damaged("compression");
    if (columns && !columns_.decode(packed, header.records, header.first_ns, raw)) return damaged("columns");
    return raw;
}

}  // namespace tcptrail::capture
