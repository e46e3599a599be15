// SPDX-License-Identifier: Apache-2.0
// Connect, accept and close by io_uring: no accept4 returns, and kernel threads of the process may do the work.
#ifdef HAVE_LIBURING

#include <liburing.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <unistd.h>

#include <arpa/inet.h>
#include <array>
#include <cerrno>
#include <vector>

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

int accept_by(Ring& ring, const Fd& listener) {
    return ring.run("accept", [&](io_uring_sqe* entry) {
        io_uring_prep_accept(entry, listener.get(), nullptr, nullptr, SOCK_CLOEXEC);
    });
}

Truth by_ring(Arena& arena, const TraceBegins& begin, Way way) {
    begin();
    Stage stage;
    const Who server = arena.spawn("tt-server", [&] {
        Ring ring(way);
        const Fd listener = open_listener(stage);
        for (int i = 0; i < kFew; ++i) {
            const int fd = accept_by(ring, listener);
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

struct Pids {
    pid_t of[65536];
};

/// Two workers accept by io_uring on one listener: its owner is neither. Half of the connections are closed in order, by
/// the worker at last; the others are reset by the client, and no worker's act tells whose they were.
Truth shared_listener(Arena& arena, const TraceBegins& begin) {
    constexpr int kWorkers = 2;
    constexpr int kAll = 2 * kWorkers * kFew;
    begin();
    Stage stage;
    Shared<Pids> accepted_by;  // by the client's port
    const std::array<Cue, kWorkers> next_round;
    const Who master = arena.spawn("tt-master", [&] {
        const Fd listener = listen_on(Net::v4, kPort);
        std::vector<pid_t> workers;
        for (int w = 0; w < kWorkers; ++w) {
            workers.push_back(fork_named("tt-worker", [&, w] {
                Ring ring(Way::inlined);
                for (int i = 0; i < 2 * kFew; ++i) {
                    const int fd = accept_by(ring, listener);
                    accepted_by->of[tuple_of(fd).rport] = getpid();
                    put(fd, 1);
                    if (i < kFew) {
                        await_eof(fd);
                    } else {
                        await_state(fd, TCP_CLOSE);
                    }
                    ring.run("close", [&](io_uring_sqe* entry) { io_uring_prep_close(entry, fd); });
                    stage.to_client.give();
                    next_round[static_cast<std::size_t>(w)].take();
                }
            }));
        }
        stage.listening.give();
        for (const pid_t worker : workers) {
            wait_for(worker);
        }
    });
    stage.listening.take();
    const Who client = arena.spawn("tt-client", [&] {
        // A round gives each worker one connection: one that has had its own waits for the cue to accept again.
        for (int i = 0; i < kAll; i += kWorkers) {
            for (int w = 0; w < kWorkers; ++w) {
                const Fd fd = dial_and_note(stage, i + w);
                if (i >= kAll / 2) {
                    linger_zero(fd.get());
                }
            }
            for (int w = 0; w < kWorkers; ++w) {
                stage.to_client.take();
            }
            for (const Cue& cue : next_round) {
                cue.give();
            }
        }
    });
    arena.join(client);
    arena.join(master);
    arena.settle();
    Truth truth;
    truth.add(listener_side(master, master));
    for (int i = 0; i < kAll; ++i) {
        const Who worker{accepted_by->of[stage.client(i).lport], "tt-worker", {}};
        Side active = Side::active(stage.client(i), client);
        Side passive = Side::passive(stage.server(i), master, worker);
        if (i < kAll / 2) {
            passive.owner.evidence = "accept|close";
            active.closes_first(client);
            passive.closes_second(worker);
            // Until the worker acts, nothing but an accept hook tells.
            passive.steps[passive.steps.size() - 3].owner = {worker, "accept|inherited", {master}, true};
        } else {
            passive.owner.may_be_unknown = true;
            active.ends("ESTABLISHED", "linger_rst", Named{client}).closed_by(client);
            passive.ends("ESTABLISHED", "rst_received");
        }
        active.any_thread = passive.any_thread = true;
        truth.add(active);
        truth.add(passive);
    }
    return truth;
}

}  // namespace

std::vector<Scene> uring_scenes() {
    return {
        {"IoUringSharedListener", shared_listener},
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
