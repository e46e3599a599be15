// SPDX-License-Identifier: Apache-2.0
#include "collect/namespaces.h"

#include <algorithm>
#include <cctype>
#include <cerrno>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <utility>

#include <fcntl.h>
#include <linux/sockios.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

namespace tcptrail::collect {
namespace {

namespace fs = std::filesystem;

bool is_number(const std::string& name) {
    return !name.empty() && std::all_of(name.begin(), name.end(), [](unsigned char c) { return std::isdigit(c); });
}

/// "\040" and the like of /proc/PID/mountinfo.
std::string unescaped(const std::string& text) {
    std::string out;
    for (std::size_t i = 0; i < text.size(); i++) {
        if (text[i] == '\\' && i + 3 < text.size()) {
            out += static_cast<char>(std::strtol(text.substr(i + 1, 3).c_str(), nullptr, 8));
            i += 3;
        } else {
            out += text[i];
        }
    }
    return out;
}

}  // namespace

Namespace::~Namespace() {
    close(fd_);
}

int Namespace::enter() const {
    return setns(fd_, CLONE_NEWNET) == 0 ? 0 : errno;
}

NamespaceFinder::NamespaceFinder(const std::vector<std::uint32_t>& wanted, Visit visit)
    : wanted_(wanted), visit_(std::move(visit)) {}

bool NamespaceFinder::lacks(std::uint32_t inode) const {
    return (wanted_.empty() || std::find(wanted_.begin(), wanted_.end(), inode) != wanted_.end()) &&
           !seen_.contains(inode);
}

void NamespaceFinder::take(int fd, std::uint32_t inode, bool own, const std::string& path) {
    seen_.insert(inode);
    visit_(Namespace(fd, inode, own, path));
}

void NamespaceFinder::try_path(const std::string& path, bool own) {
    struct stat info {};
    if (stat(path.c_str(), &info) != 0) {
        hidden_ += errno == EACCES || errno == EPERM;
        return;
    }
    const auto inode = static_cast<std::uint32_t>(info.st_ino);
    if (!lacks(inode)) return;
    const int fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
    if (fd < 0) return;
    if (fstat(fd, &info) != 0 || info.st_ino != inode) {  // the process went elsewhere meanwhile
        close(fd);
        return;
    }
    take(fd, inode, own, path);
}

/// Threads may stand in other namespaces than their process (setns of one thread).
void NamespaceFinder::of_process(const std::string& folder) {
    const std::size_t hidden = hidden_;
    try_path(folder + "/ns/net", false);
    if (hidden_ != hidden) return;
    std::error_code error;
    for (fs::directory_iterator entry(folder + "/task", error), end; !error && entry != end; entry.increment(error))
        try_path(entry->path().native() + "/ns/net", false);
    hidden_ = hidden;  // counts processes
}

/// Namespaces that are mounted in `process`'s view of the file system, each view once.
void NamespaceFinder::of_mounts(const std::string& process) {
    struct stat view {};
    if (stat((process + "/ns/mnt").c_str(), &view) != 0 || !mount_namespaces_.insert(view.st_ino).second) return;
    std::ifstream mounts(process + "/mountinfo");
    for (std::string line; std::getline(mounts, line);) {
        if (line.find(" - nsfs ") == std::string::npos) continue;
        std::istringstream words(line);
        std::string id;
        std::string parent;
        std::string device;
        std::string root;
        std::string point;
        words >> id >> parent >> device >> root >> point;
        constexpr std::string_view kind = "net:[";
        if (!root.starts_with(kind)) continue;
        const auto inode = static_cast<std::uint32_t>(std::strtoul(root.c_str() + kind.size(), nullptr, 10));
        if (lacks(inode)) try_path(process + "/root" + unescaped(point), false);
    }
}

void NamespaceFinder::visit_all() {
    try_path("/proc/self/ns/net", true);
    std::vector<std::string> processes;
    std::error_code error;
    for (fs::directory_iterator entry("/proc", error), end; !error && entry != end; entry.increment(error))
        if (is_number(entry->path().filename().native())) processes.push_back(entry->path().native());
    for (const std::string& process : processes) of_process(process);
    const std::size_t hidden = hidden_;
    of_mounts("/proc/self");
    for (const std::string& process : processes) of_mounts(process);
    hidden_ = hidden;
}

int NamespaceFinder::visit_socket(pid_t pid, int fd, std::uint32_t inode) {
    const auto process = static_cast<int>(syscall(SYS_pidfd_open, pid, 0));
    if (process < 0) return errno;
    const auto socket = static_cast<int>(syscall(SYS_pidfd_getfd, process, fd, 0));
    int error = socket < 0 ? errno : 0;
    close(process);
    if (error) return error;
    const int found = ioctl(socket, SIOCGSKNS);
    error = found < 0 ? errno : 0;
    close(socket);
    if (error) return error;
    struct stat info {};
    if (fstat(found, &info) != 0 || info.st_ino != inode) {  // another socket has this number by now
        close(found);
        return ESTALE;
    }
    take(found, inode, false, {});
    return 0;
}

}  // namespace tcptrail::collect
