// SPDX-License-Identifier: Apache-2.0
// Small steps on TCP sockets that scenes are made of. Every call either does what it says or throws; every wait is
// bounded. Used inside the actors' processes.
#pragma once

#include <cstdint>
#include <stdexcept>
#include <string>

namespace tcptrail::live {

/// Throws with `what` and the text of errno.
[[noreturn]] void raise(const std::string& what);

/// Owns a file descriptor.
class Fd {
public:
    Fd() = default;
    explicit Fd(int fd) : fd_(fd) {}
    Fd(Fd&& other) noexcept : fd_(other.release()) {}
    Fd& operator=(Fd&& other) noexcept;
    ~Fd() { close(); }
    int get() const { return fd_; }
    int release();
    void close();
    explicit operator bool() const { return fd_ >= 0; }

private:
    int fd_ = -1;
};

enum class Net {
    v4,
    v6,
    mapped,  // the listener is AF_INET6 and takes IPv4: ::ffff:127.0.0.1 on its side, AF_INET on the other
};

/// Both ends of a connection as one of its sockets sees them; v4-mapped addresses are written as IPv4. Plain data, so
/// that it can stand in memory shared by the actors.
struct Tuple {
    bool v6 = false;  // of the socket's family, not of the addresses
    char laddr[46] = {};
    char raddr[46] = {};
    std::uint16_t lport = 0;  // 0: the socket never had one
    std::uint16_t rport = 0;
};

Tuple tuple_of(int fd);
/// The same connection from its other end, whose socket is of family IPv6 if `v6`.
Tuple mirrored(const Tuple& tuple, bool v6);

Fd listen_on(Net net, std::uint16_t port, int backlog = 4096, bool reuse_port = false);
/// A socket for `net`'s connecting side, not yet connected.
Fd fresh_socket(Net net);
/// connect(), blocking. Returns errno or 0.
int try_connect(int fd, Net net, std::uint16_t port);
/// A connection that is established. local_port 0: the kernel's choice.
Fd dial(Net net, std::uint16_t port, std::uint16_t local_port = 0);
/// The same to any IPv4 address.
Fd dial_to(const std::string& address, std::uint16_t port);
/// Starts a connect without waiting for it and returns at once.
Fd start_dial(Net net, std::uint16_t port);
/// Waits for the connect that start_dial began and returns its error, 0 if it succeeded.
int connect_result(int fd, int timeout_ms = 10000);
Fd accept_from(int listener);
/// accept4() without asking first whether there is one: for listeners that several processes share.
Fd accept_blocking(int listener);

void put(int fd, std::size_t bytes);
void get(int fd, std::size_t bytes);
void await_eof(int fd);
/// Waits until `bytes` stand unread, and leaves them there.
void await_readable(int fd, int bytes);
/// TCP_ESTABLISHED, ... of <netinet/tcp.h>.
int state_of(int fd);
/// Waits until the socket is in `state`.
void await_state(int fd, int state, int timeout_ms = 10000);
/// Waits until the peer has acknowledged all that was written.
void await_acked(int fd);

void set_option(int fd, int level, int option, int value);
void linger_zero(int fd);
void shutdown_write(int fd);
void set_nonblocking(int fd);

/// What a socket no longer hears: a filter on it throws the segments away before TCP sees them, as a network would.
enum class Deaf { to_fin, to_empty /* no payload */, to_all };
void make_deaf(int fd, Deaf to);
void make_hear(int fd);

void sleep_ms(int ms);
/// A mount namespace of this process's own, of which nobody else sees anything. False, with errno, where that is not allowed.
bool unshare_mounts();
void write_file(const std::string& path, const std::string& text);
std::string read_file(const std::string& path);

}  // namespace tcptrail::live
