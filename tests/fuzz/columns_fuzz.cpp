// SPDX-License-Identifier: Apache-2.0
// Any bytes are columns: u32 records, u32 raw bytes, u64 first time, then what zstd would have given.
// What decodes must be sound, and must come back from the encoder as it is.
#include <cstdlib>
#include <cstring>
#include <vector>

#include "capture/codec.h"
#include "capture/format.h"
#include "capture/layout.h"

using namespace tcptrail;
using namespace tcptrail::capture;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    if (size < 16) return 0;
    const auto records = load<std::uint32_t>(data);
    const auto raw_bytes = load<std::uint32_t>(data + 4);
    const auto first_ns = load<std::uint64_t>(data + 8);
    if (raw_bytes > 1 << 20) return 0;  // the reader's limit is higher, the fuzzer's patience is not
    static ColumnDecoder decoder;
    static ColumnEncoder encoder;
    std::vector<std::uint8_t> raw(raw_bytes);
    if (!decoder.decode({data + 16, size - 16}, records, first_ns, raw)) return 0;
    for (std::size_t at = 0; at < raw.size();) {
        const auto head = load<tt_head>(&raw[at]);
        if (!sound(head.size, head.type, raw.size() - at)) std::abort();
        at += head.size;
    }
    std::vector<std::uint8_t> packed;
    std::vector<std::uint8_t> again(raw_bytes);
    if (!encoder.encode(raw, records, first_ns, packed)) std::abort();
    if (!decoder.decode(packed, records, first_ns, again) || again != raw) std::abort();
    return 0;
}
