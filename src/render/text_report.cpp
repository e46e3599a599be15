// SPDX-License-Identifier: Apache-2.0
// Text of `report`: one page, the few rows of each kind that matter most; --json has all.
#include <algorithm>
#include <functional>
#include <iterator>
#include <optional>

#include <fmt/format.h>

#include "render/safe_text.h"
#include "render/text.h"
#include "render/text_fields.h"

namespace tcptrail::render {
namespace {

constexpr std::size_t few = 5;       // rows of each section
constexpr std::size_t columns = 10;  // moments of the populations

const Process* process_of(const report::LifeRow& row) {
    return row.who.process ? &*row.who.process : nullptr;
}

/// "    1234 server          >10.0.0.1:443          "
std::string who_where(const report::LifeRow& row) {
    const Process* process = process_of(row);
    return fmt::format("{:>7} {:<15} {:<28}", pid_of(process), comm_of(process), report::destination_of(row));
}

std::string optional_count(std::optional<std::uint64_t> count) {
    return count ? fmt::format("{}", *count) : "?";
}

std::string how_changed(std::uint64_t before, std::uint64_t after) {
    return before == 0 ? "new" : after == 0 ? "gone" : "";
}

std::string change(std::uint64_t before, std::uint64_t before_ns, std::uint64_t after, std::uint64_t after_ns) {
    const double was = report::rate_per_s(before, before_ns).value_or(0);
    const double is = report::rate_per_s(after, after_ns).value_or(0);
    return fmt::format("{:>9} {:>9} {:>+10.2f} {:<4}", rate(before, before_ns), rate(after, after_ns), is - was,
                       how_changed(before, after));
}

/// Lines for the first few of `rows`, and how many there are more.
template <typename Rows, typename Line>
void section(std::string& out, const std::string& title, const Rows& rows, const Line& line) {
    if (rows.empty()) {
        return;
    }
    out += "\n" + title + "\n";
    for (std::size_t i = 0; i < std::min(rows.size(), few); ++i) {
        out += line(rows[i]) + "\n";
    }
    if (rows.size() > few) {
        out += fmt::format("        and {} more\n", plural(rows.size() - few, "row"));
    }
}

/// Which of `count` moments are shown: the last and others as evenly as may be.
std::vector<std::size_t> shown_moments(std::size_t count) {
    std::vector<std::size_t> shown;
    const std::size_t wanted = std::min(count, columns);
    for (std::size_t i = 1; i <= wanted; ++i) {
        shown.push_back(count * i / wanted - 1);
    }
    return shown;
}

}  // namespace

void Text::write_populations(std::string& out, const report::ReportSummary& summary, const Context& context) {
    const auto moments = shown_moments(summary.populations.size());
    std::string line = fmt::format("{:<12}", "STATE AT");
    for (const std::size_t moment : moments) {
        line += fmt::format(" {:>9}", local_time(context.clock.wall_ns(summary.populations[moment].time)).substr(0, 8));
    }
    out += "\n" + paint(std::move(line), bold) + "\n";
    for (std::size_t state = 1; state < summary.populations.front().standing.size(); ++state) {
        const bool any = std::any_of(summary.populations.begin(), summary.populations.end(),
                                     [state](const report::Population& moment) { return moment.standing[state] > 0; });
        if (!any) {
            continue;
        }
        out += fmt::format("{:<12}", name(static_cast<State>(state)));
        for (const std::size_t moment : moments) {
            out += fmt::format(" {:>9}", summary.populations[moment].standing[state]);
        }
        out += "\n";
    }
}

void Text::write_report(std::string& out, const report::ReportSummary& summary, const Context& context) {
    const TraceEnd& coverage = summary.coverage;
    const report::LifeRow& total = summary.life.total;
    const auto title = [this](std::string text) { return paint(std::move(text), bold); };
    out += title(fmt::format("{} to {}, {:.1f} s: {} ended", local_time(context.clock.wall_ns(summary.from)),
                             local_time(context.clock.wall_ns(summary.time)),
                             static_cast<double>(summary.window_ns()) / 1e9, plural(total.ended, "connection"))) +
           "\n";
    const bool complete = coverage.lost == 0 && coverage.missed == 0 && !coverage.truncated;
    out += complete ? "The answer is complete: nothing was lost or missed.\n"
                    : paint(fmt::format("The answer is NOT complete: lost {}, missed {}{}.", coverage.lost,
                                        coverage.missed, what_is_cut(coverage)),
                            red) +
                          "\n";
    if (!summary.populations.empty()) {
        write_populations(out, summary, context);
    }
    const auto trouble = [](const report::TroubleRow& row) {
        return fmt::format("{:>7} {} {}", row.count, who_where(*row.of), name(row.reason));
    };
    section(out, title("Failed connects"), summary.troubles(report::Trouble::failed_connect), trouble);
    section(out, title("Resets"), summary.troubles(report::Trouble::reset), trouble);
    section(out, title("Timeouts"), summary.troubles(report::Trouble::timeout), trouble);
    std::vector<const report::CloseWaitProcess*> holders;
    for (const report::CloseWaitProcess& process : summary.closewait.processes) {
        if (process.older > 0) {
            holders.push_back(&process);
        }
    }
    section(out, title("CLOSE_WAIT: the peer has closed, the process has not"), holders,
            [](const report::CloseWaitProcess* row) {
                const Process* process = row->who.process ? &*row->who.process : nullptr;
                return fmt::format("{:>7} {:>7} {:<15} oldest {}{}", row->older, pid_of(process), comm_of(process),
                                   short_duration(row->oldest_ns), row->leak ? ", a LEAK: they only gather" : "");
            });
    const report::TimeWaitSummary& timewait = summary.timewait;
    section(out,
            title(fmt::format("TIME_WAIT: {} created, the kernel counts {} now, {} of them explained", timewait.created,
                              optional_count(timewait.kernel_now), optional_count(timewait.explained_now))),
            timewait.origins, [&](const report::TimeWaitOrigin& row) {
                const Process* process = row.owner.process ? &*row.owner.process : nullptr;
                return fmt::format("{:>7} {:>7} {:<15} {:<8} {} now, {}/s, {}", row.created, pid_of(process),
                                   comm_of(process), name(row.role), row.now, rate(row.created, summary.window_ns()),
                                   plural(row.destinations.size(), "destination"));
            });
    section(out, title("Ports of connect(): the fullest"), timewait.ports, [](const report::PortRow& row) {
        return fmt::format("{:>7} of {:<7} {:<15} >{:<26} {} in TIME_WAIT{}{}", row.used(),
                           row.available ? fmt::format("{}", *row.available) : "?", to_string(row.laddr, row.family),
                           to_string(row.raddr, row.family, row.rport), row.time_wait,
                           row.exhausted_in_s ? fmt::format(", full in {:.0f} s", *row.exhausted_in_s) : "",
                           row.failed_connects > 0 ? ", " + plural(row.failed_connects, "failed connect") : "");
    });
    std::vector<const report::LifeRow*> busiest;
    for (const report::LifeRow& row : summary.life.rows) {
        busiest.push_back(&row);
    }
    section(out, title("Busiest: ended, and what their lives lasted"), busiest, [&](const report::LifeRow* row) {
        return fmt::format("{:>7} {} {:>7}/s p50 {} p99 {}", row->ended, who_where(*row),
                           rate(row->ended, summary.window_ns()), short_duration(row->lifetimes_ns.quantile(0.50)),
                           short_duration(row->lifetimes_ns.quantile(0.99)));
    });
    section(out, title("Slowest to connect"), summary.slowest(), [](const report::LifeRow* row) {
        return fmt::format("{:>7} {} p50 {} max {}, {}", row->connects_ns.count(), who_where(*row),
                           short_duration(row->connects_ns.quantile(0.50)), short_duration(row->connects_ns.max()),
                           plural(row->retransmits, "retransmit"));
    });
    out += "\n";
}

void Text::write_diff(std::string& out, const report::ReportDiff& diff) {
    out += paint(fmt::format("before: {} in {:.1f} s ({}/s); after: {} in {:.1f} s ({}/s)",
                             plural(diff.before_ended, "connection"), static_cast<double>(diff.before_window_ns) / 1e9,
                             rate(diff.before_ended, diff.before_window_ns), plural(diff.after_ended, "connection"),
                             static_cast<double>(diff.after_window_ns) / 1e9,
                             rate(diff.after_ended, diff.after_window_ns)),
                 bold) +
           "\n";
    if (!diff.complete) {
        out += paint("One of the recordings is not complete: see its own report.", red) + "\n";
    }
    out += "\n" +
           paint(fmt::format("{:>9} {:>9} {:>10} {:<4} {:<15} {}", "BEFORE/S", "AFTER/S", "CHANGE/S", "", "COMM",
                             "DESTINATION"),
                 bold) +
           "\n";
    for (std::size_t i = 0; i < std::min(diff.rows.size(), most_rows); ++i) {
        const report::DiffRow& row = diff.rows[i];
        out += fmt::format("{} {:<15} {}\n", change(row.before, diff.before_window_ns, row.after, diff.after_window_ns),
                           row.comm.empty() ? "-" : printable(row.comm), row.destination);
    }
    if (diff.rows.size() > most_rows) {
        out += fmt::format("not shown: {} (--json has all)\n", plural(diff.rows.size() - most_rows, "row"));
    }
    out += "\n" +
           paint(fmt::format("{:>9} {:>9} {:>10} {:<4} {}", "BEFORE/S", "AFTER/S", "CHANGE/S", "", "REASON"), bold) +
           "\n";
    for (const report::DiffReason& row : diff.reasons) {
        out += fmt::format("{} {}\n", change(row.before, diff.before_window_ns, row.after, diff.after_window_ns),
                           name(row.reason));
    }
}

}  // namespace tcptrail::render
