// SPDX-License-Identifier: Apache-2.0
// The network namespaces of this machine.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <string>
#include <unordered_set>
#include <utility>
#include <vector>

#include <sys/types.h>

namespace tcptrail::collect {

/// One namespace, held by a descriptor that this object owns.
class Namespace {
public:
    Namespace(int fd, std::uint32_t inode, bool own, std::string path)
        : fd_(fd), inode_(inode), own_(own), path_(std::move(path)) {}
    ~Namespace();
    Namespace(const Namespace&) = delete;
    Namespace& operator=(const Namespace&) = delete;

    std::uint32_t inode() const { return inode_; }
    bool own() const { return own_; }
    /// By which others find it: a process's, or where it is mounted; empty where only a socket holds it.
    const std::string& path() const { return path_; }

    /// Moves the calling thread into it: 0 or an errno. Not needed for our own as long as the thread is there.
    int enter() const;

private:
    int fd_;
    std::uint32_t inode_;
    bool own_;  // the one this process started in
    std::string path_;
};

/// Finds each namespace once. None is held longer than its visit: none is kept alive, and thousands need no descriptors.
class NamespaceFinder {
public:
    using Visit = std::function<void(const Namespace&)>;

    /// `wanted`: inode numbers; empty: all. Outlives the finder.
    NamespaceFinder(const std::vector<std::uint32_t>& wanted, Visit visit);

    /// Our own first, those of processes and their threads, those that are mounted somewhere (`ip netns`, containers).
    void visit_all();

    /// Whether `inode` is wanted and was not visited.
    bool lacks(std::uint32_t inode) const;
    /// That of a TCP socket which process `pid` has at `fd`: a namespace may stand without processes and mounts, held by
    /// a socket. 0 or an errno.
    int visit_socket(pid_t pid, int fd, std::uint32_t inode);

    /// Processes whose namespace we may not look up.
    std::size_t hidden() const { return hidden_; }

private:
    void try_path(const std::string& path, bool own);
    void take(int fd, std::uint32_t inode, bool own, const std::string& path);
    void of_process(const std::string& folder);
    void of_mounts(const std::string& process);

    const std::vector<std::uint32_t>& wanted_;
    Visit visit_;
    std::unordered_set<std::uint32_t> seen_;
    std::unordered_set<std::uint64_t> mount_namespaces_;  // those whose mounts were read
    std::size_t hidden_ = 0;
};

}  // namespace tcptrail::collect
