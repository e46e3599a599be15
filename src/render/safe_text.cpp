// SPDX-License-Identifier: Apache-2.0
#include "render/safe_text.h"

#include <cstddef>
#include <cstdint>

namespace tcptrail::render {
namespace {

/// Bytes of the valid UTF-8 sequence at the front of `bytes`, 0 where there is none.
std::size_t sequence_length(std::string_view bytes) {
    const auto at = [&](std::size_t i) { return static_cast<std::uint8_t>(bytes[i]); };
    const std::uint8_t first = at(0);
    if (first < 0x80) {
        return 1;
    }
    const std::size_t length = first >= 0xc2 && first < 0xe0   ? 2
                               : first >= 0xe0 && first < 0xf0 ? 3
                               : first >= 0xf0 && first < 0xf5 ? 4
                                                               : 0;
    if (length == 0 || bytes.size() < length) {
        return 0;
    }
    for (std::size_t i = 1; i < length; ++i) {
        if ((at(i) & 0xc0) != 0x80) {
            return 0;
        }
    }
    const bool overlong = (first == 0xe0 && at(1) < 0xa0) || (first == 0xf0 && at(1) < 0x90);
    const bool surrogate = first == 0xed && at(1) >= 0xa0;
    const bool too_big = first == 0xf4 && at(1) >= 0x90;
    return overlong || surrogate || too_big ? 0 : length;
}

}  // namespace

std::string valid_utf8(std::string_view bytes) {
    std::string text;
    text.reserve(bytes.size());
    while (!bytes.empty()) {
        const std::size_t length = sequence_length(bytes);
        if (length == 0) {
            text += "\xef\xbf\xbd";
            bytes.remove_prefix(1);
        } else {
            text += bytes.substr(0, length);
            bytes.remove_prefix(length);
        }
    }
    return text;
}

std::string printable(std::string_view bytes) {
    const std::string valid = valid_utf8(bytes);
    std::string text;
    text.reserve(valid.size());
    for (std::size_t i = 0; i < valid.size(); ++i) {
        const auto byte = static_cast<std::uint8_t>(valid[i]);
        if (byte < 0x20 || byte == 0x7f) {
            text += '?';
        } else if (byte == 0xc2 && static_cast<std::uint8_t>(valid[i + 1]) < 0xa0) {  // C1 controls, U+0080 to U+009F
            text += '?';
            ++i;
        } else {
            text += valid[i];
        }
    }
    return text;
}

}  // namespace tcptrail::render
