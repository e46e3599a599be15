// SPDX-License-Identifier: Apache-2.0
#include "cli.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <limits>
#include <vector>

#include <fmt/format.h>
#include <CLI/CLI.hpp>

#include "capture/names.h"

namespace tcptrail::cli {
namespace {

/// What the options say, before their values are judged.
struct Raw {
    std::string duration, interval, older_than, btf, write, buffer, file_size, files, from;
    std::vector<std::string> to, diff;
    std::string hooks = "auto", colour = "auto";
    std::vector<std::string> without_hooks, read, pids, comms, lports, rports, addresses, cgroups, netns;
    bool ipv4 = false, ipv6 = false, json = false, verbose = false, ring = false;
};

std::string one_line(std::string text) {
    while (!text.empty() && text.back() == '\n') {
        text.pop_back();
    }
    std::replace(text.begin(), text.end(), '\n', ' ');
    return text;
}

tl::unexpected<Error> wrong(std::string_view option, std::string_view value, std::string_view what) {
    return fail(Exit::usage, one_line(fmt::format("{} {}: {}", option, value.empty() ? "''" : value, what)));
}

/// Numbers from `least` to T's greatest.
template <typename T>
Result<std::vector<T>> numbers(std::string_view option, const std::vector<std::string>& values, T least) {
    std::vector<T> parsed;
    for (const std::string& value : values) {
        T number = 0;
        const auto [end, error] = std::from_chars(value.data(), value.data() + value.size(), number);
        if (error != std::errc() || end != value.data() + value.size() || number < least) {
            return wrong(option, value,
                         fmt::format("not a number from {} to {}", least, std::numeric_limits<T>::max()));
        }
        parsed.push_back(number);
    }
    return parsed;
}

Result<std::optional<std::chrono::nanoseconds>> duration(std::string_view option, const std::string& value,
                                                         bool given) {
    if (!given) {
        return std::optional<std::chrono::nanoseconds>();
    }
    const auto parsed = parse_duration(value);
    if (!parsed) {
        return wrong(option, value, "not a duration; write 10s, 500ms, 2m or 1h");
    }
    return parsed;
}

/// A duration, or none at all: 0 makes everything old enough.
Result<std::optional<std::chrono::nanoseconds>> age(std::string_view option, const std::string& value, bool given) {
    if (given && (value == "0" || value == "0s")) {
        return std::optional(std::chrono::nanoseconds(0));
    }
    return duration(option, value, given);
}

/// --from and --to; nullopt where not given.
Result<std::optional<Moment>> moment(std::string_view option, const std::string& value, bool given) {
    if (!given) {
        return std::optional<Moment>();
    }
    const auto parsed = parse_moment(value);
    if (!parsed) {
        return wrong(option, value, "not a time; write 12:30, 12:30:05.5, 2024-05-01T12:30:05Z or +10s");
    }
    return parsed;
}

/// --to names the format, once; given a second time it is a time, as with any -r.
Result<void> choose_export(Raw& raw, Options& options) {
    const auto is_format = [](const std::string& text) { return exporting::parse_format(text).has_value(); };
    const auto found = std::find_if(raw.to.begin(), raw.to.end(), is_format);
    if (found == raw.to.end()) {
        return fail(Exit::usage, "export needs --to jsonl, csv, sqlite or perfetto");
    }
    if (raw.read.empty()) {
        return fail(Exit::usage, "export needs -r FILE: the recording");
    }
    options.export_to = exporting::parse_format(*found);
    raw.to.erase(found);
    return {};
}

/// -C, -W and --ring.
Result<void> rotation(const Raw& raw, Options& options) {
    if (raw.write.empty() && (!raw.file_size.empty() || !raw.files.empty() || raw.ring)) {
        return fail(Exit::usage, "-C, -W and --ring say how a recording is written: they need -w FILE");
    }
    if (!raw.file_size.empty()) {
        const auto bytes = capture::parse_size(raw.file_size);
        if (!bytes) {
            return wrong("-C", raw.file_size, bytes.error().message);
        }
        options.file_bytes = *bytes;
    }
    if (!raw.files.empty()) {
        const auto files = numbers<unsigned>("-W", {raw.files}, 1);
        if (!files) {
            return tl::unexpected(files.error());
        }
        options.files = files->front();
    }
    options.ring = raw.ring;
    if (options.files > 0 && options.file_bytes == 0 && !options.ring) {
        return fail(Exit::usage, "-W needs -C: how large a file may become");
    }
    if (options.ring && options.files == 1) {
        return fail(Exit::usage, "--ring needs at least two files: -W 2");
    }
    return {};
}

/// As rows have it: from the cgroup root, no slash at the end.
std::string cgroup_path(std::string path) {
    constexpr std::string_view mount = "/sys/fs/cgroup";
    if (path == mount || path.starts_with(std::string(mount) + "/")) {
        path.erase(0, mount.size());
    }
    if (!path.starts_with('/')) {
        path.insert(0, "/");
    }
    while (path.size() > 1 && path.ends_with('/')) {
        path.pop_back();
    }
    return path;
}

Result<report::Filter> filter(const Raw& raw) {
    report::Filter filter;
    auto pids = numbers<std::uint32_t>("--pid", raw.pids, 1);
    auto lports = numbers<std::uint16_t>("--lport", raw.lports, 1);
    auto rports = numbers<std::uint16_t>("--rport", raw.rports, 1);
    auto netns = numbers<std::uint32_t>("--netns", raw.netns, 1);
    if (!pids) {
        return tl::unexpected(pids.error());
    }
    if (!lports) {
        return tl::unexpected(lports.error());
    }
    if (!rports) {
        return tl::unexpected(rports.error());
    }
    if (!netns) {
        return tl::unexpected(netns.error());
    }
    filter.pids = std::move(*pids);
    filter.lports = std::move(*lports);
    filter.rports = std::move(*rports);
    filter.netns = std::move(*netns);
    for (const std::string& comm : raw.comms) {
        if (comm.empty()) {
            return wrong("--comm", comm, "empty name");
        }
        filter.comms.push_back(comm);
    }
    for (const std::string& path : raw.cgroups) {
        if (path.empty()) {
            return wrong("--cgroup", path, "empty path");
        }
        filter.cgroups.push_back(cgroup_path(path));
    }
    for (const std::string& text : raw.addresses) {
        const auto cidr = report::parse_cidr(text);
        if (!cidr) {
            return wrong("--addr", text, "not an address or range such as 10.0.0.0/8 or fd00::/8");
        }
        filter.addresses.push_back(*cidr);
    }
    if (raw.ipv4 != raw.ipv6) {
        filter.ipv4 = raw.ipv4;
        filter.ipv6 = raw.ipv6;
    }
    return filter;
}

}  // namespace

std::optional<std::chrono::nanoseconds> parse_duration(std::string_view text) {
    const auto ns = parse_ns(text);
    return ns ? std::optional(std::chrono::nanoseconds(*ns)) : std::nullopt;
}

Result<std::variant<Options, Answer>> parse(int argc, const char* const* argv) {
    CLI::App app("Shows what this machine's TCP connections do, who owns them and how they end.", "tcptrail");
    app.set_version_flag("--version", "tcptrail " TCPTRAIL_VERSION);
    app.require_subcommand(0, 1);
    Raw raw;

    const auto list = [&](const char* names, std::vector<std::string>& to, const char* what) {
        return app.add_option(names, to, what)->delimiter(',')->allow_extra_args(false);
    };
    app.add_option("-r,--read", raw.read, "Recordings instead of the live kernel; needs no privilege")
        ->allow_extra_args(false);
    const auto* write_option = app.add_option("-w,--write", raw.write, "Writes a recording of this run, too");
    app.add_option("-C,--file-size", raw.file_size, "With -w: begins a new file when this one is so large: 100M, 1G");
    app.add_option("-W,--files", raw.files, "With -C: so many files, then the first is written anew");
    app.add_flag("--ring", raw.ring,
                 "With -w: keeps the last files for ever, 10 of 100M unless -C and -W say otherwise");
    const auto* from_option = app.add_option(
        "--from", raw.from, "With -r: rows and windows from then on: 12:30, 2024-05-01T12:30:05Z, +10s from the start");
    const auto* to_option =
        app.add_option("--to", raw.to, "With -r: rows and windows until then; as --from")->allow_extra_args(false);
    app.add_option("--diff", raw.diff, "report: compares two recordings, BEFORE and AFTER")
        ->expected(2)
        ->type_name("BEFORE AFTER");
    const auto* duration_option =
        app.add_option("-d,--duration", raw.duration, "Stop after this time: 10s, 500ms, 2m; a bare number is seconds");
    const auto* interval_option =
        app.add_option("-i,--interval", raw.interval, "A report after each such time, of that time");
    const auto* older_option =
        app.add_option("--older-than", raw.older_than, "closewait: lists those that wait for so long (5s)");
    app.add_flag("-j,--json", raw.json, "JSON Lines");
    list("-p,--pid", raw.pids, "Process ids of owner, actor or closer");
    list("-c,--comm", raw.comms, "Process names of owner, actor or closer");
    app.add_flag("-4,--ipv4", raw.ipv4, "IPv4 sockets");
    app.add_flag("-6,--ipv6", raw.ipv6, "IPv6 sockets");
    list("-L,--lport", raw.lports, "Local ports");
    list("-D,--rport", raw.rports, "Remote ports");
    list("-a,--addr", raw.addresses, "Addresses or ranges of either end: 10.0.0.0/8");
    list("--cgroup", raw.cgroups, "cgroup v2 paths of owner, actor or closer, and those below");
    list("--netns", raw.netns, "Network namespaces, by inode number");
    app.add_option("--hooks", raw.hooks, "auto, or tracepoint: as on a kernel without fentry")
        ->check(CLI::IsMember({"auto", "tracepoint"}));
    const auto* btf_option =
        app.add_option("--btf", raw.btf, "BTF of the running kernel, where /sys/kernel/btf/vmlinux is missing");
    const auto* buffer_option =
        app.add_option("--buffer", raw.buffer, "Memory for events that wait to be read, all CPUs together: 64M");
    // For tests, and not in the help: the needs by name are in collect/hooks.cpp.
    list("--without-hook", raw.without_hooks, "")->group("");
    app.add_option("--color", raw.colour, "auto, always or never")->check(CLI::IsMember({"auto", "always", "never"}));
    app.add_flag("-v,--verbose", raw.verbose, "Say on stderr what is done");

    for (const ViewKind& kind : view_kinds()) {
        CLI::App* const command = app.add_subcommand(kind.name, kind.help);
        command->set_help_flag();
        command->fallthrough();
    }

    auto* const export_command = app.add_subcommand(
        "export", "The recording of -r as --to says: jsonl, csv, sqlite or perfetto; -w names the file");
    export_command->set_help_flag();
    export_command->fallthrough();

    // CLI11 takes -4 for a number where it stands behind a subcommand. Its parser wants the last word first.
    std::vector<std::string> words(argv + 1, argv + argc);
    std::reverse(words.begin(), words.end());
    for (std::string& word : words) {
        if (word == "-4" || word == "-6") {
            word = word == "-4" ? "--ipv4" : "--ipv6";
        }
    }
    try {
        app.parse(words);
    } catch (const CLI::CallForHelp&) {
        // app.help() would tell of the subcommand alone, which has no options of its own.
        return Answer{app.get_formatter()->make_help(&app, app.get_name(), CLI::AppFormatMode::Normal)};
    } catch (const CLI::CallForVersion& version) {
        return Answer{std::string(version.what()) + "\n"};
    } catch (const CLI::ParseError& error) {
        return fail(Exit::usage, one_line(error.what()) + " (see tcptrail --help)");
    }

    Options options;
    for (const ViewKind& kind : view_kinds()) {
        if (app.got_subcommand(kind.name)) {
            options.view = kind.view;
        }
    }
    const ViewKind& kind = kind_of(options.view);
    if (app.got_subcommand(export_command)) {
        if (auto chosen = choose_export(raw, options); !chosen) {
            return tl::unexpected(chosen.error());
        }
    }
    if (!raw.diff.empty() && (options.view != View::report || !raw.read.empty() || !raw.write.empty())) {
        return fail(Exit::usage, "--diff BEFORE AFTER belongs to report, without -r and -w");
    }
    options.diff = raw.diff;
    const auto stop_after = duration("--duration", raw.duration, duration_option->count() > 0);
    if (!stop_after) {
        return tl::unexpected(stop_after.error());
    }
    const auto repeat = duration("--interval", raw.interval, interval_option->count() > 0);
    if (!repeat) {
        return tl::unexpected(repeat.error());
    }
    if (*repeat && !kind.repeats) {
        return fail(Exit::usage, fmt::format("--interval repeats a report and {} has none", kind.name));
    }
    const auto older_than = age("--older-than", raw.older_than, older_option->count() > 0);
    if (!older_than) {
        return tl::unexpected(older_than.error());
    }
    if (*older_than && options.view != View::closewait) {
        return fail(Exit::usage, fmt::format("--older-than is for closewait, not for {}", kind.name));
    }
    if (write_option->count() > 0 && raw.write.empty()) {
        return wrong("--write", raw.write, "empty file name");
    }
    if (options.view == View::record && raw.write.empty()) {
        return fail(Exit::usage, "record needs -w FILE: where the recording goes");
    }
    if (!raw.read.empty() && ((!raw.write.empty() && !options.export_to) || duration_option->count() > 0)) {
        return fail(Exit::usage, "-r reads recordings; -w and -d are for the live kernel");
    }
    if (raw.read.empty() && raw.diff.empty() && from_option->count() + to_option->count() > 0) {
        return fail(Exit::usage, "--from and --to select from a recording: they need -r FILE");
    }
    if (raw.to.size() > 1) {
        return fail(Exit::usage, "--to was given twice");
    }
    const auto from = moment("--from", raw.from, from_option->count() > 0);
    if (!from) {
        return tl::unexpected(from.error());
    }
    const auto to = moment("--to", raw.to.empty() ? "" : raw.to.front(), !raw.to.empty());
    if (!to) {
        return tl::unexpected(to.error());
    }
    options.from = *from;
    options.to = *to;
    if (auto rotated = rotation(raw, options); !rotated) {
        return tl::unexpected(rotated.error());
    }
    if (btf_option->count() > 0 && raw.btf.empty()) {
        return wrong("--btf", raw.btf, "empty file name");
    }
    if (buffer_option->count() > 0) {
        const auto bytes = capture::parse_size(raw.buffer, 1);
        if (!bytes) {
            return wrong("--buffer", raw.buffer, bytes.error().message);
        }
        options.buffer_bytes = *bytes;
    }
    auto rows = filter(raw);
    if (!rows) {
        return tl::unexpected(rows.error());
    }
    if (options.view == View::doctor && rows->narrows_more_than_netns()) {
        return fail(Exit::usage, "doctor judges whole network namespaces: of the filters only --netns is for it");
    }
    options.duration = *stop_after;
    options.interval = *repeat;
    options.settings.filter = std::move(*rows);
    options.settings.older_than = older_than->value_or(options.settings.older_than);
    options.read = raw.read;
    options.write = raw.write;
    options.json = raw.json;
    options.tracepoint_only = raw.hooks == "tracepoint";
    options.btf_file = raw.btf;
    options.without_hooks = std::move(raw.without_hooks);
    options.colour = raw.colour == "always"  ? Colour::always
                     : raw.colour == "never" ? Colour::never
                                             : Colour::automatic;
    options.verbose = raw.verbose;
    return options;
}

}  // namespace tcptrail::cli
