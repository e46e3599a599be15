// SPDX-License-Identifier: Apache-2.0
// Scenes that began before the trace: it must find the owners in a snapshot, or say that nobody can know them.
#include <netinet/tcp.h>
#include <signal.h>
#include <unistd.h>

#include "scene.h"
#include "stage.h"

namespace tcptrail::live {

namespace {

constexpr int kFew = 5;

Side older_listener(const Who& owner) {
    Side side = listener_side(owner, owner);
    side.steps.clear();
    side.before_trace = true;
    side.owner = {owner, "snapshot"};
    return side.step("LISTEN", "CLOSE", Named{owner});
}

/// Opened before the trace, closed under it by the processes that still hold them.
Truth closed_under_the_trace(Arena& arena, const TraceBegins& begin, bool client_first) {
    Stage stage;
    const Cue open;
    const Who server = arena.spawn("tt-server", [&] {
        const Fd listener = open_listener(stage);
        std::vector<Fd> fds = accept_and_greet(listener.get(), kFew);
        stage.to_server.take();
        if (client_first) {
            for (const Fd& fd : fds) {
                await_eof(fd.get());
            }
        }
    });
    stage.listening.take();
    const Who client = arena.spawn("tt-client", [&] {
        std::vector<Fd> fds = dial_all(stage, kFew);
        open.give();
        stage.to_client.take();
        if (!client_first) {
            for (const Fd& fd : fds) {
                await_eof(fd.get());
            }
        }
    });
    open.take();
    begin();
    stage.to_client.give();
    stage.to_server.give();
    arena.join(client);
    arena.join(server);
    arena.settle();
    Truth truth;
    truth.add(older_listener(server));
    for (int i = 0; i < kFew; ++i) {
        Side& active = truth.add(Side::older(stage.client(i), Role::active, {client, "snapshot"}));
        client_first ? active.closes_first(client) : active.closes_second(client);
        Side& passive = truth.add(Side::older(stage.server(i), Role::passive, {server, "snapshot"}));
        client_first ? passive.closes_second(server) : passive.closes_first(server);
    }
    return truth;
}

/// The clients were killed before the trace and their FINs are held back by deaf peers: orphans in FIN_WAIT1, which end
/// under the trace. Who they were nobody can know.
Truth owner_gone_before(Arena& arena, const TraceBegins& begin) {
    Stage stage;
    const Cue open;
    const Who server = arena.spawn("tt-server", [&] {
        const Fd listener = open_listener(stage);
        const std::vector<Fd> fds = accept_and_greet(listener.get(), kFew);
        for (const Fd& fd : fds) {
            make_deaf(fd.get(), Deaf::to_fin);
        }
        open.give();
        stage.to_server.take();
        for (const Fd& fd : fds) {
            make_hear(fd.get());
        }
        for (const Fd& fd : fds) {
            await_eof(fd.get());
        }
        stage.to_server.take();  // the orphans have left
    });
    stage.listening.take();
    const Cue dialled;
    const Who client = arena.spawn("tt-client", [&] {
        const std::vector<Fd> fds = dial_all(stage, kFew);
        dialled.give();
        pause();
    });
    dialled.take();
    open.take();
    kill(client.pid, SIGKILL);
    arena.join_killed(client, SIGKILL);
    begin();
    stage.to_server.give();
    arena.settle(1 + kFew);
    stage.to_server.give();
    arena.join(server);
    arena.settle();
    Truth truth;
    truth.add(older_listener(server));
    for (int i = 0; i < kFew; ++i) {
        Side& orphan = truth.add(Side::older(stage.client(i), Role::active, {{}, "unknown"}));
        orphan.step("FIN_WAIT1", "FIN_WAIT2").step("FIN_WAIT2", "TIME_WAIT", {}, Mini::yes);
        orphan.because("local_fin").time_wait = true;
        truth.add(Side::older(stage.server(i), Role::passive, {server, "snapshot"})).closes_second(server);
    }
    return truth;
}

/// Opened before the trace and held by two processes when it begins; the heir closes last. Either holder is a true owner.
Truth held_by_two(Arena& arena, const TraceBegins& begin) {
    Stage stage;
    Shared<pid_t> heir_pid;
    const Cue open;
    const Cue opener_left;
    const Who server = arena.spawn("tt-server", [&] {
        const Fd listener = open_listener(stage);
        for (const Fd& fd : accept_and_greet(listener.get(), 1)) {
            await_eof(fd.get());
        }
    });
    stage.listening.take();
    const Who opener = arena.spawn("tt-opener", [&] {
        Fd fd = dial_and_note(stage, 0);
        const pid_t heir = fork_named("tt-heir", [&] {
            opener_left.take();
            fd.close();
        });
        *heir_pid = heir;
        open.give();
        stage.to_client.take();
        fd.close();
        opener_left.give();
        wait_for(heir);
    });
    open.take();
    begin();
    stage.to_client.give();
    arena.join(opener);
    arena.join(server);
    arena.settle();
    const Who heir{*heir_pid, "tt-heir", {}};
    Truth truth;
    truth.add(older_listener(server));
    truth.add(Side::older(stage.client(0), Role::active, {opener, "snapshot", {heir}})).closes_first(heir);
    truth.add(Side::older(stage.server(0), Role::passive, {server, "snapshot"})).closes_second(server);
    return truth;
}

}  // namespace

std::vector<Scene> older_scenes() {
    return {
        {"OpenedBefore", [](Arena& a, const TraceBegins& b) { return closed_under_the_trace(a, b, true); }},
        {"OpenedBeforeServerClosesFirst",
         [](Arena& a, const TraceBegins& b) { return closed_under_the_trace(a, b, false); }},
        {"OwnerGoneBefore", owner_gone_before},
        {"OpenedBeforeHeldByTwo", held_by_two},
    };
}

}  // namespace tcptrail::live
