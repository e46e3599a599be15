// SPDX-License-Identifier: Apache-2.0
// The network namespaces of this machine.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

namespace tcptrail::collect {

/// One namespace, held by a descriptor that this object owns; held no longer than a snapshot, so none is kept alive.
class Namespace {
public:
    Namespace(int fd, std::uint32_t inode, bool own) : fd_(fd), inode_(inode), own_(own) {}
    ~Namespace();
    Namespace(Namespace&& other) noexcept;
    Namespace& operator=(Namespace&&) = delete;

    std::uint32_t inode() const { return inode_; }
    bool own() const { return own_; }

    /// Moves the calling thread into it: 0 or an errno. Not needed for our own as long as the thread is there.
    int enter() const;

private:
    int fd_;
    std::uint32_t inode_;
    bool own_;  // the one this process started in
};

/// Our own first, then those of processes and of the names under /run, each once. `wanted` empty: all.
/// `hidden`: processes whose namespace we may not look up.
std::vector<Namespace> find_namespaces(const std::vector<std::uint32_t>& wanted, std::size_t& hidden);

}  // namespace tcptrail::collect
