// SPDX-License-Identifier: Apache-2.0
// Connect, accept and close by io_uring: no accept4 returns, and kernel threads of the process may do the work.
#ifdef HAVE_LIBURING

#include <liburing.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include <arpa/inet.h>
#include <cerrno>

#include "scene.h"
#include "stage.h"

namespace tcptrail::live {

namespace {

constexpr int kFew = 5;

enum class Way { inlined, async, sqpoll };

/// One ring; each call submits one operation and waits for its result.
class Ring {
public:
    explicit Ring(Way way) : way_(way) {
        const int error = io_uring_queue_init(8, &ring_, way == Way::sqpoll ? IORING_SETUP_SQPOLL : 0);
        if (error < 0) {
            errno = -error;
            raise("io_uring_queue_init");
        }
    }
    ~Ring() { io_uring_queue_exit(&ring_); }
    Ring(const Ring&) = delete;
    Ring& operator=(const Ring&) = delete;

    template <typename Prepare>
    int run(const char* what, const Prepare& prepare) {
        io_uring_sqe* entry = io_uring_get_sqe(&ring_);
        prepare(entry);
        if (way_ == Way::async) {
            entry->flags |= IOSQE_ASYNC;
        }
        io_uring_submit(&ring_);
        io_uring_cqe* done = nullptr;
        __kernel_timespec patience{15, 0};
        const int waited = io_uring_wait_cqe_timeout(&ring_, &done, &patience);
        const int result = waited < 0 ? waited : done->res;
        if (waited == 0) {
            io_uring_cqe_seen(&ring_, done);
        }
        if (result < 0) {
            errno = -result;
            raise(what);
        }
        return result;
    }

private:
    Way way_;
    io_uring ring_{};
};

Truth by_ring(Arena& arena, const TraceBegins& begin, Way way) {
    begin();
    Stage stage;
    const Who server = arena.spawn("tt-server", [&] {
        Ring ring(way);
        const Fd listener = open_listener(stage);
        for (int i = 0; i < kFew; ++i) {
            const int fd = ring.run("accept", [&](io_uring_sqe* entry) {
                io_uring_prep_accept(entry, listener.get(), nullptr, nullptr, SOCK_CLOEXEC);
            });
            put(fd, 1);
            await_eof(fd);
            ring.run("close", [&](io_uring_sqe* entry) { io_uring_prep_close(entry, fd); });
        }
    });
    stage.listening.take();
    const Who client = arena.spawn("tt-client", [&] {
        Ring ring(way);
        sockaddr_in to{};
        to.sin_family = AF_INET;
        to.sin_port = htons(kPort);
        to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
        for (int i = 0; i < kFew; ++i) {
            const int fd = fresh_socket(Net::v4).release();
            ring.run("connect", [&](io_uring_sqe* entry) {
                io_uring_prep_connect(entry, fd, reinterpret_cast<sockaddr*>(&to), sizeof to);
            });
            get(fd, 1);
            stage.note(i, fd);
            ring.run("close", [&](io_uring_sqe* entry) { io_uring_prep_close(entry, fd); });
        }
    });
    arena.join(client);
    arena.join(server);
    arena.settle();
    Truth truth;
    truth.add(listener_side(server, server));
    for (int i = 0; i < kFew; ++i) {
        Side& active = truth.add(Side::active(stage.client(i), client)).closes_first(client);
        // Without fentry nothing tells of an io_uring accept; the listener's only process is right all the same.
        Side passive = Side::passive(stage.server(i), server, server);
        passive.owner.evidence = "accept|inherited|close|snapshot";
        passive.closes_second(server);
        passive.any_thread = active.any_thread = true;  // iou-wrk-N, iou-sqp-N: the process is what counts
        truth.add(passive);
    }
    return truth;
}

}  // namespace

std::vector<Scene> uring_scenes() {
    return {
        {"IoUringInline", [](Arena& a, const TraceBegins& b) { return by_ring(a, b, Way::inlined); }},
        {"IoUringAsync", [](Arena& a, const TraceBegins& b) { return by_ring(a, b, Way::async); }},
        {"IoUringSqpoll", [](Arena& a, const TraceBegins& b) { return by_ring(a, b, Way::sqpoll); }},
    };
}

}  // namespace tcptrail::live

#else

#include "scene.h"

namespace tcptrail::live {

std::vector<Scene> uring_scenes() {
    return {};
}

}  // namespace tcptrail::live

#endif
