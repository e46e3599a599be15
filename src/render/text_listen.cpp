// SPDX-License-Identifier: Apache-2.0
// Text of `listen`: a table of the queues; what is wrong with a listener stands below it, with what bites.
#include <fmt/format.h>

#include "render/text.h"
#include "render/text_fields.h"

namespace tcptrail::render {
namespace {

using report::LimitBy;
using report::ListenerRow;

/// "8 +3": the total, and how much of it came in the window; "?" where only the namespace's count is known.
std::string total_and_new(std::optional<std::uint64_t> total, std::optional<std::uint64_t> fresh) {
    std::string text = total ? short_count(total) : "?";
    if (fresh && *fresh > 0) {
        text += "+" + short_count(fresh);
    }
    return text;
}

std::string what_to_raise(const ListenerRow& row) {
    if (!row.limit_by) {
        return fmt::format("its limit is {}", row.accept_limit);
    }
    switch (*row.limit_by) {
        case LimitBy::listen:
            return fmt::format("the number given to listen(), {}, limits it: raise that, then somaxconn if it is lower",
                               row.accept_limit);
        case LimitBy::somaxconn: return fmt::format("net.core.somaxconn, {}, limits it", row.accept_limit);
        case LimitBy::tcp_max_syn_backlog:
            return fmt::format("net.ipv4.tcp_max_syn_backlog limits it: SYN cookies are off");
    }
    return {};
}

std::string sources_of(const report::SynFlood& flood, Family family) {
    std::string text = fmt::format("{} address{}", flood.addresses, flood.addresses == 1 ? "" : "es");
    if (flood.sources.empty() || (flood.sources.front().half_open == 1 && flood.addresses > 1)) {
        return text + ", none more than once: spoofed, probably";
    }
    const char* between = ", most from ";
    std::size_t shown = 0;
    for (const report::SynSource& source : flood.sources) {
        if (shown++ == 3) {
            break;
        }
        text += fmt::format("{}{} ({})", between, to_string(source.raddr, family), source.half_open);
        between = ", ";
    }
    return text;
}

/// Lines below a row: what bites, the worst first.
std::vector<std::string> remarks(const ListenerRow& row) {
    std::vector<std::string> lines;
    if (row.syn_flood) {
        const report::SynFlood& flood = *row.syn_flood;
        const std::string rate =
            flood.rate_per_s ? fmt::format("{:.0f} SYNs/s that nobody completes", *flood.rate_per_s) : "rate not known";
        lines.push_back(fmt::format("SYN FLOOD: {} half-open, {}; {} handshakes completed in {}", flood.half_open, rate,
                                    flood.completed, short_duration(row.window_ns)));
        lines.push_back("  from " + sources_of(flood, row.ends.family));
    }
    const std::uint64_t overflows = row.since_start.overflows.value_or(0);
    if (row.accept_full() || overflows > 0) {
        lines.push_back(fmt::format("accept queue {}: {}", row.accept_now > row.accept_limit ? "is full" : "was full",
                                    what_to_raise(row)));
    }
    if (!row.since_start.overflows && row.netns.overflows.value_or(0) > 0) {
        lines.push_back(
            fmt::format("of its {} drops it is not known how many were overflows: all listeners of the "
                        "namespace had {}",
                        row.since_start.drops.value_or(0), *row.netns.overflows));
    }
    if (!row.since_start.syn_cookies) {
        lines.push_back(
            fmt::format("it sent SYN cookies, how many is not known: all listeners of the namespace sent {}",
                        *row.netns.syn_cookies));
    }
    if (!row.syn_flood && row.window.syn_cookies.value_or(0) > 0) {
        lines.push_back("its SYN queue was full: SYN cookies were sent, and no connection is lost by that");
    }
    return lines;
}

}  // namespace

void Text::write_listen(std::string& out, const report::ListenSummary& summary, const Context& context) {
    out +=
        fmt::format("{} {}", local_time(context.clock.wall_ns(summary.time)), plural(summary.rows.size(), "listener"));
    if (summary.rows.empty()) {
        out += '\n';
        return;
    }
    out += fmt::format("; in the last {}: HIGH, P50, P99 (waits for accept), and what stands behind +\n",
                       short_duration(summary.window_ns));
    out += paint(fmt::format("{:>7} {:<15} {:<21} {:>6} {:>5} {:>5} {:>5} {:>5} {:>9} {:>9} {:>9} {:>6} {:>6}", "PID",
                             "COMM", "LISTENS ON", "ACCEPT", "HIGH", "LIMIT", "SYN", "LIMIT", "DROPS", "OVERFLOWS",
                             "COOKIES", "P50", "P99"),
                 bold) +
           "\n";
    std::size_t shown = 0;
    for (const ListenerRow& row : summary.rows) {
        if (shown++ == most_rows) {
            out += fmt::format("not shown: {} (--json has all rows)\n",
                               plural(summary.rows.size() - most_rows, "listener"));
            break;
        }
        const Process* const process = row.who.process ? &*row.who.process : nullptr;
        const bool bad = row.syn_flood || row.window.drops.value_or(0) > 0 || row.accept_full();
        const std::string line =
            fmt::format("{:>7} {:<15} {:<21} {:>6} {:>5} {:>5} {:>5} {:>5} {:>9} {:>9} {:>9} {:>6} {:>6}",
                        pid_of(process), process != nullptr ? comm_of(process) : "(not known)",
                        to_string(row.ends.laddr, row.ends.family, row.ends.lport), row.accept_now,
                        fmt::format("{}{}", row.high_exact ? "" : ">", row.accept_high), row.accept_limit, row.syn_now,
                        row.syn_limit ? fmt::format("{}", *row.syn_limit) : "-",
                        total_and_new(row.since_start.drops, row.window.drops),
                        total_and_new(row.since_start.overflows, row.window.overflows),
                        total_and_new(row.since_start.syn_cookies, row.window.syn_cookies),
                        short_duration(row.waits_ns.quantile(0.50)), short_duration(row.waits_ns.quantile(0.99)));
        out += paint(line, bad ? red : nullptr) + "\n";
        for (const std::string& remark : remarks(row)) {
            out += std::string(8, ' ') + remark + "\n";
        }
    }
}

}  // namespace tcptrail::render
