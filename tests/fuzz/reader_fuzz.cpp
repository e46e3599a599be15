// SPDX-License-Identifier: Apache-2.0
// Any bytes are a recording: as they are, and once more with all checksums made right, so that the fuzzer gets
// behind them. Whatever is handed over must be sound.
#include <sys/mman.h>
#include <unistd.h>
#include <xxhash.h>

#include <cstdlib>
#include <cstring>
#include <vector>

#include "capture/layout.h"
#include "capture/reader.h"

using namespace tcptrail;
using namespace tcptrail::capture;

namespace {

volatile std::uint64_t sink;

void read(const std::uint8_t* data, std::size_t size) {
    const int fd = ::memfd_create("fuzz", 0);
    if (fd < 0 || ::write(fd, data, size) != static_cast<ssize_t>(size)) std::abort();
    if (auto reader = Reader::open({"/proc/self/fd/" + std::to_string(fd)})) {
        const RecordHandler handler = [](const tt_head& record) {
            if (reinterpret_cast<std::uintptr_t>(&record) % 8 != 0) std::abort();
            if (!sound(record.size, record.type, record.size)) std::abort();
            sink = XXH64(&record, record.size, 0);  // reads each of its bytes
        };
        for (;;) {
            const auto poll = (*reader)->poll(std::chrono::milliseconds(0), handler);
            if (!poll || *poll == Poll::end) break;
        }
        (void)(*reader)->completeness().line();
    }
    ::close(fd);
}

void repair(std::vector<std::uint8_t>& bytes) {
    const auto right = [&](std::size_t at, std::size_t length) {
        store(&bytes[at + length - 8], XXH64(&bytes[at], length - 8, 0));
    };
    if (bytes.size() >= sizeof(FileHeader)) right(0, sizeof(FileHeader));
    for (std::size_t at = sizeof(FileHeader); at + sizeof(BlockHeader) <= bytes.size();) {
        auto header = load<BlockHeader>(&bytes[at]);
        if (header.mark != BLOCK_MARK) {
            ++at;
            continue;
        }
        header.header_bytes = sizeof header;
        const std::size_t room = bytes.size() - at - sizeof header;
        if (header.stored_bytes > room) header.stored_bytes = static_cast<std::uint32_t>(room);
        header.payload_check = XXH64(bytes.data() + at + sizeof header, header.stored_bytes, 0);
        store(&bytes[at], header);
        right(at, sizeof header);
        at += sizeof header + header.stored_bytes;
    }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    read(data, size);
    std::vector<std::uint8_t> repaired(data, data + size);
    repair(repaired);
    read(repaired.data(), repaired.size());
    return 0;
}
