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

#include <fcntl.h>
#include <fmt/format.h>
#include <spdlog/sinks/stdout_sinks.h>
#include <spdlog/spdlog.h>
#include <unistd.h>

#include "capture/reader.h"
#include "cli.h"
#include "collect/live_source.h"
#include "collect/priority.h"
#include "export/run.h"
#include "pipeline.h"
#include "recorder.h"
#include "render/json.h"
#include "render/output.h"
#include "render/text.h"
#include "view/report.h"

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
    std::signal(SIGXFSZ, SIG_IGN);  // a file-size limit is an errno, as a full disk is
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
    const report::Filter& filter = options.settings.filter;
    const ViewKind& kind = kind_of(options.view);
    live.netns = filter.netns;
    if (!kind.filters_rows_only) {
        live.ipv4 = filter.ipv4;
        live.ipv6 = filter.ipv6;
        live.lports = filter.lports;
        live.rports = filter.rports;
    }
    live.final_snapshot = kind.snapshots;
    if (kind.snapshots && options.interval) {
        live.report_every = *options.interval;
    }
    live.tracepoint_only = options.tracepoint_only;
    live.btf_file = options.btf_file;
    live.buffer_bytes = options.buffer_bytes;
    live.without = options.without_hooks;
    return live;
}

/// When the run ends, if no signal ends it before: counted from ready.
std::optional<std::chrono::nanoseconds> run_time(const cli::Options& options) {
    const ViewKind& kind = kind_of(options.view);
    if (options.duration) {
        return options.duration;
    }
    if (kind.at_once) {
        return options.interval ? std::nullopt : std::optional(kind.duration.value_or(std::chrono::nanoseconds(0)));
    }
    return kind.duration;
}

/// Passes on what a live source and the recorder have to say, and stops the source in time.
class Conductor {
public:
    Conductor(collect::LiveSource& source, Recorder* recorder, std::optional<std::chrono::nanoseconds> duration)
        : source_(source), recorder_(recorder), duration_(duration) {}

    std::chrono::milliseconds before_poll() {
        constexpr std::chrono::milliseconds longest = 100ms;  // an event is shown within this time
        tell();
        const auto now = SteadyClock::now();
        if (stop_asked != 0 || (deadline_ && now >= *deadline_) || (recorder_ != nullptr && recorder_->error())) {
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
        if (recorder_ != nullptr) {
            if (const auto warning = recorder_->take_warning()) {
                say(*warning);
            }
            if (!hurried_ && recorder_->is_starved()) {
                hurried_ = true;
                collect::take_real_time_priority();
            }
            if (recorder_->take_snapshot_wish()) {
                source_.request_snapshot(TT_SNAP_SOCKETS | TT_SNAP_HOLDERS);
            }
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
    Recorder* recorder_;                                // nullptr: nothing is recorded
    std::optional<std::chrono::nanoseconds> duration_;  // counted from ready
    std::optional<SteadyClock::time_point> deadline_;
    std::size_t told_ = 0;
    bool ready_ = false;
    bool stopped_ = false;
    bool hurried_ = false;  // the recorder's threads were too slow at ordinary priority
};

/// A run of which the first failure is the exit status and the line on stderr.
int ended(const Result<void>& recorded, const Result<Exit>& shown) {
    if (!recorded) {
        return failed(recorded.error());
    }
    return shown ? static_cast<int>(*shown) : failed(shown.error());
}

int run_live(const cli::Options& options, PipelineOptions pipeline, render::Renderer& renderer,
             render::Output& output) {
    std::unique_ptr<Recorder> recorder;
    auto source = collect::LiveSource::open(live_options(options));
    if (!source) {
        return failed(source.error());
    }
    if (!options.write.empty()) {
        auto opened = Recorder::open({options.write, options.file_bytes, options.files, options.ring});
        if (!opened) {
            return failed(opened.error());
        }
        recorder = std::move(*opened);
        pipeline.record = [&recorder](const tt_head& record) { recorder->take(record); };
    }
    Conductor conductor(**source, recorder.get(), run_time(options));
    const auto done = run_pipeline(**source, pipeline, renderer, output, [&] { return conductor.before_poll(); });
    return ended(recorder ? recorder->close() : Result<void>(), done);
}

/// What the reader says is missing, as a line on stderr.
void tell_missing(const capture::Reader& reader) {
    if (const auto missing = reader.completeness().line()) {
        say(*missing);
    }
}

std::optional<std::chrono::milliseconds> until_asked_to_stop() {
    return stop_asked == 0 ? std::optional(0ms) : std::nullopt;
}

int run_recorded(const cli::Options& options, const PipelineOptions& pipeline, render::Renderer& renderer,
                 render::Output& output) {
    auto source = capture::Reader::open(options.read);
    if (!source) {
        return failed(source.error());
    }
    const auto done = run_pipeline(**source, pipeline, renderer, output, until_asked_to_stop);
    tell_missing(**source);
    return ended({}, done);
}

int run_exported(const cli::Options& options, const RunOptions& wanted) {
    auto source = capture::Reader::open(options.read);
    if (!source) {
        return failed(source.error());
    }
    const auto done = exporting::run_export(**source, *options.export_to, options.write, wanted, until_asked_to_stop);
    tell_missing(**source);
    return ended(done, Exit::done);
}

/// The reports of one recording's runs, without their lines.
Result<std::vector<report::ReportSummary>> reports_of(const std::string& path, const RunOptions& wanted) {
    auto source = capture::Reader::open({path});
    if (!source) {
        return tl::unexpected(source.error());
    }
    std::vector<report::ReportSummary> reports;
    const auto keep = [&](report::ReportSummary&& summary) { reports.push_back(std::move(summary)); };
    const PipelineOptions pipeline{
        [&](const view::Scope& scope) { return view::make_report(scope, keep); }, wanted, {}};
    render::Json nobody;
    const int null = ::open("/dev/null", O_WRONLY | O_CLOEXEC);
    render::Output nowhere(null);
    const auto done = run_pipeline(**source, pipeline, nobody, nowhere, until_asked_to_stop);
    ::close(null);
    if (!done) {
        return tl::unexpected(done.error());
    }
    if (const auto missing = (*source)->completeness().line()) {
        say(path + ": " + *missing);
    }
    return reports;
}

int run_diff(const cli::Options& options, const RunOptions& wanted, render::Renderer& renderer,
             render::Output& output) {
    const auto before = reports_of(options.diff.front(), wanted);
    if (!before) {
        return failed(before.error());
    }
    const auto after = reports_of(options.diff.back(), wanted);
    if (!after) {
        return failed(after.error());
    }
    renderer.write_diff(output.text(), report::diff(*before, *after));
    const auto written = output.flush();
    return written ? static_cast<int>(Exit::done) : failed(written.error());
}

int run(const cli::Options& options) {
    set_log(options.verbose);
    set_signals();
    if (options.verbose) {
        collect::set_libbpf_log(
            [](std::string_view text) { spdlog::debug("{}", text.substr(0, text.find_last_not_of('\n') + 1)); });
    }
    std::unique_ptr<render::Renderer> renderer;
    if (options.json) {
        renderer = std::make_unique<render::Json>();
    } else {
        renderer = std::make_unique<render::Text>(use_colour(options.colour));
    }
    render::Output output(STDOUT_FILENO);
    const MakeView make = [view = options.view](const view::Scope& scope) { return view::make_view(view, scope); };
    TableLimits table;
    table.rows = options.view != View::record;  // it shows none
    const PipelineOptions pipeline{make, {options.settings, options.interval, options.from, options.to, table}, {}};
    if (options.export_to) {
        return run_exported(options, pipeline.run);
    }
    if (!options.diff.empty()) {
        return run_diff(options, pipeline.run, *renderer, output);
    }
    renderer->write_header(output.text(), options.view);
    return options.read.empty() ? run_live(options, pipeline, *renderer, output)
                                : run_recorded(options, pipeline, *renderer, output);
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
