// SPDX-License-Identifier: Apache-2.0
#include "capture/names.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <filesystem>
#include <system_error>

namespace tcptrail::capture {

namespace fs = std::filesystem;

Result<std::uint64_t> parse_size(std::string_view text, std::uint64_t least) {
    const auto wrong = [&](const char* why) {
        return fail(Exit::usage, "size '" + std::string(text) + "': " + why + " (examples: 500k, 100M, 1G)");
    };
    double number = 0;
    const char* end = text.data() + text.size();
    const auto [after, error] = std::from_chars(text.data(), end, number, std::chars_format::fixed);
    if (error != std::errc() || !std::isfinite(number)) return wrong("not a number with k, M or G");
    std::string_view unit(after, static_cast<std::size_t>(end - after));
    if (unit.size() > 1 && unit.back() == 'B') unit.remove_suffix(1);
    double multiple = 1e6;
    if (unit == "k" || unit == "K") {
        multiple = 1e3;
    } else if (unit == "g" || unit == "G") {
        multiple = 1e9;
    } else if (unit == "t" || unit == "T") {
        multiple = 1e12;
    } else if (!unit.empty() && unit != "m" && unit != "M") {
        return wrong("not a number with k, M or G");
    }
    const double bytes = number * multiple;
    if (bytes < static_cast<double>(least)) return wrong(least == MIN_FILE_BYTES ? "at least 10k" : "too small");
    if (bytes > 1e18) return wrong("too large");
    return static_cast<std::uint64_t>(std::llround(bytes));
}

std::string file_name(const std::string& path, std::uint64_t file, unsigned files) {
    if (files == 0) return file == 0 ? path : path + std::to_string(file);
    const std::string number = std::to_string(file % files);
    const std::size_t width = std::to_string(files - 1).size();
    return path + std::string(width - std::min(width, number.size()), '0') + number;
}

std::vector<std::string> find_set(const std::string& path) {
    std::error_code error;
    if (path == "-" || fs::exists(path, error)) return {path};
    const fs::path whole(path);
    const std::string stem = whole.filename().string();
    std::vector<std::string> set;
    const fs::path folder = whole.has_parent_path() ? whole.parent_path() : fs::path(".");
    for (fs::directory_iterator at(folder, error), end; !error && at != end; at.increment(error)) {
        const std::string name = at->path().filename().string();
        if (name.size() <= stem.size() || !name.starts_with(stem)) continue;
        if (name.find_first_not_of("0123456789", stem.size()) != std::string::npos) continue;
        set.push_back(whole.has_parent_path() ? at->path().string() : name);
    }
    std::sort(set.begin(), set.end());
    if (set.empty()) set.push_back(path);
    return set;
}

}  // namespace tcptrail::capture
