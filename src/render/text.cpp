// SPDX-License-Identifier: Apache-2.0
#include "render/text.h"

#include <iterator>

#include <fmt/format.h>

#include "render/text_fields.h"

namespace tcptrail::render {
namespace {

std::string milliseconds(std::optional<std::uint64_t> ns) {
    if (!ns) {
        return "-";
    }
    const std::uint64_t us = *ns / 1000;
    return us < 100'000'000 ? fmt::format("{}.{:03}", us / 1000, us % 1000) : fmt::format("{}", us / 1000);
}

}  // namespace

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
        case View::timewait:  // each report has its own
        case View::closewait:
        case View::states:  // its heads are those of what occurs
        case View::doctor:
        case View::report:
        case View::listen:
        case View::record: return;
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
    line += what_is_cut(end);
    const bool counted = end.lost != 0 || end.missed != 0;
    const bool unexplained = !counted && end.incomplete_connections != 0 && end.evicted == 0 && !end.truncated;
    if (unexplained) {
        line += ": no counter says why; the kernel may not have run our programs";
    }
    const bool whole = !counted && !unexplained && !end.gaps;
    out += paint(std::move(line), whole ? nullptr : red) + "\n";
}

}  // namespace tcptrail::render
