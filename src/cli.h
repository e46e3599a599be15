// SPDX-License-Identifier: Apache-2.0
// The command line: the only place that knows CLI11.
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include <tcptrail/result.h>

#include "export/format.h"
#include "view/kind.h"
#include "view/view.h"
#include "when.h"

namespace tcptrail::cli {

enum class Colour { automatic, always, never };

struct Options {
    View view = View::trace;
    std::vector<std::string> read;                     // recordings; empty: the live kernel
    std::string write;                                 // a recording of this run, or the export; empty: none
    std::uint64_t file_bytes = 0;                      // of a recording's files; 0: one file, however long
    unsigned files = 0;                                // of a recording, then the first is written anew; 0: any number
    bool ring = false;                                 // the recording goes on for ever in these files
    std::optional<std::chrono::nanoseconds> duration;  // nullopt: until a signal, or as the view's kind says
    std::optional<std::chrono::nanoseconds> interval;  // nullopt: one report, at the end
    bool json = false;
    view::Settings settings;
    std::vector<std::string> diff;               // report: two recordings, each with its rotated files; or none
    std::optional<exporting::Format> export_to;  // the recording is exported instead of viewed
    std::optional<Moment> from;                  // with read
    std::optional<Moment> to;
    bool tracepoint_only = false;
    std::uint64_t buffer_bytes = 0;  // for events that wait to be read; 0: what suits the machine
    std::string btf_file;            // empty: the running kernel's
    std::vector<std::string> without_hooks;
    Colour colour = Colour::automatic;
    bool verbose = false;
};

/// Help or version: to be printed on stdout, exit 0.
struct Answer {
    std::string text;
};

/// Wrong usage is an Error with Exit::usage.
Result<std::variant<Options, Answer>> parse(int argc, const char* const* argv);

/// "10s", "500ms", "2m", "1.5h"; a bare number is seconds. nullopt for what is none, for 0 and for more than ten years.
std::optional<std::chrono::nanoseconds> parse_duration(std::string_view text);

}  // namespace tcptrail::cli
