// SPDX-License-Identifier: Apache-2.0
#include "collect/snapshot.h"

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <map>
#include <thread>

#include <bpf/bpf.h>
#include <unistd.h>

#include "collect/namespaces.h"
#include "collect/settings.h"

namespace tcptrail::collect {
namespace {

constexpr int listen_state = 10;  // TCP_LISTEN
constexpr int ipv4_family = 2;
constexpr int ipv6_family = 10;

/// An empty list chooses all.
template <typename T>
bool has(const std::vector<T>& chosen, T value) {
    return chosen.empty() || std::find(chosen.begin(), chosen.end(), value) != chosen.end();
}

/// The same choice as wanted() in the programs.
bool wanted(const Options& options, const tt_socket& row) {
    if ((row.family == ipv4_family && !options.ipv4) || (row.family == ipv6_family && !options.ipv6)) return false;
    if (row.head.new_state != listen_state && !has(options.rports, row.rport)) return false;
    return row.head.lport == 0 || has(options.lports, row.head.lport);
}

/// The iterator shows the files of all namespaces.
bool wanted(const Options& options, const tt_holder& row) {
    return has(options.netns, row.socket_netns);
}

/// Reads an iterator to its end; the namespace of iter/tcp is that of the calling thread. 0 or an errno.
template <typename Keep>
int read_iterator(int link, RecordBuffer& out, Keep&& keep) {
    const int fd = bpf_iter_create(link);
    if (fd < 0) return errno;
    constexpr std::size_t chunk = 1 << 16;  // bytes; a row may be split between two reads
    std::vector<std::uint64_t> words;
    std::size_t bytes = 0;
    int error = 0;
    while (true) {
        words.resize((bytes + chunk) / 8 + 1);
        const ssize_t got = read(fd, reinterpret_cast<char*>(words.data()) + bytes, chunk);
        if (got < 0 && (errno == EAGAIN || errno == EINTR)) continue;
        if (got < 0) error = errno;
        if (got <= 0) break;
        bytes += static_cast<std::size_t>(got);
    }
    close(fd);
    for (std::size_t at = 0; at + sizeof(tt_head) <= bytes;) {
        const auto& row = *reinterpret_cast<const tt_head*>(&words[at / 8]);
        if (row.size < sizeof(tt_head) || row.size % 8 != 0 || at + row.size > bytes) return error ? error : EPROTO;
        if (keep(row)) out.append(row);
        at += row.size;
    }
    return error;
}

void append_mark(RecordBuffer& out, std::uint32_t what, std::uint32_t netns, unsigned flags) {
    tt_snapshot mark{};
    mark.head = make_head(TT_SNAPSHOT, flags);
    mark.what = what;
    mark.netns = netns;
    out.append_record(mark);
}

/// One snapshot under way: all namespaces' sockets, then their holders.
class Reader {
public:
    Reader(const Options& options, int tcp_link, int file_link, std::uint32_t what, SnapshotResult& result)
        : options_(options),
          tcp_link_(tcp_link),
          file_link_(file_link),
          what_(what),
          kind_(what & ~std::uint32_t{TT_SNAP_SOCKETS | TT_SNAP_HOLDERS | TT_SNAP_MARK}),
          result_(result),
          namespaces_(options.netns, [this](const Namespace& place) { read_sockets(place); }) {}

    void read() {
        if (what_ & TT_SNAP_SOCKETS) namespaces_.visit_all();
        if (what_ & TT_SNAP_HOLDERS && file_link_ >= 0) read_holders();
        append_mark(result_.records, what_ | TT_SNAP_MARK, 0, TT_F_END);
        note_what_is_hidden();
    }

private:
    void read_sockets(const Namespace& place) {
        // The thread starts in our own, which comes first.
        if (const int error = place.own() ? 0 : place.enter()) {
            denied_ += 1;
            denied_error_ = error;
            return;
        }
        if (tcp_link_ >= 0) read_rows(place.inode());
        append_settings(result_.records, place);
    }

    void read_rows(std::uint32_t netns) {
        append_mark(result_.records, kind_ | TT_SNAP_SOCKETS, netns, 0);
        const int error = read_iterator(tcp_link_, result_.records, [&](const tt_head& row) {
            return wanted(options_, reinterpret_cast<const tt_socket&>(row));
        });
        append_mark(result_.records, kind_ | TT_SNAP_SOCKETS, netns, TT_F_END);
        if (error) result_.error = std::string("cannot read the sockets (iter/tcp): ") + std::strerror(error);
    }

    /// Holders of all wanted namespaces' sockets. Where they tell of a namespace that was not found, its sockets are read before
    /// those holders are told.
    void read_holders() {
        RecordBuffer later;
        append_mark(result_.records, kind_ | TT_SNAP_HOLDERS, 0, 0);
        const int error = read_iterator(file_link_, result_.records, [&](const tt_head& row) {
            const auto& holder = reinterpret_cast<const tt_holder&>(row);
            if (!wanted(options_, holder)) return false;
            const bool late = (what_ & TT_SNAP_SOCKETS) && namespaces_.lacks(holder.socket_netns);
            if (late) later.append(row);
            return !late;
        });
        if (error) result_.error = std::string("cannot read the open files (iter/task_file): ") + std::strerror(error);
        for_each_record(later, [&](const tt_head& row) {
            const auto& holder = reinterpret_cast<const tt_holder&>(row);
            if (!namespaces_.lacks(holder.socket_netns)) return;
            const auto pid = static_cast<pid_t>(holder.process.tgid);
            const int failed = namespaces_.visit_socket(pid, static_cast<int>(holder.fd), holder.socket_netns);
            if (failed) socket_errors_[holder.socket_netns] = failed;
        });
        for_each_record(later, [&](const tt_head& row) { result_.records.append(row); });
        append_mark(result_.records, kind_ | TT_SNAP_HOLDERS, 0, TT_F_END);
    }

    /// One line, the weightiest.
    void note_what_is_hidden() {
        std::erase_if(socket_errors_, [&](const auto& entry) { return !namespaces_.lacks(entry.first); });
        const auto unseen = [](std::size_t count, const std::string& why) {
            return "sockets that stood before the trace in " + std::to_string(count) +
                   " other network namespaces are not seen (" + why + ")";
        };
        if (denied_)
            result_.note =
                unseen(denied_, std::string("setns: ") + std::strerror(denied_error_)) + ": that needs CAP_SYS_ADMIN";
        else if (namespaces_.hidden() > 1 &&
                 access("/proc/1/ns/net", F_OK) != 0)  // one: an init that nobody may look into; readable: zombies
            result_.note = "the network namespaces of " + std::to_string(namespaces_.hidden()) +
                           " processes cannot be looked up: that needs CAP_SYS_PTRACE; sockets that stood there before "
                           "the trace are not seen";
        else if (!socket_errors_.empty())
            result_.note = unseen(socket_errors_.size(), std::string("held by sockets alone; pidfd_getfd: ") +
                                                             std::strerror(socket_errors_.begin()->second));
    }

    const Options& options_;
    const int tcp_link_;
    const int file_link_;
    const std::uint32_t what_;
    const std::uint32_t kind_;
    SnapshotResult& result_;
    NamespaceFinder namespaces_;
    std::size_t denied_ = 0;
    int denied_error_ = 0;
    std::map<std::uint32_t, int> socket_errors_;  // by namespace: why its sockets could not be reached
};

}  // namespace

SnapshotResult take_snapshot(const Options& options, int tcp_link, int file_link, std::uint32_t what,
                             const std::function<void()>& meanwhile) {
    SnapshotResult result;
    std::atomic<bool> done = false;
    std::thread reader([&] {
        Reader(options, tcp_link, file_link, what, result).read();
        done = true;
    });
    while (!done) {
        meanwhile();
        std::this_thread::sleep_for(std::chrono::milliseconds(1));
    }
    reader.join();
    return result;
}

}  // namespace tcptrail::collect
