// SPDX-License-Identifier: Apache-2.0
// Scenes that end by FIN on both sides.
#include <netinet/tcp.h>

#include <set>
#include <stdexcept>

#include "scene.h"
#include "stage.h"

namespace tcptrail::live {

namespace {

/// Listener, then for each connection the client's side and the server's, to be ended by the caller.
template <typename EndClient, typename EndServer>
Truth both_sides(const Stage& stage, int connections, const Who& client, const Who& server, Net net,
                 EndClient end_client, EndServer end_server) {
    Truth truth;
    truth.add(listener_side(server, server, net));
    for (int i = 0; i < connections; ++i) {
        end_client(truth.add(Side::active(stage.client(i), client)).bytes(0, 1));
        end_server(truth.add(Side::passive(stage.server(i, net), server, server)).bytes(1, 0));
    }
    return truth;
}

}  // namespace

Truth client_closes_first(Arena& arena, const TraceBegins& begin, int connections, Net net) {
    begin();
    Stage stage;
    const Who server = arena.spawn("tt-server", [&] {
        const Fd listener = open_listener(stage, net);
        for (int i = 0; i < connections; ++i) {
            const Fd fd = accept_from(listener.get());
            put(fd.get(), 1);
            await_eof(fd.get());
        }
    });
    stage.listening.take();
    const Who client = arena.spawn("tt-client", [&] {
        for (int i = 0; i < connections; ++i) {
            dial_and_note(stage, i, net);
        }
    });
    arena.join(client);
    arena.join(server);
    arena.settle();
    return both_sides(
        stage, connections, client, server, net, [&](Side& side) { side.closes_first(client); },
        [&](Side& side) { side.closes_second(server); });
}

/// The client chose its own port before it connected.
Truth bound_client(Arena& arena, const TraceBegins& begin) {
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
        const Fd fd = dial(Net::v4, kPort, 40001);
        get(fd.get(), 1);
        stage.note(0, fd.get());
    });
    arena.join(client);
    arena.join(server);
    arena.settle();
    return both_sides(
        stage, 1, client, server, Net::v4, [&](Side& side) { side.closes_first(client).was_bound(); },
        [&](Side& side) { side.closes_second(server); });
}

Truth server_closes_first(Arena& arena, const TraceBegins& begin, int connections, Net net) {
    begin();
    Stage stage;
    const Who server = arena.spawn("tt-server", [&] {
        const Fd listener = open_listener(stage, net);
        for (int i = 0; i < connections; ++i) {
            const Fd fd = accept_from(listener.get());
            put(fd.get(), 1);
            stage.to_server.take();
        }
    });
    stage.listening.take();
    const Who client = arena.spawn("tt-client", [&] {
        for (int i = 0; i < connections; ++i) {
            const Fd fd = dial_and_note(stage, i, net);
            stage.to_server.give();
            await_eof(fd.get());
        }
    });
    arena.join(client);
    arena.join(server);
    arena.settle();
    return both_sides(
        stage, connections, client, server, net, [&](Side& side) { side.closes_second(client); },
        [&](Side& side) { side.closes_first(server); });
}

Truth closed_in_a_batch(Arena& arena, const TraceBegins& begin, int connections) {
    begin();
    Stage stage;
    const Who server = arena.spawn("tt-server", [&] {
        const Fd listener = open_listener(stage);
        std::vector<Fd> fds = accept_and_greet(listener.get(), connections);
        for (const Fd& fd : fds) {
            await_eof(fd.get());
        }
        fds.clear();
    });
    stage.listening.take();
    const Who client = arena.spawn("tt-client", [&] { dial_all(stage, connections).clear(); });
    arena.join(client);
    arena.join(server);
    arena.settle();
    return both_sides(
        stage, connections, client, server, Net::v4, [&](Side& side) { side.closes_first(client); },
        [&](Side& side) { side.closes_second(server); });
}

Truth simultaneous_close(Arena& arena, const TraceBegins& begin, int connections) {
    begin();
    Stage stage;
    const Who server = arena.spawn("tt-server", [&] {
        const Fd listener = open_listener(stage);
        std::vector<Fd> fds = accept_and_greet(listener.get(), connections);
        stage.to_server.take();
        for (const Fd& fd : fds) {
            make_deaf(fd.get(), Deaf::to_fin);
        }
        for (const Fd& fd : fds) {
            shutdown_write(fd.get());
        }
        stage.to_client.give();  // the client, which hears no FIN either, shuts down too
        stage.to_server.take();
        stage.to_client.give();
        // The client hears from now on: our FIN, sent again, meets it in FIN_WAIT1, and its ACK brings us to FIN_WAIT2.
        for (const Fd& fd : fds) {
            await_state(fd.get(), TCP_FIN_WAIT2);
        }
        for (const Fd& fd : fds) {
            make_hear(fd.get());
        }
        for (const Fd& fd : fds) {
            await_eof(fd.get());
        }
    });
    stage.listening.take();
    const Who client = arena.spawn("tt-client", [&] {
        std::vector<Fd> fds = dial_all(stage, connections);
        for (const Fd& fd : fds) {
            make_deaf(fd.get(), Deaf::to_fin);
        }
        stage.to_server.give();
        stage.to_client.take();
        for (const Fd& fd : fds) {
            shutdown_write(fd.get());
        }
        stage.to_server.give();
        stage.to_client.take();
        for (const Fd& fd : fds) {
            make_hear(fd.get());
        }
        for (const Fd& fd : fds) {
            await_eof(fd.get());
        }
        for (const Fd& fd : fds) {
            await_state(fd.get(), TCP_CLOSE);
        }
    });
    arena.join(client);
    arena.join(server);
    arena.settle();
    return both_sides(
        stage, connections, client, server, Net::v4,
        [&](Side& side) {
            side.step("ESTABLISHED", "FIN_WAIT1", Named{client})
                .step("FIN_WAIT1", "CLOSING")
                .step("CLOSING", "TIME_WAIT")
                .because("simultaneous_fin")
                .closed_by(client)
                .time_wait = true;
        },
        [&](Side& side) { side.closes_first(server, Mini::no); });
}

Truth half_close(Arena& arena, const TraceBegins& begin, int connections) {
    begin();
    Stage stage;
    const Who server = arena.spawn("tt-server", [&] {
        const Fd listener = open_listener(stage);
        for (int i = 0; i < connections; ++i) {
            const Fd fd = accept_from(listener.get());
            put(fd.get(), 1);
            get(fd.get(), 10);
            await_eof(fd.get());
            put(fd.get(), 20);
        }
    });
    stage.listening.take();
    const Who client = arena.spawn("tt-client", [&] {
        for (int i = 0; i < connections; ++i) {
            const Fd fd = dial_and_note(stage, i);
            put(fd.get(), 10);
            shutdown_write(fd.get());
            get(fd.get(), 20);
            await_eof(fd.get());
        }
    });
    arena.join(client);
    arena.join(server);
    arena.settle();
    return both_sides(
        stage, connections, client, server, Net::v4,
        [&](Side& side) { side.closes_first(client, Mini::no).bytes(10, 21); },
        [&](Side& side) { side.closes_second(server).bytes(21, 10); });
}

Truth silent_peer(Arena& arena, const TraceBegins& begin, int connections) {
    begin();
    Stage stage;
    const Who server = arena.spawn("tt-server", [&] {
        const Fd listener = open_listener(stage);
        const std::vector<Fd> fds = accept_and_greet(listener.get(), connections);
        stage.to_server.take();
    });
    stage.listening.take();
    const Who client = arena.spawn("tt-client", [&] { dial_all(stage, connections).clear(); });
    arena.join(client);
    // The client's are minis now, but for those that the kernel keeps whole; the server's and the listener stand.
    std::set<std::uint16_t> full;
    for (int tries = 0, calm = 0; calm < 3; ++tries) {
        full = arena.full_fin_wait2();
        const int wanted = 1 + connections + static_cast<int>(full.size());
        calm = arena.sockstat("inuse") > wanted ? 0 : calm + 1;
        if (tries > 3000) {
            throw std::runtime_error("the client's sockets do not reach FIN_WAIT2");
        }
        sleep_ms(5);
    }
    stage.to_server.give();
    arena.join(server);
    arena.settle();
    return both_sides(
        stage, connections, client, server, Net::v4,
        [&](Side& side) { side.closes_first(client, full.contains(side.tuple.lport) ? Mini::no : Mini::yes); },
        [&](Side& side) { side.closes_second(server); });
}

std::vector<Scene> close_scenes() {
    return {
        {"ClientClosesFirst", [](Arena& a, const TraceBegins& b) { return client_closes_first(a, b, 20); }},
        {"ServerClosesFirst", [](Arena& a, const TraceBegins& b) { return server_closes_first(a, b, 20); }},
        {"ClosedInABatch", [](Arena& a, const TraceBegins& b) { return closed_in_a_batch(a, b, 100); }},
        {"SimultaneousClose", [](Arena& a, const TraceBegins& b) { return simultaneous_close(a, b, 5); }},
        {"BoundClient", bound_client},
        {"HalfClose", [](Arena& a, const TraceBegins& b) { return half_close(a, b, 20); }},
        {"SilentPeer", [](Arena& a, const TraceBegins& b) { return silent_peer(a, b, 20); }},
        {"Ipv6", [](Arena& a, const TraceBegins& b) { return client_closes_first(a, b, 20, Net::v6); }},
        {"Ipv6ServerClosesFirst",
         [](Arena& a, const TraceBegins& b) { return server_closes_first(a, b, 20, Net::v6); }},
        {"Ipv4Mapped", [](Arena& a, const TraceBegins& b) { return client_closes_first(a, b, 20, Net::mapped); }},
        {"Ipv4MappedServerClosesFirst",
         [](Arena& a, const TraceBegins& b) { return server_closes_first(a, b, 20, Net::mapped); }},
    };
}

}  // namespace tcptrail::live
