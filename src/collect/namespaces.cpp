// SPDX-License-Identifier: Apache-2.0
#include "collect/namespaces.h"

#include <algorithm>
#include <cctype>
#include <cerrno>
#include <filesystem>
#include <unordered_set>
#include <utility>

#include <fcntl.h>
#include <sched.h>
#include <sys/stat.h>
#include <unistd.h>

namespace tcptrail::collect {
namespace {

namespace fs = std::filesystem;

class Finder {
public:
    explicit Finder(const std::vector<std::uint32_t>& wanted) : wanted_(wanted) {}

    void try_path(const std::string& path, bool own) {
        struct stat info {};
        if (stat(path.c_str(), &info) != 0) {
            hidden_ += errno == EACCES || errno == EPERM;
            return;
        }
        const auto inode = static_cast<std::uint32_t>(info.st_ino);
        if (!wanted_.empty() && std::find(wanted_.begin(), wanted_.end(), inode) == wanted_.end()) return;
        if (!seen_.insert(inode).second) return;
        const int fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
        if (fd < 0) {
            seen_.erase(inode);
            return;
        }
        if (fstat(fd, &info) != 0 || info.st_ino != inode) {  // the process went elsewhere meanwhile
            seen_.erase(inode);
            close(fd);
            return;
        }
        found_.emplace_back(fd, inode, own);
    }

    std::size_t hidden() const { return hidden_; }
    std::vector<Namespace> take() { return std::move(found_); }

private:
    const std::vector<std::uint32_t>& wanted_;
    std::unordered_set<std::uint32_t> seen_;
    std::vector<Namespace> found_;
    std::size_t hidden_ = 0;
};

/// Whether `path` is a namespace at all: the names under /run may be stale plain files.
bool is_nsfs(const std::string& path) {
    struct stat info {};
    struct stat own {};
    return stat(path.c_str(), &info) == 0 && stat("/proc/self/ns/net", &own) == 0 && info.st_dev == own.st_dev;
}

}  // namespace

Namespace::~Namespace() {
    if (fd_ >= 0) close(fd_);
}

Namespace::Namespace(Namespace&& other) noexcept
    : fd_(std::exchange(other.fd_, -1)), inode_(other.inode_), own_(other.own_) {}

int Namespace::enter() const {
    return setns(fd_, CLONE_NEWNET) == 0 ? 0 : errno;
}

std::vector<Namespace> find_namespaces(const std::vector<std::uint32_t>& wanted, std::size_t& hidden) {
    Finder finder(wanted);
    finder.try_path("/proc/self/ns/net", true);
    std::error_code error;
    for (fs::directory_iterator entry("/proc", error), end; !error && entry != end; entry.increment(error)) {
        const std::string& path = entry->path().native();
        if (std::isdigit(static_cast<unsigned char>(path[6]))) finder.try_path(path + "/ns/net", false);
    }
    for (const char* folder : {"/run/netns", "/run/docker/netns"}) {
        error.clear();
        for (fs::directory_iterator entry(folder, error), end; !error && entry != end; entry.increment(error))
            if (is_nsfs(entry->path().native())) finder.try_path(entry->path().native(), false);
    }
    hidden = finder.hidden();
    return finder.take();
}

}  // namespace tcptrail::collect
