// SPDX-License-Identifier: Apache-2.0
// One run of `tcptrail doctor` over two namespaces: one in which a rule has a case, one in which it nearly has.
#pragma once

#include <map>
#include <set>
#include <string>

#include "arena.h"
#include "harness.h"

namespace tcptrail::live {

/// Two namespaces under one doctor. What a scene does before begin() is older than the window.
class Ward {
public:
    Arena ill;
    Arena well;

    void begin(const BeforeExec& before_exec = {});
    /// Ends the window and keeps what was found.
    void end();

    /// Ids of what was found in the namespace.
    std::set<std::string> found(const Arena& arena) const;
    /// The finding of that id in the namespace; an empty object if there is none.
    Json finding(const Arena& arena, const std::string& id) const;
    const Output& output() const { return output_; }

private:
    Tracer tracer_;
    Output output_;
    std::vector<Json> findings_;
};

using Ids = std::set<std::string>;

/// Connects, reads the greeting and closes, `times`, `pace_ms` apart. Throws unless each succeeds.
void come_and_go(int times, int pace_ms = 0);
/// A process that greets whoever connects to kPort and closes after the client, until it is killed with its arena.
Who serve(Arena& arena);
/// The same, but it closes first.
Who serve_and_close(Arena& arena);

}  // namespace tcptrail::live
