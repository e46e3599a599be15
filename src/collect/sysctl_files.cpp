// SPDX-License-Identifier: Apache-2.0
#include "collect/sysctl_files.h"

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <map>
#include <system_error>

namespace tcptrail::collect {
namespace {

namespace fs = std::filesystem;

std::string trimmed(const std::string& text) {
    constexpr const char* blanks = " \t\r";
    const std::size_t begin = text.find_first_not_of(blanks);
    return begin == std::string::npos ? "" : text.substr(begin, text.find_last_not_of(blanks) + 1 - begin);
}

void read_file(const fs::path& path, std::string& text) {
    std::ifstream file(path);
    std::size_t number = 0;
    for (std::string line; std::getline(file, line);) {
        ++number;
        const std::size_t equals = line.find('=');
        std::string key = trimmed(line.substr(0, equals));
        if (equals == std::string::npos || key.empty() || key[0] == '#' || key[0] == ';') continue;
        if (key[0] == '-') key = trimmed(key.substr(1));  // "do not complain if it fails"
        std::replace(key.begin(), key.end(), '/', '.');
        if (!key.starts_with("net.ipv4.tcp_")) continue;
        text += "file." + key + "=" + path.string() + ":" + std::to_string(number) + ":" +
                trimmed(line.substr(equals + 1)) + "\n";
    }
}

}  // namespace

std::string read_sysctl_files() {
    std::map<std::string, fs::path>
        files;  // by name: an earlier folder's masks a later one's, and the names are the order
    for (const char* folder : {"/etc/sysctl.d", "/run/sysctl.d", "/usr/local/lib/sysctl.d", "/usr/lib/sysctl.d"}) {
        std::error_code error;
        for (fs::directory_iterator entry(folder, error), end; !error && entry != end; entry.increment(error))
            if (entry->path().extension() == ".conf") files.emplace(entry->path().filename(), entry->path());
    }
    std::string text;
    const fs::path last = "/etc/sysctl.conf";
    bool linked = false;  // Debian's 99-sysctl.conf is it
    for (const auto& [name, path] : files) {
        std::error_code error;
        linked = linked || fs::equivalent(path, last, error);
        read_file(path, text);
    }
    if (!linked) read_file(last, text);
    return text;
}

}  // namespace tcptrail::collect
