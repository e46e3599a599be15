// SPDX-License-Identifier: Apache-2.0
// Text of `closewait`: processes, then connections, then what each kind of them means.
#include <algorithm>
#include <array>
#include <iterator>

#include <fmt/format.h>

#include "render/safe_text.h"
#include "render/text.h"
#include "render/text_fields.h"

namespace tcptrail::render {
namespace {

using report::Unread;

constexpr std::array kinds = {Unread::data, Unread::fin_only, Unread::eof_read};

const char* meaning(Unread unread) {
    switch (unread) {
        case Unread::data: return "bytes came that it never read: it does not look at this socket, or is stuck";
        case Unread::fin_only:
            return "it read all bytes and looked no more (an idle pool?): it does not know of the end";
        case Unread::eof_read:
            return "it read everything, the end too, and did not close: the close is missing in its code";
    }
    return "";
}

std::uint64_t count(const report::CloseWaitProcess& process, Unread unread) {
    return static_cast<std::uint64_t>(
        std::count_if(process.rows.begin(), process.rows.end(), [&](const auto& row) { return row.unread == unread; }));
}

/// "5s", "500ms": an age that somebody chose.
std::string chosen(std::uint64_t ns) {
    constexpr std::uint64_t second = 1'000'000'000;
    return ns % second == 0 ? fmt::format("{}s", ns / second) : short_duration(ns);
}

std::string signed_rate(std::optional<double> per_s) {
    return per_s ? fmt::format("{:+.1f}", *per_s) : "-";
}

/// "37 bytes, 1 more holder".
std::string what_is_left(const report::CloseWaitRow& row) {
    std::string text = !row.unread                       ? "?"
                       : *row.unread == Unread::data     ? plural(*row.unread_bytes, "byte")
                       : *row.unread == Unread::fin_only ? "only the FIN"
                                                         : "nothing, EOF was read";
    if (row.holders && row.holders->size() > 1) {
        text += ", " + plural(row.holders->size() - 1, "more holder");
    }
    return text;
}

/// "    1234 server               7": who must close it.
std::string who_holds(const report::CloseWaitRow& row) {
    if (!row.holders) {
        return fmt::format("{:>7} {:<15} {:>6}", "?", "", "");
    }
    if (row.holders->empty()) {
        return fmt::format("{:>7} {:<15} {:>6}", "-", row.accepted == false ? "(accept queue)" : "(no descriptor)", "");
    }
    const report::CloseWaitHolder& first = row.holders->front();
    return fmt::format("{:>7} {:<15} {:>6}", first.pid, printable(first.comm), first.fd);
}

}  // namespace

void Text::write_closewait(std::string& out, const report::CloseWaitSummary& summary, const Context& context) {
    auto to = std::back_inserter(out);
    const std::string limit = chosen(summary.older_than_ns);
    fmt::format_to(to, "{}  {} in CLOSE_WAIT, {} for {} or longer; watched for {:.1f} s\n",
                   local_time(context.clock.wall_ns(summary.time)), plural(summary.now, "connection"), summary.older,
                   limit, static_cast<double>(summary.window_ns) / 1e9);
    if (summary.processes.empty()) {
        return;
    }
    out += paint(fmt::format("{:>7} {:<15} {:>7} {:>7} {:>8} {:>7}  {:>8} {:>8} {:>8}  {}", "PID", "COMM", "NOW",
                             "OLDER", "GROWTH/S", "OLDEST", "DATA", "FIN_ONLY", "EOF_READ", "VERDICT"),
                 bold) +
           "\n";
    std::size_t processes = 0;
    std::size_t rows = 0;
    for (const report::CloseWaitProcess& process : summary.processes) {
        rows += process.rows.size();
        if (processes == most_rows) {
            continue;
        }
        ++processes;
        const Process* owner = process.who.process ? &*process.who.process : nullptr;
        fmt::format_to(to, "{:>7} {:<15} {:>7} {:>7} {:>8} {:>7}  {:>8} {:>8} {:>8}  {}\n", pid_of(owner),
                       comm_of(owner), process.now, process.older, signed_rate(process.growth_per_s),
                       short_duration(process.oldest_ns), count(process, Unread::data),
                       count(process, Unread::fin_only), count(process, Unread::eof_read),
                       process.leak ? paint("LEAK: it only grows", red) : "");
    }
    if (processes < summary.processes.size()) {
        fmt::format_to(to, "not shown: {} (--json has all)\n",
                       plural(summary.processes.size() - processes, "process row"));
    }
    if (const std::uint64_t least = report::watch_at_least(summary.older_than_ns); summary.window_ns < least) {
        fmt::format_to(to, "watched too briefly to tell a leak from a moment: that takes more than {} (-d)\n",
                       chosen(least));
    }
    if (rows == 0) {
        return;
    }
    out += "\n" +
           paint(fmt::format("{:>8} {:>7} {:<15} {:>6} {:<21} {:<21} {}", "AGE", "PID", "COMM", "FD", "LADDR:LPORT",
                             "RADDR:RPORT", "UNREAD"),
                 bold) +
           "\n";
    constexpr std::size_t fair = 5;  // rows of each process, whoever else has thousands
    const std::size_t share = std::max(fair, most_rows / summary.processes.size());
    std::size_t shown = 0;
    for (const report::CloseWaitProcess& process : summary.processes) {
        for (std::size_t i = 0; i < std::min(share, process.rows.size()) && shown < most_rows; ++i, ++shown) {
            const report::CloseWaitRow& row = process.rows[i];
            fmt::format_to(to, "{:>8} {} {:<21} {:<21} {}\n",
                           (row.age_is_lower_bound ? ">" : "") + short_duration(row.age_ns), who_holds(row),
                           to_string(row.ends.laddr, row.ends.family, row.ends.lport),
                           to_string(row.ends.raddr, row.ends.family, row.ends.rport), what_is_left(row));
        }
    }
    if (shown < rows) {
        fmt::format_to(to, "not shown: {} (--json has all)\n", plural(rows - shown, "connection"));
    }
    for (const Unread unread : kinds) {
        if (std::any_of(summary.processes.begin(), summary.processes.end(),
                        [&](const auto& process) { return count(process, unread) != 0; })) {
            fmt::format_to(to, "{:<8}  {}\n", name(unread), meaning(unread));
        }
    }
}

}  // namespace tcptrail::render
