// SPDX-License-Identifier: Apache-2.0
// Tests that are made from the tables of scenes, registered by main() before they run.
#pragma once

#include <functional>
#include <string>

#include "compare.h"
#include "scene.h"

namespace tcptrail::live {

using Comparison = std::function<Differences(const Truth&, const std::vector<Json>&, const Bounds&)>;

/// Runs the scene in a new namespace under `tcptrail COMMAND --json` and expects no difference.
void check_scene(const std::function<Truth(Arena&, const TraceBegins&)>& scene, const std::string& command,
                 const Comparison& compare);

void register_trace_tests();
void register_life_tests();
void register_owner_tests();
void register_scene_tests();
void register_replay_tests();
void register_hook_tests();
void register_together_tests();

}  // namespace tcptrail::live
