// SPDX-License-Identifier: Apache-2.0
// Text of `life`: ended connections, and their summary.
#include <iterator>

#include <fmt/format.h>

#include "render/text.h"
#include "render/text_fields.h"

namespace tcptrail::render {
namespace {

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

/// All of them, in as many lines as it takes.
std::string all_reasons(const report::LifeRow& row) {
    std::string text = "reasons:";
    std::size_t width = text.size();
    bool first = true;
    for (const auto& [reason, count] : row.reasons_by_count()) {
        const std::string next = fmt::format(" {} {}", name(reason), count);
        text += first ? "" : ",";
        width += first ? 0 : 1;
        first = false;
        if (width + next.size() + 1 > text_width) {
            text += "\n        ";
            width = 8;
        }
        text += next;
        width += next.size();
    }
    return text;
}

}  // namespace

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
                       &row != &summary.total ? reasons(row, text_width - before_reasons) : "");
    };
    std::size_t shown = 0;
    std::uint64_t ended_shown = 0;
    for (const report::LifeRow& row : summary.rows) {
        if (shown == most_rows) {
            break;
        }
        const Process* owner = row.who.process ? &*row.who.process : nullptr;
        const bool queued = row.who.evidence == Evidence::inherited;  // the pid is the listener's
        line(row, pid_of(owner), queued ? "(accept queue)" : comm_of(owner), report::destination_of(row));
        ended_shown += row.ended;
        ++shown;
    }
    if (summary.rows.size() > 1) {
        line(summary.total, "", "all", "");
    }
    out += all_reasons(summary.total) + "\n";
    if (ended_shown < summary.total.ended) {
        fmt::format_to(std::back_inserter(out), "not shown: {} in {} (--json has all rows)\n",
                       plural(summary.total.ended - ended_shown, "connection"),
                       plural(summary.rows.size() - shown, "row"));
    }
}

}  // namespace tcptrail::render
