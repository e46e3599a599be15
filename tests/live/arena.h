// SPDX-License-Identifier: Apache-2.0
// A fresh network namespace and the processes that act in it. Owned and used by the test's thread; the bodies given to
// spawn() run in children. Nothing outlives the Arena: its processes are killed by pid, and each has an alarm.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <functional>
#include <new>
#include <set>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include "sockets.h"

namespace tcptrail::live {

/// A process as the kernel would name it.
struct Who {
    pid_t pid = 0;
    std::string comm;
    std::string thread;  // empty: the same as comm
    bool operator==(const Who&) const = default;
};

class Arena {
public:
    /// Makes the namespace, brings lo up, and leaves one idle process standing in it. Throws std::runtime_error.
    Arena();
    ~Arena();
    Arena(const Arena&) = delete;
    Arena& operator=(const Arena&) = delete;

    std::uint32_t inode() const { return inode_; }
    int netns_fd() const { return netns_.get(); }
    /// The process that stands in it as long as the Arena lives.
    pid_t holder_pid() const { return holder_.pid; }

    /// Runs `body` in a new process of the namespace under the name `comm`.
    Who spawn(const std::string& comm, const std::function<void()>& body);
    /// Waits (bounded) for the process's good end; throws what it threw.
    void join(const Who& who);
    /// Waits (bounded) for the process's end by `signal`.
    void join_killed(const Who& who, int signal);

    /// Runs `action` in a short-lived process of the namespace and waits for it.
    void inside(const std::function<void()>& action);
    /// Sets a sysctl of the namespace, as inside("net/ipv4/tcp_tw_reuse", "0").
    void sysctl(const std::string& name, const std::string& value);

    /// The number behind `key` in the namespace's sockstat (`tw`, `inuse`), IPv4 and IPv6 together where both have it.
    int sockstat(const std::string& key) const;
    /// A counter of the namespace's /proc/net/netstat, as TCPTimeWaitOverflow.
    std::uint64_t netstat(const std::string& counter) const;
    /// Local ports of the orphans that wait for the peer's FIN as full sockets. The kernel keeps one so, with a timer of its own,
    /// where the ACK of its FIN met a process that still held its lock (tcp_rcv_state_process); else it leaves a mini.
    std::set<std::uint16_t> full_fin_wait2() const;
    /// Waits until no full socket but `remaining` is left: after that no transition is under way.
    void settle(int remaining = 0, int timeout_ms = 15000) const;

private:
    Who holder_;
    Fd netns_;
    std::uint32_t inode_ = 0;
    std::vector<pid_t> children_;
    std::string proc_;  // /proc/<holder>
    struct Report;      // where a failed actor leaves its message
    Report* report_ = nullptr;
};

/// A signal between the actors: give() in one process lets one take() in another pass. Made before spawn().
class Cue {
public:
    Cue();
    void give(int times = 1) const;
    void take(int timeout_ms = 20000) const;

private:
    Fd fd_;
};

/// One T in memory that the test and all actors spawned afterwards share.
template <typename T>
class Shared {
    static_assert(std::is_trivially_destructible_v<T>);

public:
    Shared();
    ~Shared();
    Shared(const Shared&) = delete;
    Shared& operator=(const Shared&) = delete;
    T* operator->() const { return value_; }
    T& operator*() const { return *value_; }

private:
    T* value_;
};

void* map_shared(std::size_t size);
void unmap_shared(void* memory, std::size_t size);

template <typename T>
Shared<T>::Shared() : value_(new (map_shared(sizeof(T))) T()) {}

template <typename T>
Shared<T>::~Shared() {
    unmap_shared(value_, sizeof(T));
}

}  // namespace tcptrail::live
