// SPDX-License-Identifier: Apache-2.0
// Scenes in which a connection ends by a RST though a FIN was sent: no time-wait socket is left, and the last transition
// alone does not tell.
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

#include "scene.h"
#include "stage.h"

namespace tcptrail::live {

namespace {

constexpr int kFew = 5;

/// Each connection in turn: the client sends its FIN as `half_close` does, `server` acts on it, the client does `end`.
struct Plot {
    std::function<void(Fd&)> half_close;
    std::function<void(Fd&)> server;
    std::function<void(Fd&)> end;
    int times = kFew;
};

Truth play(Arena& arena, const TraceBegins& begin, const Plot& plot,
           const std::function<void(Side&, const Who&)>& end_client) {
    begin();
    Stage stage;
    const Cue ended;
    const Who server = arena.spawn("tt-server", [&] {
        const Fd listener = open_listener(stage);
        for (int i = 0; i < plot.times; ++i) {
            std::vector<Fd> fds = accept_and_greet(listener.get(), 1);
            stage.to_server.take();
            plot.server(fds[0]);
            stage.to_client.give();
            await_state(fds[0].get(), TCP_CLOSE);
            ended.give();
        }
    });
    stage.listening.take();
    const Who client = arena.spawn("tt-client", [&] {
        for (int i = 0; i < plot.times; ++i) {
            Fd fd = dial_and_note(stage, i);
            plot.half_close(fd);
            stage.to_server.give();
            stage.to_client.take();
            plot.end(fd);
            ended.take();
        }
    });
    arena.join(client);
    arena.join(server);
    arena.settle();
    Truth truth;
    truth.add(listener_side(server, server));
    for (int i = 0; i < plot.times; ++i) {
        end_client(truth.add(Side::active(stage.client(i), client)).closed_by(client), client);
        truth.add(Side::passive(stage.server(i), server, server))
            .step("ESTABLISHED", "CLOSE_WAIT")
            .ends("CLOSE_WAIT", "rst_received");
    }
    return truth;
}

void say_one(Fd& fd) {
    put(fd.get(), 1);
}

/// The client is closed, and the first it hears of the peer acknowledges its FIN and brings data.
Truth data_with_the_ack(Arena& arena, const TraceBegins& begin) {
    return play(arena, begin,
                {[](Fd& fd) {
                     make_deaf(fd.get(), Deaf::to_empty);
                     fd.close();
                 },
                 [](Fd& fd) {
                     await_state(fd.get(), TCP_CLOSE_WAIT);
                     put(fd.get(), 1);
                 },
                 [](Fd&) {}},
                [](Side& side, const Who& client) {
                    side.step("ESTABLISHED", "FIN_WAIT1", Named{client})
                        .step("FIN_WAIT1", "FIN_WAIT2")
                        .ends("FIN_WAIT2", "late_data_rst");
                });
}

/// The same while the client still has the descriptor and has only said that it wants no more.
Truth data_after_shutdown_of_both(Arena& arena, const TraceBegins& begin) {
    return play(arena, begin,
                {[](Fd& fd) {
                     shutdown(fd.get(), SHUT_RDWR);
                     await_state(fd.get(), TCP_FIN_WAIT2);
                 },
                 say_one, [](Fd& fd) { await_state(fd.get(), TCP_CLOSE); }},
                [](Side& side, const Who& client) {
                    side.step("ESTABLISHED", "FIN_WAIT1", Named{client})
                        .step("FIN_WAIT1", "FIN_WAIT2")
                        .ends("FIN_WAIT2", "late_data_rst");
                });
}

/// The client's FIN is out and acknowledged; it closes without having read the answer.
Truth unread_answer(Arena& arena, const TraceBegins& begin) {
    return play(arena, begin,
                {[](Fd& fd) {
                     shutdown_write(fd.get());
                     await_state(fd.get(), TCP_FIN_WAIT2);
                 },
                 say_one,
                 [](Fd& fd) {
                     await_readable(fd.get(), 1);
                     fd.close();
                 }},
                [](Side& side, const Who& client) {
                    side.step("ESTABLISHED", "FIN_WAIT1", Named{client})
                        .step("FIN_WAIT1", "FIN_WAIT2")
                        .ends("FIN_WAIT2", "unread_data_rst", Named{client});
                });
}

Truth linger_after_shutdown(Arena& arena, const TraceBegins& begin) {
    return play(arena, begin,
                {[](Fd& fd) {
                     shutdown_write(fd.get());
                     await_state(fd.get(), TCP_FIN_WAIT2);
                 },
                 [](Fd&) {},
                 [](Fd& fd) {
                     linger_zero(fd.get());
                     fd.close();
                 }},
                [](Side& side, const Who& client) {
                    side.step("ESTABLISHED", "FIN_WAIT1", Named{client})
                        .step("FIN_WAIT1", "FIN_WAIT2")
                        .ends("FIN_WAIT2", "linger_rst", Named{client});
                });
}

/// TCP_LINGER2 below 0: close() does not wait for the peer's FIN.
Truth no_fin_wait2(Arena& arena, const TraceBegins& begin) {
    return play(arena, begin,
                {[](Fd& fd) {
                     set_option(fd.get(), IPPROTO_TCP, TCP_LINGER2, -1);
                     shutdown_write(fd.get());
                     await_state(fd.get(), TCP_FIN_WAIT2);
                 },
                 [](Fd&) {}, [](Fd& fd) { fd.close(); }},
                [](Side& side, const Who& client) {
                    side.step("ESTABLISHED", "FIN_WAIT1", Named{client})
                        .step("FIN_WAIT1", "FIN_WAIT2")
                        .ends("FIN_WAIT2", "linger_rst",
                              Named{client, true});  // an orphan's: whose call it is does not show
                });
}

/// A full socket waits in FIN_WAIT2 where tcp_fin_timeout is above 60 s; its timer finds a shorter one.
Truth fin_wait2_timeout(Arena& arena, const TraceBegins& begin) {
    arena.sysctl("net/ipv4/tcp_fin_timeout", "61");
    return play(arena, begin,
                {[](Fd& fd) { fd.close(); },
                 [](Fd& fd) {
                     while (read_file("/proc/self/net/tcp").find(" 05 ") == std::string::npos) {
                         sleep_ms(5);  // the ACK of the FIN may be a delayed one
                     }
                     write_file("/proc/sys/net/ipv4/tcp_fin_timeout", "60");
                     await_state(fd.get(), TCP_CLOSE);
                 },
                 [](Fd&) {}, 1},
                [](Side& side, const Who& client) {
                    side.step("ESTABLISHED", "FIN_WAIT1", Named{client})
                        .step("FIN_WAIT1", "FIN_WAIT2")
                        .ends("FIN_WAIT2", "fin_wait2_timeout");
                });
}

}  // namespace

std::vector<Scene> after_fin_scenes() {
    return {
        {"DataWithTheAckOfTheFin", data_with_the_ack},
        {"DataAfterShutdownOfBoth", data_after_shutdown_of_both},
        {"UnreadAnswer", unread_answer},
        {"LingerAfterShutdown", linger_after_shutdown},
        {"NoFinWait2", no_fin_wait2},
        {"FinWait2Timeout", fin_wait2_timeout},
    };
}

}  // namespace tcptrail::live
