// SPDX-License-Identifier: Apache-2.0
// What tests of recordings share: a folder that goes away, and lines.
#pragma once

#include <stdlib.h>

#include <filesystem>
#include <sstream>
#include <string>
#include <vector>

namespace tcptrail::live {

class Folder {
public:
    Folder() {
        std::string name = (std::filesystem::temp_directory_path() / "tcptrail-live-XXXXXX").string();
        path_ = ::mkdtemp(name.data());
    }
    ~Folder() {
        std::error_code ignored;
        std::filesystem::remove_all(path_, ignored);
    }
    Folder(const Folder&) = delete;
    Folder& operator=(const Folder&) = delete;
    std::string operator/(const std::string& name) const { return (path_ / name).string(); }
    const std::filesystem::path& path() const { return path_; }

private:
    std::filesystem::path path_;
};

inline std::vector<std::string> lines_of(const std::string& text) {
    std::vector<std::string> lines;
    std::istringstream stream(text);
    for (std::string line; std::getline(stream, line);) {
        lines.push_back(line);
    }
    return lines;
}

inline std::string line_of(const std::string& text, std::size_t number) {
    const auto lines = lines_of(text);
    return number < lines.size() ? lines[number] : "(none)";
}

}  // namespace tcptrail::live
