// SPDX-License-Identifier: Apache-2.0
#include "collect/snapshot.h"

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <chrono>
#include <cstring>
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

/// The same choice as wanted() in the programs.
bool wanted(const Options& options, const tt_socket& row) {
    const auto has = [](const auto& ports, std::uint16_t port) {
        return ports.empty() || std::find(ports.begin(), ports.end(), port) != ports.end();
    };
    if ((row.family == ipv4_family && !options.ipv4) || (row.family == ipv6_family && !options.ipv6)) return false;
    if (row.head.new_state != listen_state && !has(options.rports, row.rport)) return false;
    return row.head.lport == 0 || has(options.lports, row.head.lport);
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

void read_sockets(const Options& options, int link, std::uint32_t kind, SnapshotResult& result) {
    std::size_t denied = 0;
    int denied_error = 0;
    std::size_t hidden = 0;
    for (const Namespace& place : find_namespaces(options.netns, hidden)) {
        // The thread starts in our own, which comes first.
        if (const int error = place.own() ? 0 : place.enter()) {
            denied += 1;
            denied_error = error;
            continue;
        }
        append_mark(result.records, kind | TT_SNAP_SOCKETS, place.inode(), 0);
        const int error = read_iterator(link, result.records, [&](const tt_head& row) {
            return wanted(options, reinterpret_cast<const tt_socket&>(row));
        });
        append_mark(result.records, kind | TT_SNAP_SOCKETS, place.inode(), TT_F_END);
        if (error) result.error = std::string("cannot read the sockets (iter/tcp): ") + std::strerror(error);
        append_settings(result.records, place.inode());
    }
    if (denied)
        result.note = "sockets that stood before the trace in " + std::to_string(denied) +
                      " other network namespaces are not seen (setns: " + std::strerror(denied_error) +
                      "): that needs CAP_SYS_ADMIN";
    else if (hidden > 1 &&
             access("/proc/1/ns/net", F_OK) != 0)  // one: an init that nobody may look into; readable: zombies
        result.note = "the network namespaces of " + std::to_string(hidden) +
                      " processes cannot be looked up: that needs CAP_SYS_PTRACE; sockets that stood there before the "
                      "trace are not seen";
}

}  // namespace

SnapshotResult take_snapshot(const Options& options, int tcp_link, int file_link, std::uint32_t what,
                             const std::function<void()>& meanwhile) {
    const std::uint32_t kind = what & ~std::uint32_t{TT_SNAP_SOCKETS | TT_SNAP_HOLDERS | TT_SNAP_MARK};
    SnapshotResult result;
    std::atomic<bool> done = false;
    std::thread reader([&] {
        if (what & TT_SNAP_SOCKETS) read_sockets(options, tcp_link, kind, result);
        if (what & TT_SNAP_HOLDERS) {
            append_mark(result.records, kind | TT_SNAP_HOLDERS, 0, 0);
            if (const int error = read_iterator(file_link, result.records, [](const tt_head&) { return true; }))
                result.error = std::string("cannot read the open files (iter/task_file): ") + std::strerror(error);
            append_mark(result.records, kind | TT_SNAP_HOLDERS, 0, TT_F_END);
        }
        append_mark(result.records, what | TT_SNAP_MARK, 0, TT_F_END);
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
