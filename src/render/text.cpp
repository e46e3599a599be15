// SPDX-License-Identifier: Apache-2.0
#include "render/text.h"

#include <iterator>

#include <fmt/format.h>

#include "render/safe_text.h"

namespace tcptrail::render {
namespace {

constexpr std::size_t width = 120;
constexpr std::size_t most_rows = 40;  // of a summary; JSON has them all

constexpr const char* red = "31";
constexpr const char* green = "32";
constexpr const char* yellow = "33";
constexpr const char* magenta = "35";
constexpr const char* dim = "2";
constexpr const char* bold = "1";

const char* colour_of(State state) {
    switch (state) {
        case State::established: return green;
        case State::time_wait: return yellow;
        case State::close_wait: return magenta;
        case State::close: return dim;
        case State::none:
        case State::syn_sent:
        case State::syn_recv:
        case State::fin_wait1:
        case State::fin_wait2:
        case State::last_ack:
        case State::listen:
        case State::closing:
        case State::new_syn_recv: return nullptr;
    }
    return nullptr;
}

const char* colour_of(CloseReason reason) {
    switch (reason) {
        case CloseReason::local_fin:
        case CloseReason::remote_fin:
        case CloseReason::simultaneous_fin: return nullptr;
        case CloseReason::unknown:
        case CloseReason::connect_cancelled:
        case CloseReason::disconnect:
        case CloseReason::sock_destroyed:
        case CloseReason::listener_closed:
        case CloseReason::linger_rst: return yellow;
        case CloseReason::rst_received:
        case CloseReason::unread_data_rst:
        case CloseReason::late_data_rst:
        case CloseReason::refused:
        case CloseReason::connect_timeout:
        case CloseReason::unreachable:
        case CloseReason::no_local_port:
        case CloseReason::retransmit_timeout:
        case CloseReason::keepalive_timeout:
        case CloseReason::fin_wait1_timeout:
        case CloseReason::fin_wait2_timeout:
        case CloseReason::last_ack_timeout:
        case CloseReason::resource: return red;
    }
    return nullptr;
}

std::string pid_of(const Process* process) {
    return process != nullptr ? fmt::format("{}", process->pid) : "-";
}

std::string comm_of(const Process* process) {
    return process != nullptr ? printable(process->comm) : "-";
}

const Process* shown_process(const Owner& owner, ProcessId other, const Context& context) {
    const Process* process = owner.evidence == Evidence::unknown ? nullptr : context.processes.find(owner.process);
    return process != nullptr ? process : context.processes.find(other);
}

std::string milliseconds(std::optional<std::uint64_t> ns) {
    if (!ns) {
        return "-";
    }
    const std::uint64_t us = *ns / 1000;
    return us < 100'000'000 ? fmt::format("{}.{:03}", us / 1000, us % 1000) : fmt::format("{}", us / 1000);
}

std::string destination(const report::LifeRow& row) {
    if (!row.raddr) {
        return "(others)";
    }
    if (row.rport) {
        return ">" + to_string(*row.raddr, row.family, *row.rport);
    }
    const std::string address = to_string(*row.raddr, row.family);
    return row.lport ? fmt::format(":{} <{}", *row.lport, address) : address;
}

/// The most frequent reasons, as many as fit.
std::string reasons(const report::LifeRow& row, std::size_t room) {
    std::string text;
    std::size_t left = row.reasons.size();
    for (const auto& [reason, count] : row.reasons_by_count()) {
        const std::string next = fmt::format("{}{} {}", text.empty() ? "" : ", ", name(reason), count);
        const std::size_t more = left > 1 ? 4 : 0;  // " +12"
        if (!text.empty() && text.size() + next.size() + more > room) {
            return text + fmt::format(" +{}", left);
        }
        text += next;
        --left;
    }
    return text;
}

std::string rate(std::uint64_t count, std::uint64_t window_ns) {
    const std::optional<double> per_s = report::rate_per_s(count, window_ns);
    return per_s ? fmt::format("{:.1f}", *per_s) : "-";
}

std::string plural(std::uint64_t count, std::string_view one) {
    return fmt::format("{} {}{}", count, one, count == 1 ? "" : "s");
}

}  // namespace

std::string short_duration(std::optional<std::uint64_t> ns) {
    if (!ns) {
        return "-";
    }
    const std::uint64_t us = *ns / 1000;
    const std::uint64_t s = us / 1'000'000;
    if (us < 1000) {
        return fmt::format("{}us", us);
    }
    if (us < 1'000'000) {  // cut, not rounded: 999.9ms never reads 1000ms
        return us < 100'000 ? fmt::format("{}.{}ms", us / 1000, us / 100 % 10) : fmt::format("{}ms", us / 1000);
    }
    if (s < 60) {
        return s < 10 ? fmt::format("{}.{:03}s", s, us / 1000 % 1000) : fmt::format("{}.{:02}s", s, us / 10'000 % 100);
    }
    if (s < 3600) {
        return fmt::format("{}m{:02}s", s / 60, s % 60);
    }
    if (s < 86'400) {
        return fmt::format("{}h{:02}m", s / 3600, s / 60 % 60);
    }
    return s < 100 * 86'400 ? fmt::format("{}d{:02}h", s / 86'400, s / 3600 % 24) : fmt::format("{}d", s / 86'400);
}

std::string short_count(std::optional<std::uint64_t> count) {
    if (!count) {
        return "-";
    }
    if (*count < 1000) {
        return fmt::format("{}", *count);
    }
    std::uint64_t scale = 1000;
    std::string_view units = "kMGTPE";
    while (*count / scale >= 1000) {
        scale *= 1000;
        units.remove_prefix(1);
    }
    const std::uint64_t whole = *count / scale;
    return whole < 10 ? fmt::format("{}.{}{}", whole, *count % scale / (scale / 10), units[0])
                      : fmt::format("{}{}", whole, units[0]);
}

std::string Text::local_time(std::uint64_t wall_ns) {
    const auto second = static_cast<std::time_t>(wall_ns / 1'000'000'000);
    if (second != second_) {
        std::tm parts{};
        localtime_r(&second, &parts);
        hms_ = fmt::format("{:02}:{:02}:{:02}", parts.tm_hour, parts.tm_min, parts.tm_sec);
        second_ = second;
    }
    return fmt::format("{}.{:06}", hms_, wall_ns / 1000 % 1'000'000);
}

std::string Text::paint(std::string padded, const char* code) const {
    return colour_ && code != nullptr ? fmt::format("\x1b[{}m{}\x1b[0m", code, padded) : padded;
}

void Text::write_header(std::string& out, View view) {
    std::string line;
    switch (view) {
        case View::trace:
            line = fmt::format("{:<15} {:>7} {:<15} {:<21} {:<21} {:<11}    {:<11} {:>9}", "TIME", "PID", "COMM",
                               "LADDR:LPORT", "RADDR:RPORT", "OLD", "NEW", "MS");
            break;
        case View::life:
            line = fmt::format("{:<15} {:>7} {:<15} {:<21}  {:<21} {:>4} {:>4} {:>6} {}", "ENDED", "PID", "COMM",
                               "LADDR:LPORT", "RADDR:RPORT", "SENT", "RECV", "LIFE", "REASON");
            break;
    }
    out += paint(std::move(line), bold) + "\n";
}

void Text::write_transition(std::string& out, const TransitionRow& row, const Context& context) {
    const Process* process = shown_process(row.owner, row.actor, context);
    const Endpoints& ends = row.ends;
    const char* arrow = row.inferred ? "~>" : row.actor != 0 ? "=>" : "->";
    std::string new_state(name(row.new_state));
    if (row.tw_substate && row.new_state == State::time_wait) {
        new_state += "/2";
    }
    fmt::format_to(std::back_inserter(out), "{:<15} {:>7} {:<15} {:<21} {:<21} {:<11} {} {} {:>9}\n",
                   local_time(context.clock.wall_ns(row.time)), pid_of(process), comm_of(process),
                   to_string(ends.laddr, ends.family, ends.lport), to_string(ends.raddr, ends.family, ends.rport),
                   name(row.old_state), arrow, paint(fmt::format("{:<11}", new_state), colour_of(row.new_state)),
                   milliseconds(row.in_old_ns));
}

void Text::write_connection(std::string& out, const ConnectionRow& row, const Context& context) {
    const Process* process = shown_process(row.owner, row.closer, context);
    const Endpoints& ends = row.ends;
    const char role = row.role == Role::active ? '>' : row.role == Role::passive ? '<' : ' ';
    fmt::format_to(std::back_inserter(out), "{:<15} {:>7} {:<15} {:<21} {}{:<21} {:>4} {:>4} {:>6} {}\n",
                   local_time(context.clock.wall_ns(row.time)), pid_of(process), comm_of(process),
                   to_string(ends.laddr, ends.family, ends.lport), role, to_string(ends.raddr, ends.family, ends.rport),
                   short_count(row.bytes_sent), short_count(row.bytes_received), short_duration(row.lifetime_ns),
                   paint(std::string(name(row.reason)), colour_of(row.reason)));
}

void Text::write_life(std::string& out, const report::LifeSummary& summary, const Context&) {
    const auto quantiles = [](const report::LifeRow& row) {
        const report::Histogram& lifetimes = row.lifetimes_ns;
        return fmt::format("{:>6} {:>6} {:>6} {:>6}", short_duration(lifetimes.quantile(0.50)),
                           short_duration(lifetimes.quantile(0.90)), short_duration(lifetimes.quantile(0.99)),
                           short_duration(lifetimes.max()));
    };
    fmt::format_to(std::back_inserter(out), "\n{} ended in {:.1f} s\n", plural(summary.total.ended, "connection"),
                   static_cast<double>(summary.window_ns) / 1e9);
    if (summary.total.ended == 0) {
        return;
    }
    out += paint(fmt::format("{:>8} {:>8} {:>6} {:>6} {:>6} {:>6} {:>7} {:<15} {:<23} {}", "ENDED", "RATE/S", "P50",
                             "P90", "P99", "MAX", "PID", "COMM", "DESTINATION", "REASONS"),
                 bold) +
           "\n";
    constexpr std::size_t before_reasons = 8 + 1 + 8 + 1 + 27 + 1 + 7 + 1 + 15 + 1 + 23 + 1;
    const auto line = [&](const report::LifeRow& row, std::string_view pid, std::string_view comm,
                          std::string_view where) {
        fmt::format_to(std::back_inserter(out), "{:>8} {:>8} {} {:>7} {:<15} {:<23} {}\n", row.ended,
                       rate(row.ended, summary.window_ns), quantiles(row), pid, comm, where,
                       reasons(row, width - before_reasons));
    };
    std::size_t shown = 0;
    std::uint64_t ended_shown = 0;
    for (const report::LifeRow& row : summary.rows) {
        if (shown == most_rows) {
            break;
        }
        const Process* owner = row.owner ? &*row.owner : nullptr;
        line(row, pid_of(owner), comm_of(owner), destination(row));
        ended_shown += row.ended;
        ++shown;
    }
    if (summary.rows.size() > 1) {
        line(summary.total, "", "all", "");
    }
    if (ended_shown < summary.total.ended) {
        fmt::format_to(std::back_inserter(out), "not shown: {} in {} (--json has all rows)\n",
                       plural(summary.total.ended - ended_shown, "connection"),
                       plural(summary.rows.size() - shown, "row"));
    }
}

void Text::write_trace_end(std::string& out, const TraceEnd& end, const Context&) {
    std::string line = fmt::format("{}, lost {}, missed {}, {}, {:.1f} s", plural(end.transitions, "transition"),
                                   end.lost, end.missed, plural(end.incomplete_connections, "incomplete connection"),
                                   static_cast<double>(end.window_ns) / 1e9);
    if (end.lost_other != 0) {
        line += fmt::format(", {} about owners lost", plural(end.lost_other, "record"));
    }
    if (end.evicted != 0) {
        line += fmt::format(", {} forgotten for want of room", plural(end.evicted, "connection"));
    }
    if (end.truncated) {
        line += ", the recording has no end";
    }
    const bool whole = end.lost == 0 && end.missed == 0;
    out += paint(std::move(line), whole ? nullptr : red) + "\n";
}

}  // namespace tcptrail::render
