// SPDX-License-Identifier: Apache-2.0
#include "capture/signature.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <string_view>

#include "capture/block.h"
#include "capture/layout.h"

namespace tcptrail::capture {
namespace {

/// What people give to -r by mistake.
std::string guess(std::span<const std::uint8_t> head) {
    struct Known {
        std::string_view magic;
        const char* what;
    };
    using namespace std::string_view_literals;
    static constexpr std::array known{
        Known{"\xd4\xc3\xb2\xa1"sv, "it is a pcap file, of packets: tcpdump reads it"},
        Known{"\x4d\x3c\xb2\xa1"sv, "it is a pcap file, of packets: tcpdump reads it"},
        Known{"\x0a\x0d\x0d\x0a"sv, "it is a pcapng file, of packets: tcpdump reads it"},
        Known{"\x1f\x8b"sv, "it is compressed: gzip -dc FILE | tcptrail … -r -"},
        Known{"\x28\xb5\x2f\xfd"sv, "it is compressed: zstd -dc FILE | tcptrail … -r -"},
        Known{"\xfd\x37\x7a\x58\x5a"sv, "it is compressed: xz -dc FILE | tcptrail … -r -"},
        Known{"SQLite format 3"sv, "it is an SQLite database"},
    };
    const std::string_view start(reinterpret_cast<const char*>(head.data()), head.size());
    for (const Known& one : known) {
        if (start.starts_with(one.magic)) return one.what;
    }
    const auto printable = [](unsigned char c) { return (c >= 32 && c != 127) || (c >= 9 && c <= 13); };
    if (std::all_of(start.begin(), start.end(), printable)) return "it is text";
    return "its first bytes are not a recording's";
}

}  // namespace

Result<Signature> read_signature(const std::string& path, std::span<const std::uint8_t> head) {
    const std::string name = path == "-" ? "standard input" : path;
    const auto refuse = [&](const std::string& why) { return fail(Exit::failed, "cannot read " + name + ": " + why); };
    if (head.empty()) return refuse("it is empty");

    Signature found;
    const std::size_t known = std::min(head.size(), sizeof found.header);
    const bool magic = std::memcmp(head.data(), &FILE_MAGIC, std::min(known, sizeof FILE_MAGIC)) == 0;
    found.bytes = sizeof(FileHeader);
    if (!magic) {
        // One flipped bit in the magic must not cost a whole recording.
        const bool block = head.size() >= found.bytes + 8 && load<std::uint64_t>(&head[found.bytes]) == BLOCK_MARK;
        if (!block) return refuse("not a tcptrail recording: " + guess(head));
        return found;
    }
    FileHeader header;
    std::memcpy(&header, head.data(), known);
    if (known >= 9 && header.order == ORDER_BIG) {
        return refuse("recorded on a big-endian machine; read it on one");
    }
    if (known >= 16 && header.major > FORMAT_MAJOR) {
        return refuse("its format is version " + std::to_string(header.major) + "." + std::to_string(header.minor) +
                      ", this tcptrail reads up to " + std::to_string(FORMAT_MAJOR) +
                      ".x: use the tcptrail that recorded it, or a newer one");
    }
    const bool sized = header.header_bytes >= sizeof header && header.header_bytes <= MAX_HEADER_BYTES;
    if (head.size() < sizeof header || (sized && head.size() < header.header_bytes)) {
        found.torn = true;
        found.bytes = head.size();
        return found;
    }
    if (!sized) return found;
    const auto whole = head.first(header.header_bytes);
    if (header_check(whole) != load<std::uint64_t>(whole.data() + whole.size() - 8)) return found;
    found.header = header;
    found.bytes = header.header_bytes;
    found.whole = true;
    return found;
}

}  // namespace tcptrail::capture
