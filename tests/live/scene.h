// SPDX-License-Identifier: Apache-2.0
// Scenes: traffic of known truth. Each runs in the Arena it is given, in processes of its own, is bounded in time, and
// returns only when its last transition has happened (time-wait sockets may stand).
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "truth.h"

namespace tcptrail::live {

/// Called at the point where the trace is to begin. Scenes that have no past call it first.
using TraceBegins = std::function<void()>;

struct Scene {
    std::string name;
    std::function<Truth(Arena&, const TraceBegins&)> run;
};

// How they close: scene_close.cpp
Truth client_closes_first(Arena& arena, const TraceBegins& begin, int connections, Net net = Net::v4);
Truth server_closes_first(Arena& arena, const TraceBegins& begin, int connections, Net net = Net::v4);
/// All are opened, then the client closes all at once, then the server does.
Truth closed_in_a_batch(Arena& arena, const TraceBegins& begin, int connections);
/// Both shut down while each other's FIN is held back.
Truth simultaneous_close(Arena& arena, const TraceBegins& begin, int connections);
Truth half_close(Arena& arena, const TraceBegins& begin, int connections);
/// The client is closed long before the server closes: FIN_WAIT2 in a mini-socket.
Truth silent_peer(Arena& arena, const TraceBegins& begin, int connections);

// How they break: scene_break.cpp
/// The client resets each by SO_LINGER 0.
Truth linger_reset(Arena& arena, const TraceBegins& begin, int connections);

/// All scenes by name, sized for a test each: closes, breaks, failures.
const std::vector<Scene>& scenes();
/// Scenes about who owns and who closes.
const std::vector<Scene>& owner_scenes();

// The tables that scenes() is made of.
std::vector<Scene> close_scenes();
std::vector<Scene> break_scenes();
std::vector<Scene> timeout_scenes();
std::vector<Scene> after_fin_scenes();  // a RST after a FIN was sent
std::vector<Scene> process_scenes();    // forks, passed sockets, threads, kills
std::vector<Scene> older_scenes();      // opened before the trace
std::vector<Scene> uring_scenes();      // empty without liburing
std::vector<Scene> hands_scenes();      // names, pids and descriptors that change their meaning

}  // namespace tcptrail::live
