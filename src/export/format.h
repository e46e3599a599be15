// SPDX-License-Identifier: Apache-2.0
// What a recording can be exported to.
#pragma once

#include <optional>
#include <string_view>

namespace tcptrail::exporting {

enum class Format {
    jsonl,     // rows of `trace` and `life`, as these commands print them
    csv,       // the same in one table, whose first column is the type
    sqlite,    // SCHEMA.md
    perfetto,  // Chrome's trace JSON
};

constexpr std::optional<Format> parse_format(std::string_view text) {
    if (text == "jsonl") {
        return Format::jsonl;
    }
    if (text == "csv") {
        return Format::csv;
    }
    if (text == "sqlite") {
        return Format::sqlite;
    }
    if (text == "perfetto") {
        return Format::perfetto;
    }
    return std::nullopt;
}

}  // namespace tcptrail::exporting
