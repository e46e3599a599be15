// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <chrono>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <memory>
#include <string>
#include <string_view>

#include <fmt/format.h>
#include <spdlog/sinks/stdout_sinks.h>
#include <spdlog/spdlog.h>
#include <unistd.h>

#include "cli.h"
#include "collect/live_source.h"
#include "pipeline.h"
#include "render/json.h"
#include "render/output.h"
#include "render/text.h"

namespace tcptrail {
namespace {

using namespace std::chrono_literals;
using SteadyClock = std::chrono::steady_clock;

volatile std::sig_atomic_t stop_asked = 0;

void ask_to_stop(int) {
    stop_asked = 1;
}

void set_signals() {
    struct sigaction stop {};
    stop.sa_handler = ask_to_stop;
    stop.sa_flags = static_cast<int>(SA_RESETHAND);  // the second one kills, should the first not be heard
    sigaction(SIGINT, &stop, nullptr);
    sigaction(SIGTERM, &stop, nullptr);
    std::signal(SIGPIPE, SIG_IGN);
}

void say(std::string_view line) {
    fmt::print(stderr, "tcptrail: {}\n", line);
}

int failed(const Error& error) {
    say(error.message);
    return static_cast<int>(error.exit);
}

void set_log(bool verbose) {
    auto log = spdlog::stderr_logger_st("tcptrail");
    log->set_pattern("tcptrail: %v");
    log->set_level(verbose ? spdlog::level::debug : spdlog::level::warn);
    spdlog::set_default_logger(std::move(log));
}

bool use_colour(cli::Colour colour) {
    switch (colour) {
        case cli::Colour::always: return true;
        case cli::Colour::never: return false;
        case cli::Colour::automatic: break;
    }
    const char* const term = std::getenv("TERM");
    const char* const no_color = std::getenv("NO_COLOR");
    return isatty(STDOUT_FILENO) == 1 && (no_color == nullptr || *no_color == '\0') && term != nullptr &&
           std::string_view(term) != "dumb";
}

collect::Options live_options(const cli::Options& options) {
    collect::Options live;
    live.netns = options.filter.netns;
    live.ipv4 = options.filter.ipv4;
    live.ipv6 = options.filter.ipv6;
    live.lports = options.filter.lports;
    live.rports = options.filter.rports;
    live.tracepoint_only = options.tracepoint_only;
    live.btf_file = options.btf_file;
    return live;
}

/// Passes on what a live source has to say and stops it in time.
class Conductor {
public:
    Conductor(collect::LiveSource& source, std::optional<std::chrono::nanoseconds> duration)
        : source_(source), duration_(duration) {}

    std::chrono::milliseconds before_poll() {
        constexpr std::chrono::milliseconds longest = 100ms;  // an event is shown within this time
        tell();
        const auto now = SteadyClock::now();
        if (stop_asked != 0 || (deadline_ && now >= *deadline_)) {
            stop();
        }
        if (stopped_ || !deadline_) {
            return longest;
        }
        return std::clamp(std::chrono::ceil<std::chrono::milliseconds>(*deadline_ - now), 1ms, longest);
    }

private:
    void tell() {
        std::string missing;  // all that is missing at once is one line
        for (; told_ < source_.notes().size(); ++told_) {
            missing += (missing.empty() ? "" : "; ") + source_.notes()[told_];
        }
        if (!missing.empty() && (ready_ || source_.ready())) {
            say(missing);
        } else if (!missing.empty()) {
            told_ = 0;  // the snapshot may add to it
        }
        if (!ready_ && source_.ready()) {
            ready_ = true;
            say("tracing");
            if (duration_) {
                deadline_ = SteadyClock::now() + *duration_;
            }
        }
    }

    void stop() {
        if (!stopped_) {
            stopped_ = true;
            source_.stop();
        }
    }

    collect::LiveSource& source_;
    std::optional<std::chrono::nanoseconds> duration_;  // counted from ready
    std::optional<SteadyClock::time_point> deadline_;
    std::size_t told_ = 0;
    bool ready_ = false;
    bool stopped_ = false;
};

int run(const cli::Options& options) {
    set_log(options.verbose);
    set_signals();
    if (options.verbose) {
        collect::set_libbpf_log(
            [](std::string_view text) { spdlog::debug("{}", text.substr(0, text.find_last_not_of('\n') + 1)); });
    }
    auto source = collect::LiveSource::open(live_options(options));
    if (!source) {
        return failed(source.error());
    }
    std::unique_ptr<render::Renderer> renderer;
    if (options.json) {
        renderer = std::make_unique<render::Json>();
    } else {
        renderer = std::make_unique<render::Text>(use_colour(options.colour));
    }
    render::Output output(STDOUT_FILENO);
    Conductor conductor(**source, options.duration);
    const auto done = run_pipeline(**source, {options.view, options.filter, options.interval}, *renderer, output,
                                   [&] { return conductor.before_poll(); });
    return done ? static_cast<int>(Exit::done) : failed(done.error());
}

int start(int argc, char** argv) {
    const auto parsed = cli::parse(argc, argv);
    if (!parsed) {
        return failed(parsed.error());
    }
    if (const auto* answer = std::get_if<cli::Answer>(&*parsed)) {
        std::signal(SIGPIPE, SIG_IGN);
        render::Output output(STDOUT_FILENO);
        output.text() = answer->text;
        const auto written = output.flush();
        return written ? static_cast<int>(Exit::done) : failed(written.error());
    }
    return run(std::get<cli::Options>(*parsed));
}

}  // namespace
}  // namespace tcptrail

int main(int argc, char** argv) {
    try {
        return tcptrail::start(argc, argv);
    } catch (const std::exception& error) {
        fmt::print(stderr, "tcptrail: {}\n", error.what());
        return static_cast<int>(tcptrail::Exit::failed);
    }
}
