// SPDX-License-Identifier: Apache-2.0
#include "collect/cgroups.h"

#include <array>
#include <cctype>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <string_view>

#include <sys/stat.h>
#include <unistd.h>

namespace tcptrail::collect {
namespace {

namespace fs = std::filesystem;

constexpr std::size_t max_walked = 50'000;  // cgroups looked at in one walk
/// Then we forget and tell again, before those that hear it forget: the tracker remembers the last 65,536 names at
/// least (TableLimits::processes), of either kind.
constexpr std::size_t most_told = 1 << 15;

bool has_id(const std::string& path, std::uint64_t id) {
    struct stat info {};
    return stat(path.c_str(), &info) == 0 && info.st_ino == id;
}

/// docker, containerd, cri-o, podman and kubernetes all name a container by 64 hex digits somewhere in its path.
bool names_container(std::string_view path) {
    std::size_t run = 0;
    for (const char c : path) {
        run = std::isdigit(static_cast<unsigned char>(c)) || (c >= 'a' && c <= 'f') ? run + 1 : 0;
        if (run == 64) return true;
    }
    static constexpr std::array<std::string_view, 5> marks = {"/docker/", "docker-", "cri-containerd-", "crio-",
                                                              "libpod-"};
    for (const std::string_view mark : marks)
        if (const std::size_t at = path.find(mark); at != std::string_view::npos && path.size() - at > mark.size() + 11)
            return true;
    return false;
}

struct ProcessCgroups {
    std::string v2;         // the path of the "0::" line
    std::string container;  // the first v1 path that names a container
};

/// Whether the process that has this number now is the one that started then: numbers are used again, and in another PID
/// namespace than the host's they are other processes'.
bool started_at(std::uint32_t tgid, std::uint64_t start_ns) {
    std::ifstream file("/proc/" + std::to_string(tgid) + "/stat");
    std::string text;
    std::getline(file, text);
    const std::size_t name_end = text.rfind(')');
    if (name_end == std::string::npos) return false;
    std::istringstream words(text.substr(name_end + 1));
    constexpr int before = 19;  // fields between the name and the start
    std::string word;
    for (int i = 0; i < before; i++) words >> word;
    std::uint64_t ticks = 0;
    return words >> ticks && ticks == start_ns / (1'000'000'000 / static_cast<std::uint64_t>(sysconf(_SC_CLK_TCK)));
}

ProcessCgroups read_process(std::uint32_t tgid, std::uint64_t start_ns) {
    ProcessCgroups out;
    std::ifstream file("/proc/" + std::to_string(tgid) + "/cgroup");
    for (std::string line; std::getline(file, line);) {
        const std::size_t first = line.find(':');
        const std::size_t second = first == std::string::npos ? first : line.find(':', first + 1);
        if (second == std::string::npos) continue;
        std::string path = line.substr(second + 1);
        if (line.starts_with("0::"))
            out.v2 = std::move(path);
        else if (out.container.empty() && names_container(path))
            out.container = std::move(path);
    }
    // Asked last: the number was this process's until now. The v2 path needs no such proof, its id is compared.
    if (!out.container.empty() && !started_at(tgid, start_ns)) out.container.clear();
    return out;
}

}  // namespace

Cgroups::Cgroups() {
    std::ifstream mounts("/proc/self/mounts");
    for (std::string line; std::getline(mounts, line);) {
        std::istringstream words(line);
        std::string device;
        std::string point;
        std::string type;
        words >> device >> point >> type;
        if (type == "cgroup2" && mount_.empty()) mount_ = point;
        has_v1_ |= type == "cgroup";
    }
}

std::string Cgroups::path_of(std::uint64_t id, const std::string& proc_path) {
    if (mount_.empty()) return {};
    if (has_id(mount_, id)) return "/";
    if (!proc_path.empty() && has_id(mount_ + proc_path, id)) return proc_path;
    const std::uint64_t now = monotonic_ns();
    if (now < next_walk_) return {};
    next_walk_ = now + 1'000'000'000;
    std::error_code error;
    std::size_t seen = 0;
    const auto options = fs::directory_options::skip_permission_denied;
    for (fs::recursive_directory_iterator entry(mount_, options, error), end; !error && entry != end;
         entry.increment(error)) {
        std::error_code ignored;
        if (!entry->is_directory(ignored)) continue;
        if (has_id(entry->path().native(), id)) return entry->path().native().substr(mount_.size());
        if (++seen == max_walked) break;
    }
    return {};
}

void Cgroups::before(const tt_head& record, RecordBuffer& out) {
    const auto& process = reinterpret_cast<const tt_process&>(record);
    if (told_.size() >= most_told) told_.clear();
    if (processes_.size() >= most_told) processes_.clear();
    const bool new_id = process.cgroup && !told_.contains(process.cgroup);
    const bool new_process = has_v1_ && process.tgid && processes_.insert(process.start_ns ^ process.tgid).second;
    if (!new_id && !new_process) return;
    const ProcessCgroups read = read_process(process.tgid, process.start_ns);
    tt_cgroup named{};
    if (new_id) {
        const std::string path = path_of(process.cgroup, read.v2);
        if (!path.empty() || read.v2.empty())  // else try again with the next process of it
            told_.insert(process.cgroup);
        if (!path.empty()) {
            named.head = make_head(TT_CGROUP, 0, record.time);
            named.id = process.cgroup;
            out.append_with_text(named, path);
        }
    }
    if (new_process && !read.container.empty()) {
        named.head = make_head(TT_CGROUP, TT_F_CONTAINER, record.time);
        named.id = process.cgroup;
        named.start_ns = process.start_ns;
        named.tgid = process.tgid;
        out.append_with_text(named, read.container);
    }
}

}  // namespace tcptrail::collect
