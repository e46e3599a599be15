// SPDX-License-Identifier: Apache-2.0
// Scenes in which connecting, accepting and closing fall to different processes: forks, passed sockets, threads, kills.
// Inside them actors fork on their own; such a child's pid is noted in shared memory.
#include <pthread.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <thread>

#include "scene.h"
#include "stage.h"

namespace tcptrail::live {

namespace {

struct Pids {
    pid_t of[65536];
};

Who client_that_closes_second(Arena& arena, const Stage& stage, int connections) {
    return arena.spawn("tt-client", [&stage, connections] {
        for (int i = 0; i < connections; ++i) {
            const Fd fd = dial_and_note(stage, i);
            await_eof(fd.get());
        }
    });
}

Who server_that_closes_second(Arena& arena, const Stage& stage, int connections) {
    const Who server = arena.spawn("tt-server", [&stage, connections] {
        const Fd listener = open_listener(stage);
        for (const Fd& fd : accept_and_greet(listener.get(), connections)) {
            await_eof(fd.get());
        }
    });
    stage.listening.take();
    return server;
}

/// One process, which takes another name between its two connections.
Truth renamed_between(Arena& arena, const TraceBegins& begin) {
    begin();
    Stage stage;
    const Who server = server_that_closes_second(arena, stage, 2);
    const Who client = arena.spawn("tt-client", [&] {
        dial_and_note(stage, 0).close();
        prctl(PR_SET_NAME, "tt-renamed");
        dial_and_note(stage, 1).close();
    });
    arena.join(client);
    arena.join(server);
    arena.settle();
    Who renamed = client;
    renamed.comm = "tt-renamed";
    Truth truth;
    truth.add(listener_side(server, server));
    for (int i = 0; i < 2; ++i) {
        const Who& who = i == 0 ? client : renamed;
        truth.add(Side::active(stage.client(i), who)).closes_first(who).bytes(0, 1);
        truth.add(Side::passive(stage.server(i), server, server)).closes_second(server).bytes(1, 0);
    }
    return truth;
}

/// The parent accepts, a child serves and closes. Server closes first.
Truth forking_server(Arena& arena, const TraceBegins& begin) {
    constexpr int kConnections = 10;
    begin();
    Stage stage;
    Shared<Pids> workers;
    const Who server = arena.spawn("tt-master", [&] {
        const Fd listener = open_listener(stage);
        for (int i = 0; i < kConnections; ++i) {
            Fd fd = accept_from(listener.get());
            const Cue parent_let_go;
            const pid_t worker = fork_named("tt-worker", [&] {
                parent_let_go.take();
                put(fd.get(), 1);
                fd.close();
            });
            workers->of[i] = worker;
            fd.close();
            parent_let_go.give();
            wait_for(worker);
        }
    });
    stage.listening.take();
    const Who client = client_that_closes_second(arena, stage, kConnections);
    arena.join(client);
    arena.join(server);
    arena.settle();
    Truth truth;
    truth.add(listener_side(server, server));
    for (int i = 0; i < kConnections; ++i) {
        truth.add(Side::active(stage.client(i), client)).closes_second(client);
        truth.add(Side::passive(stage.server(i), server, server)).closes_first({workers->of[i], "tt-worker", {}});
    }
    return truth;
}

/// One process accepts and passes the socket on; another serves and closes first.
Truth passed_socket(Arena& arena, const TraceBegins& begin) {
    begin();
    Stage stage;
    int channel[2];
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, channel) != 0) {
        raise("socketpair");
    }
    const Fd ours(channel[0]);
    const Fd theirs(channel[1]);
    const Cue passed;
    const Who server = arena.spawn("tt-acceptor", [&] {
        const Fd listener = open_listener(stage);
        {
            const Fd fd = accept_from(listener.get());
            send_fd(ours.get(), fd.get());
        }
        passed.give();
        stage.to_server.take();
    });
    const Who handler = arena.spawn("tt-handler", [&] {
        const Fd fd = receive_fd(theirs.get());
        passed.take();
        put(fd.get(), 1);
    });
    stage.listening.take();
    const Who client = client_that_closes_second(arena, stage, 1);
    arena.join(client);
    arena.join(handler);
    stage.to_server.give();
    arena.join(server);
    arena.settle();
    Truth truth;
    truth.add(listener_side(server, server));
    truth.add(Side::active(stage.client(0), client)).closes_second(client);
    truth.add(Side::passive(stage.server(0), server, server)).closes_first(handler);
    return truth;
}

/// A master that listens, four workers that accept on its listener.
Truth preforked_workers(Arena& arena, const TraceBegins& begin) {
    constexpr int kWorkers = 4;
    constexpr int kEach = 5;
    begin();
    Stage stage;
    Shared<Pids> accepted_by;  // by the client's port
    const Who master = arena.spawn("tt-master", [&] {
        const Fd listener = listen_on(Net::v4, kPort);
        pid_t workers[kWorkers];
        for (pid_t& worker : workers) {
            worker = fork_named("tt-worker", [&] {
                std::vector<Fd> fds;
                for (int i = 0; i < kEach; ++i) {
                    fds.push_back(accept_blocking(listener.get()));
                    accepted_by->of[tuple_of(fds.back().get()).rport] = getpid();
                    put(fds.back().get(), 1);
                }
                for (const Fd& fd : fds) {
                    await_eof(fd.get());
                }
            });
        }
        stage.listening.give();
        for (const pid_t worker : workers) {
            wait_for(worker);
        }
    });
    stage.listening.take();
    const Who client = arena.spawn("tt-client", [&] { dial_all(stage, kWorkers * kEach).clear(); });
    arena.join(client);
    arena.join(master);
    arena.settle();
    Truth truth;
    truth.add(listener_side(master, master));
    for (int i = 0; i < kWorkers * kEach; ++i) {
        const Who worker{accepted_by->of[stage.client(i).lport], "tt-worker", {}};
        truth.add(Side::active(stage.client(i), client)).closes_first(client);
        truth.add(Side::passive(stage.server(i), master, worker)).closes_second(worker);
    }
    return truth;
}

template <typename Body>
void in_thread(const char* name, const Body& body) {
    std::exception_ptr failure;
    std::thread thread([&] {
        pthread_setname_np(pthread_self(), name);
        try {
            body();
        } catch (...) {
            failure = std::current_exception();
        }
    });
    thread.join();
    if (failure) {
        std::rethrow_exception(failure);
    }
}

/// Both ends in threads whose name is not their process's.
Truth named_threads(Arena& arena, const TraceBegins& begin) {
    constexpr int kConnections = 5;
    begin();
    Stage stage;
    const Who server = arena.spawn("tt-server", [&] {
        in_thread("tt-acceptor", [&] {
            const Fd listener = open_listener(stage);
            for (const Fd& fd : accept_and_greet(listener.get(), kConnections)) {
                await_eof(fd.get());
            }
        });
    });
    stage.listening.take();
    const Who client =
        arena.spawn("tt-client", [&] { in_thread("tt-dialler", [&] { dial_all(stage, kConnections).clear(); }); });
    arena.join(client);
    arena.join(server);
    arena.settle();
    const Who dialler{client.pid, client.comm, "tt-dialler"};
    const Who acceptor{server.pid, server.comm, "tt-acceptor"};
    Truth truth;
    truth.add(listener_side(acceptor, acceptor));
    for (int i = 0; i < kConnections; ++i) {
        truth.add(Side::active(stage.client(i), dialler)).closes_first(dialler);
        truth.add(Side::passive(stage.server(i), acceptor, acceptor)).closes_second(acceptor);
    }
    return truth;
}

/// The client dies with its connections open: by SIGKILL, or by plain exit.
Truth dies_with_open_sockets(Arena& arena, const TraceBegins& begin, bool killed) {
    constexpr int kConnections = 10;
    begin();
    Stage stage;
    const Cue open;
    const Who server = server_that_closes_second(arena, stage, kConnections);
    const Who client = arena.spawn("tt-client", [&] {
        for (Fd& fd : dial_all(stage, kConnections)) {
            fd.release();
        }
        open.give();
        if (killed) {
            pause();
        }
    });
    open.take();
    if (killed) {
        kill(client.pid, SIGKILL);
        arena.join_killed(client, SIGKILL);
    } else {
        arena.join(client);
    }
    arena.join(server);
    arena.settle();
    Truth truth;
    truth.add(listener_side(server, server));
    for (int i = 0; i < kConnections; ++i) {
        truth.add(Side::active(stage.client(i), client)).closes_first(client);
        truth.add(Side::passive(stage.server(i), server, server)).closes_second(server);
    }
    return truth;
}

/// The opener forks and closes its copy; the child is the last to hold the socket.
Truth connect_then_fork(Arena& arena, const TraceBegins& begin) {
    begin();
    Stage stage;
    Shared<Pids> heirs;
    const Who server = server_that_closes_second(arena, stage, 1);
    const Who client = arena.spawn("tt-opener", [&] {
        Fd fd = dial_and_note(stage, 0);
        const Cue parent_let_go;
        const pid_t heir = fork_named("tt-heir", [&] {
            parent_let_go.take();
            fd.close();
        });
        heirs->of[0] = heir;
        fd.close();
        parent_let_go.give();
        wait_for(heir);
    });
    arena.join(client);
    arena.join(server);
    arena.settle();
    Truth truth;
    truth.add(listener_side(server, server));
    truth.add(Side::active(stage.client(0), client)).closes_first({heirs->of[0], "tt-heir", {}});
    truth.add(Side::passive(stage.server(0), server, server)).closes_second(server);
    return truth;
}

}  // namespace

std::vector<Scene> process_scenes() {
    return {
        {"ForkingServer", forking_server},
        {"PassedSocket", passed_socket},
        {"PreforkedWorkers", preforked_workers},
        {"NamedThreads", named_threads},
        {"RenamedBetween", renamed_between},
        {"KilledOwner", [](Arena& a, const TraceBegins& b) { return dies_with_open_sockets(a, b, true); }},
        {"ExitWithOpenSockets", [](Arena& a, const TraceBegins& b) { return dies_with_open_sockets(a, b, false); }},
        {"ConnectThenFork", connect_then_fork},
    };
}

}  // namespace tcptrail::live
