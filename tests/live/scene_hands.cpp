// SPDX-License-Identifier: Apache-2.0
// Scenes that lead a tracer to the wrong process: queues of before the trace, renames, execs of a thread, other
// namespaces, a pid that is used again, descriptors that change their meaning while an accept returns.
#include <fcntl.h>
#include <linux/sched.h>
#include <netinet/tcp.h>
#include <sched.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <thread>

#include "scene.h"
#include "stage.h"

namespace tcptrail::live {

namespace {

constexpr int kFew = 5;

/// Connections that stood in the accept queue when the trace began; then they are reset, or another process than the
/// listener's owner accepts them.
Truth queued_before(Arena& arena, const TraceBegins& begin, bool accepted) {
    Stage stage;
    Shared<pid_t> worker_pid;
    const Cue open;
    const Who master = arena.spawn("tt-master", [&] {
        const Fd listener = open_listener(stage);
        const pid_t worker = fork_named("tt-worker", [&] {
            stage.to_server.take();
            if (accepted) {
                for (const Fd& fd : accept_and_greet(listener.get(), kFew)) {
                    await_eof(fd.get());
                }
            }
        });
        *worker_pid = worker;
        wait_for(worker);
    });
    stage.listening.take();
    const Who client = arena.spawn("tt-client", [&] {
        std::vector<Fd> fds;
        for (int i = 0; i < kFew; ++i) {
            fds.push_back(dial(Net::v4, kPort));
            stage.note(i, fds.back().get());
        }
        open.give();
        stage.to_client.take();
        for (const Fd& fd : fds) {
            if (accepted) {
                get(fd.get(), 1);
            } else {
                linger_zero(fd.get());
            }
        }
    });
    open.take();
    begin();
    if (accepted) {
        stage.to_server.give();
    }
    stage.to_client.give();
    arena.join(client);
    if (!accepted) {
        stage.to_server.give();
    }
    arena.join(master);
    arena.settle();
    const Who worker{*worker_pid, "tt-worker", {}};
    Truth truth;
    Side listener = listener_side(master, master);
    listener.steps.clear();
    listener.before_trace = true;
    listener.owner = {master, "snapshot"};
    truth.add(listener.step("LISTEN", "CLOSE", Named{master}));
    for (int i = 0; i < kFew; ++i) {
        Side& active = truth.add(Side::older(stage.client(i), Role::active, {client, "snapshot"}));
        if (accepted) {
            active.closes_first(client);
            truth.add(Side::older(stage.server(i), Role::passive, {worker, "accept"})).closes_second(worker);
        } else {
            active.ends("ESTABLISHED", "linger_rst", Named{client}).closed_by(client);
            truth.add(Side::older(stage.server(i), Role::passive, {master, "inherited"}))
                .ends("ESTABLISHED", "rst_received");
        }
    }
    return truth;
}

/// The server has another name when it accepts than when it listened, and another when it closes.
Truth renamed_server(Arena& arena, const TraceBegins& begin) {
    begin();
    Stage stage;
    const Who server = arena.spawn("tt-before", [&] {
        const Fd listener = open_listener(stage);
        prctl(PR_SET_NAME, "tt-accepts");
        const std::vector<Fd> fds = accept_and_greet(listener.get(), kFew);
        prctl(PR_SET_NAME, "tt-closes");
        for (const Fd& fd : fds) {
            await_eof(fd.get());
        }
    });
    stage.listening.take();
    const Who client = arena.spawn("tt-client", [&] { dial_all(stage, kFew).clear(); });
    arena.join(client);
    arena.join(server);
    arena.settle();
    const Who accepts{server.pid, "tt-accepts", {}};
    const Who closes{server.pid, "tt-closes", {}};
    Truth truth;
    truth.add(listener_side(server, closes));
    for (int i = 0; i < kFew; ++i) {
        truth.add(Side::active(stage.client(i), client)).closes_first(client);
        truth.add(Side::passive(stage.server(i), server, accepts)).closes_second(closes);
    }
    return truth;
}

void keep_on_exec(int fd) {
    fcntl(fd, F_SETFD, 0);
}

/// A thread execs: it takes over the process's pid, and the new program ends with the socket that the old one connected.
Truth thread_execs(Arena& arena, const TraceBegins& begin) {
    begin();
    Stage stage;
    const Who server = arena.spawn("tt-server", [&] {
        const Fd listener = open_listener(stage);
        for (const Fd& fd : accept_and_greet(listener.get(), 1)) {
            await_eof(fd.get());
        }
    });
    stage.listening.take();
    const Who client = arena.spawn("tt-client", [&] {
        const Fd fd = dial_and_note(stage, 0);
        keep_on_exec(fd.get());
        std::thread([] {
            prctl(PR_SET_NAME, "tt-thread");
            execlp("sleep", "sleep", "0", nullptr);
            raise("exec sleep");
        }).join();
    });
    arena.join(client);
    arena.join(server);
    arena.settle();
    Truth truth;
    truth.add(listener_side(server, server));
    truth.add(Side::active(stage.client(0), client)).closes_first({client.pid, "sleep", {}});
    truth.add(Side::passive(stage.server(0), server, server)).closes_second(server);
    return truth;
}

/// A socket stays in its namespace when its process goes to another.
Truth leaves_its_namespace(Arena& arena, const TraceBegins& begin) {
    begin();
    Stage stage;
    const Who server = arena.spawn("tt-server", [&] {
        const Fd listener = open_listener(stage);
        if (unshare(CLONE_NEWNET) != 0) {
            raise("unshare");
        }
        for (const Fd& fd : accept_and_greet(listener.get(), kFew)) {
            await_eof(fd.get());
        }
    });
    stage.listening.take();
    const Who client = arena.spawn("tt-client", [&] {
        const std::vector<Fd> fds = dial_all(stage, kFew);
        if (unshare(CLONE_NEWNET) != 0) {
            raise("unshare");
        }
    });
    arena.join(client);
    arena.join(server);
    arena.settle();
    Truth truth;
    truth.add(listener_side(server, server));
    for (int i = 0; i < kFew; ++i) {
        truth.add(Side::active(stage.client(i), client)).closes_first(client);
        truth.add(Side::passive(stage.server(i), server, server)).closes_second(server);
    }
    return truth;
}

/// fork() with a pid of our choice, which must be free. Needs CAP_SYS_ADMIN, as making namespaces does.
pid_t fork_as(pid_t wanted) {
    clone_args args{};
    args.exit_signal = SIGCHLD;
    args.set_tid = reinterpret_cast<std::uint64_t>(&wanted);
    args.set_tid_size = 1;
    return static_cast<pid_t>(syscall(SYS_clone3, &args, sizeof args));
}

/// Two clients, one after the other, under one pid.
Truth pid_used_again(Arena& arena, const TraceBegins& begin) {
    begin();
    Stage stage;
    Shared<pid_t> pid;
    const Who server = arena.spawn("tt-server", [&] {
        const Fd listener = open_listener(stage);
        for (const Fd& fd : accept_and_greet(listener.get(), 2)) {
            await_eof(fd.get());
        }
    });
    stage.listening.take();
    const Who parent = arena.spawn("tt-parent", [&] {
        *pid = fork_named("tt-first", [&] { const Fd fd = dial_and_note(stage, 0); });
        wait_for(*pid);
        const pid_t again = fork_as(*pid);
        if (again < 0) {
            raise("clone3 with set_tid");
        }
        if (again == 0) {
            prctl(PR_SET_NAME, "tt-second");
            alarm(60);
            { const Fd fd = dial_and_note(stage, 1); }
            _exit(0);
        }
        wait_for(again);
    });
    arena.join(parent);
    arena.join(server);
    arena.settle();
    Truth truth;
    truth.add(listener_side(server, server));
    const Who first{*pid, "tt-first", {}};
    const Who second{*pid, "tt-second", {}};
    truth.add(Side::active(stage.client(0), first)).closes_first(first);
    truth.add(Side::active(stage.client(1), second)).closes_first(second);
    for (int i = 0; i < 2; ++i) {
        truth.add(Side::passive(stage.server(i), server, server)).closes_second(server);
    }
    return truth;
}

/// The handler accepts connections of its own in one thread while another thread gets sockets that a second process
/// accepted: both use the same few numbers again and again, and each must be its acceptor's.
Truth passed_beside_accepts(Arena& arena, const TraceBegins& begin) {
    constexpr int kEach = 100;
    constexpr std::uint16_t kOwnPort = kPort + 1;
    begin();
    Stage stage;
    int channel[2];
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, channel) != 0) {
        raise("socketpair");
    }
    const Fd ours(channel[0]);
    const Fd theirs(channel[1]);
    const Cue handler_listens;
    const Cue acceptor_let_go;  // so that the handler's is the last reference
    const Who server = arena.spawn("tt-acceptor", [&] {
        const Fd listener = open_listener(stage);
        for (int i = 0; i < kEach; ++i) {
            {
                const Fd fd = accept_from(listener.get());
                send_fd(ours.get(), fd.get());
            }
            acceptor_let_go.give();
        }
        stage.to_server.take();
    });
    const Who handler = arena.spawn("tt-handler", [&] {
        const Fd listener = listen_on(Net::v4, kOwnPort);
        handler_listens.give();
        std::exception_ptr failure;
        std::thread accepts([&] {
            try {
                for (int i = 0; i < kEach; ++i) {
                    const Fd fd = accept_from(listener.get());
                    put(fd.get(), 1);
                    await_eof(fd.get());
                }
            } catch (...) {
                failure = std::current_exception();
            }
        });
        for (int i = 0; i < kEach; ++i) {
            const Fd fd = receive_fd(theirs.get());
            acceptor_let_go.take();
            put(fd.get(), 1);
            await_eof(fd.get());
        }
        accepts.join();
        if (failure) {
            std::rethrow_exception(failure);
        }
    });
    stage.listening.take();
    handler_listens.take();
    const Who client = arena.spawn("tt-client", [&] {
        for (int i = 0; i < kEach; ++i) {
            dial_and_note(stage, i);
        }
    });
    const Who other = arena.spawn("tt-other", [&] {
        for (int i = 0; i < kEach; ++i) {
            const Fd fd = dial(Net::v4, kOwnPort);
            get(fd.get(), 1);
            stage.note(kEach + i, fd.get());
        }
    });
    arena.join(client);
    arena.join(other);
    arena.join(handler);
    stage.to_server.give();
    arena.join(server);
    arena.settle();
    Truth truth;
    truth.add(listener_side(server, server));
    truth.add(Side::listening(listener_tuple(Net::v4, kOwnPort), handler, handler));
    for (int i = 0; i < kEach; ++i) {
        truth.add(Side::active(stage.client(i), client)).closes_first(client);
        truth.add(Side::passive(stage.server(i), server, server)).closes_second(handler);
        truth.add(Side::active(stage.client(kEach + i), other)).closes_first(other);
        truth.add(Side::passive(stage.server(kEach + i), handler, handler)).closes_second(handler);
    }
    return truth;
}

}  // namespace

std::vector<Scene> hands_scenes() {
    return {
        {"QueuedBeforeThenReset", [](Arena& a, const TraceBegins& b) { return queued_before(a, b, false); }},
        {"QueuedBeforeThenAccepted", [](Arena& a, const TraceBegins& b) { return queued_before(a, b, true); }},
        {"RenamedServer", renamed_server},
        {"ThreadExecs", thread_execs},
        {"LeavesItsNamespace", leaves_its_namespace},
        {"PidUsedAgain", pid_used_again},
        {"PassedBesideAccepts", passed_beside_accepts},
    };
}

}  // namespace tcptrail::live
