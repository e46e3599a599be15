// SPDX-License-Identifier: Apache-2.0
#include "sockets.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <unistd.h>

#include <linux/sockios.h>

#include <cerrno>
#include <chrono>
#include <cstring>
#include <fstream>
#include <iterator>
#include <thread>
#include <utility>
#include <vector>

namespace tcptrail::live {

namespace {

constexpr int kPatience_ms = 15000;

sockaddr_storage address(Net net, bool listening, std::uint16_t port) {
    sockaddr_storage storage{};
    if (net == Net::v4 || (net == Net::mapped && !listening)) {
        auto& in = reinterpret_cast<sockaddr_in&>(storage);
        in.sin_family = AF_INET;
        in.sin_port = htons(port);
        in.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    } else {
        auto& in6 = reinterpret_cast<sockaddr_in6&>(storage);
        in6.sin6_family = AF_INET6;
        in6.sin6_port = htons(port);
        in6.sin6_addr = net == Net::mapped ? in6addr_any : in6addr_loopback;
    }
    return storage;
}

socklen_t length(const sockaddr_storage& storage) {
    return storage.ss_family == AF_INET ? sizeof(sockaddr_in) : sizeof(sockaddr_in6);
}

void write_end(const sockaddr_storage& storage, char (&text)[46], std::uint16_t& port) {
    if (storage.ss_family == AF_INET) {
        const auto& in = reinterpret_cast<const sockaddr_in&>(storage);
        inet_ntop(AF_INET, &in.sin_addr, text, sizeof text);
        port = ntohs(in.sin_port);
        return;
    }
    const auto& in6 = reinterpret_cast<const sockaddr_in6&>(storage);
    port = ntohs(in6.sin6_port);
    if (IN6_IS_ADDR_V4MAPPED(&in6.sin6_addr)) {
        inet_ntop(AF_INET, &in6.sin6_addr.s6_addr[12], text, sizeof text);
    } else {
        inet_ntop(AF_INET6, &in6.sin6_addr, text, sizeof text);
    }
}

void await_ready(int fd, short events, int timeout_ms, const char* what) {
    pollfd wanted{fd, events, 0};
    const int ready = poll(&wanted, 1, timeout_ms);
    if (ready < 0) {
        raise(std::string("poll for ") + what);
    }
    if (ready == 0) {
        throw std::runtime_error(std::string("no ") + what + " in " + std::to_string(timeout_ms) + " ms");
    }
}

}  // namespace

void raise(const std::string& what) {
    throw std::runtime_error(what + ": " + std::strerror(errno));
}

Fd& Fd::operator=(Fd&& other) noexcept {
    if (this != &other) {
        close();
        fd_ = other.release();
    }
    return *this;
}

int Fd::release() {
    return std::exchange(fd_, -1);
}

void Fd::close() {
    if (fd_ >= 0) {
        ::close(release());
    }
}

Tuple tuple_of(int fd) {
    Tuple tuple;
    sockaddr_storage storage{};
    socklen_t size = sizeof storage;
    if (getsockname(fd, reinterpret_cast<sockaddr*>(&storage), &size) != 0) {
        raise("getsockname");
    }
    tuple.v6 = storage.ss_family == AF_INET6;
    write_end(storage, tuple.laddr, tuple.lport);
    size = sizeof storage;
    if (getpeername(fd, reinterpret_cast<sockaddr*>(&storage), &size) == 0) {
        write_end(storage, tuple.raddr, tuple.rport);
    }
    return tuple;
}

Tuple mirrored(const Tuple& tuple, bool v6) {
    Tuple other;
    other.v6 = v6;
    std::memcpy(other.laddr, tuple.raddr, sizeof other.laddr);
    std::memcpy(other.raddr, tuple.laddr, sizeof other.raddr);
    other.lport = tuple.rport;
    other.rport = tuple.lport;
    return other;
}

Fd listen_on(Net net, std::uint16_t port, int backlog, bool reuse_port) {
    const auto local = address(net, true, port);
    Fd fd(socket(local.ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0));
    set_option(fd.get(), SOL_SOCKET, SO_REUSEADDR, 1);
    if (reuse_port) {
        set_option(fd.get(), SOL_SOCKET, SO_REUSEPORT, 1);
    }
    if (net == Net::mapped) {
        set_option(fd.get(), IPPROTO_IPV6, IPV6_V6ONLY, 0);
    }
    if (bind(fd.get(), reinterpret_cast<const sockaddr*>(&local), length(local)) != 0) {
        raise("bind to port " + std::to_string(port));
    }
    if (listen(fd.get(), backlog) != 0) {
        raise("listen");
    }
    return fd;
}

Fd fresh_socket(Net net) {
    Fd fd(socket(address(net, false, 0).ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0));
    if (!fd) {
        raise("socket");
    }
    return fd;
}

int try_connect(int fd, Net net, std::uint16_t port) {
    const auto remote = address(net, false, port);
    return connect(fd, reinterpret_cast<const sockaddr*>(&remote), length(remote)) == 0 ? 0 : errno;
}

Fd dial(Net net, std::uint16_t port, std::uint16_t local_port) {
    Fd fd = fresh_socket(net);
    if (local_port != 0) {
        const auto local = address(net, false, local_port);
        if (bind(fd.get(), reinterpret_cast<const sockaddr*>(&local), length(local)) != 0) {
            raise("bind to local port " + std::to_string(local_port));
        }
    }
    if ((errno = try_connect(fd.get(), net, port)) != 0) {
        raise("connect to port " + std::to_string(port));
    }
    return fd;
}

Fd dial_to(const std::string& address, std::uint16_t port) {
    Fd fd = fresh_socket(Net::v4);
    sockaddr_in remote{};
    remote.sin_family = AF_INET;
    remote.sin_port = htons(port);
    if (inet_pton(AF_INET, address.c_str(), &remote.sin_addr) != 1 ||
        connect(fd.get(), reinterpret_cast<const sockaddr*>(&remote), sizeof remote) != 0) {
        raise("connect to " + address);
    }
    return fd;
}

Fd start_dial(Net net, std::uint16_t port) {
    Fd fd = fresh_socket(net);
    set_nonblocking(fd.get());
    const int error = try_connect(fd.get(), net, port);
    if (error != 0 && error != EINPROGRESS) {
        errno = error;
        raise("connect without waiting to port " + std::to_string(port));
    }
    return fd;
}

int connect_result(int fd, int timeout_ms) {
    await_ready(fd, POLLOUT, timeout_ms, "result of connect");
    // Before 6.10 the process is woken first and the socket is closed next; SO_ERROR takes sk_err away without its lock.
    // TCP_INFO waits for the lock, so that what the kernel knew is still there when it closes the socket.
    tcp_info info{};
    socklen_t info_size = sizeof info;
    getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &info_size);
    int error = 0;
    socklen_t size = sizeof error;
    getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &size);
    return error;
}

Fd accept_from(int listener) {
    await_ready(listener, POLLIN, kPatience_ms, "connection to accept");
    return accept_blocking(listener);
}

Fd accept_blocking(int listener) {
    Fd fd(accept4(listener, nullptr, nullptr, SOCK_CLOEXEC));
    if (!fd) {
        raise("accept4");
    }
    return fd;
}

void put(int fd, std::size_t bytes) {
    const std::vector<char> data(bytes, 'x');
    if (send(fd, data.data(), bytes, MSG_NOSIGNAL) != static_cast<ssize_t>(bytes)) {
        raise("send");
    }
}

void get(int fd, std::size_t bytes) {
    std::vector<char> data(bytes);
    for (std::size_t have = 0; have < bytes;) {
        await_ready(fd, POLLIN, kPatience_ms, "data to read");
        const ssize_t n = read(fd, data.data(), bytes - have);
        if (n <= 0) {
            raise(n == 0 ? "EOF where data was due" : "read");
        }
        have += static_cast<std::size_t>(n);
    }
}

void await_eof(int fd) {
    char byte = 0;
    await_ready(fd, POLLIN, kPatience_ms, "EOF");
    const ssize_t n = read(fd, &byte, 1);
    if (n != 0) {
        raise(n > 0 ? "data where EOF was due" : "read for EOF");
    }
}

int state_of(int fd) {
    tcp_info info{};
    socklen_t size = sizeof info;
    if (getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &size) != 0) {
        raise("TCP_INFO");
    }
    return info.tcpi_state;
}

void await_state(int fd, int state, int timeout_ms) {
    const auto deadline = std::chrono::steady_clock::now() + std::chrono::milliseconds(timeout_ms);
    int last = -1;
    while (std::chrono::steady_clock::now() < deadline) {
        if ((last = state_of(fd)) == state) {
            return;
        }
        sleep_ms(2);
    }
    throw std::runtime_error("socket stands in state " + std::to_string(last) + ", awaited was " +
                             std::to_string(state));
}

void await_readable(int fd, int bytes) {
    for (int i = 0; i < kPatience_ms / 2; ++i) {
        int unread = 0;
        if (ioctl(fd, SIOCINQ, &unread) != 0) {
            raise("SIOCINQ");
        }
        if (unread >= bytes) {
            return;
        }
        sleep_ms(2);
    }
    throw std::runtime_error("the data did not come");
}

void await_acked(int fd) {
    for (int i = 0; i < kPatience_ms / 2; ++i) {
        int unacked = 0;
        if (ioctl(fd, SIOCOUTQ, &unacked) != 0) {
            raise("SIOCOUTQ");
        }
        if (unacked == 0) {
            return;
        }
        sleep_ms(2);
    }
    throw std::runtime_error("written bytes were never acknowledged");
}

void set_option(int fd, int level, int option, int value) {
    if (setsockopt(fd, level, option, &value, sizeof value) != 0) {
        raise("setsockopt " + std::to_string(level) + "/" + std::to_string(option));
    }
}

void linger_zero(int fd) {
    const linger now{1, 0};
    if (setsockopt(fd, SOL_SOCKET, SO_LINGER, &now, sizeof now) != 0) {
        raise("SO_LINGER");
    }
}

void set_nonblocking(int fd) {
    if (fcntl(fd, F_SETFL, O_NONBLOCK) != 0) {
        raise("O_NONBLOCK");
    }
}

void shutdown_write(int fd) {
    if (shutdown(fd, SHUT_WR) != 0) {
        raise("shutdown");
    }
}

void make_deaf(int fd, Deaf to) {
    // The filter sees the segment from its TCP header on; byte 13 holds the flags, FIN is its lowest bit.
    sock_filter fins[] = {
        BPF_STMT(BPF_LD | BPF_B | BPF_ABS, 13),
        BPF_JUMP(BPF_JMP | BPF_JSET | BPF_K, 1, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, 0),
        BPF_STMT(BPF_RET | BPF_K, 0xffffffffU),
    };
    // Byte 12 begins with the header's length in words.
    sock_filter empty[] = {
        BPF_STMT(BPF_LD | BPF_B | BPF_ABS, 12),       BPF_STMT(BPF_ALU | BPF_RSH | BPF_K, 4),
        BPF_STMT(BPF_ALU | BPF_LSH | BPF_K, 2),       BPF_STMT(BPF_MISC | BPF_TAX, 0),
        BPF_STMT(BPF_LD | BPF_W | BPF_LEN, 0),        BPF_STMT(BPF_ALU | BPF_SUB | BPF_X, 0),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, 0, 0, 1), BPF_STMT(BPF_RET | BPF_K, 0),
        BPF_STMT(BPF_RET | BPF_K, 0xffffffffU),
    };
    sock_filter all[] = {BPF_STMT(BPF_RET | BPF_K, 0)};
    sock_fprog program{1, all};
    switch (to) {
        case Deaf::to_fin: program = {4, fins}; break;
        case Deaf::to_empty: program = {9, empty}; break;
        case Deaf::to_all: break;
    }
    if (setsockopt(fd, SOL_SOCKET, SO_ATTACH_FILTER, &program, sizeof program) != 0) {
        raise("SO_ATTACH_FILTER");
    }
}

void make_hear(int fd) {
    set_option(fd, SOL_SOCKET, SO_DETACH_FILTER, 0);
}

void sleep_ms(int ms) {
    std::this_thread::sleep_for(std::chrono::milliseconds(ms));
}

bool unshare_mounts() {
    return unshare(CLONE_NEWNS) == 0 && mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr) == 0;
}

void write_file(const std::string& path, const std::string& text) {
    const Fd fd(open(path.c_str(), O_WRONLY | O_CLOEXEC));
    if (!fd || write(fd.get(), text.data(), text.size()) != static_cast<ssize_t>(text.size())) {
        raise("write " + text + " to " + path);
    }
}

std::string read_file(const std::string& path) {
    std::ifstream file(path, std::ios::binary);
    if (!file) {
        raise("open " + path);
    }
    return {std::istreambuf_iterator<char>(file), {}};
}

}  // namespace tcptrail::live
