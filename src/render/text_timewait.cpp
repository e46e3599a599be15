// SPDX-License-Identifier: Apache-2.0
// Text of `timewait`: the count, who made it, the ports, and what to do; one screen. Processes of one name that do the same
// share a line.
#include <algorithm>
#include <iterator>
#include <map>
#include <set>
#include <tuple>

#include <fmt/format.h>

#include "render/safe_text.h"
#include "render/text.h"
#include "render/text_fields.h"

namespace tcptrail::render {
namespace {

constexpr std::size_t most_origins = 10;
constexpr std::size_t most_ports = 8;

std::string called(const Process* process) {
    return process != nullptr ? fmt::format("{}/{}", printable(process->comm), process->pid) : "-";
}

const Process* known(const report::Who& who) {
    return who.process ? &*who.process : nullptr;
}

/// What one line of the table of origins stands for.
struct Line {
    std::set<std::uint32_t> pids;
    std::set<std::string> remotes;  // of passive opens
    std::uint64_t created = 0;
    std::uint64_t now = 0;
};
// comm, who closed, what is before and behind the remote address
using LineKey = std::tuple<std::string, std::string, std::string, std::string>;

std::string closed_by(const report::TimeWaitOrigin& origin) {
    if (!origin.closer) {
        return "-";
    }
    const Process* owner = known(origin.owner);
    const bool itself =
        owner != nullptr && owner->pid == origin.closer->pid && owner->start_ns == origin.closer->start_ns;
    return itself ? "itself" : called(&*origin.closer);
}

std::map<LineKey, Line> lines_of(const report::TimeWaitSummary& summary) {
    std::map<LineKey, Line> lines;
    for (const report::TimeWaitOrigin& origin : summary.origins) {
        const Process* owner = known(origin.owner);
        for (const report::TimeWaitDestination& to : origin.destinations) {
            std::string address = to.raddr ? to_string(*to.raddr, to.family) : "(others)";
            std::string place;
            if (origin.role == Role::passive && to.lport) {
                place = fmt::format(":{} <", *to.lport);
            } else if (to.raddr && to.rport) {
                place = ">" + to_string(*to.raddr, to.family, *to.rport);
                address.clear();
            }
            Line& line =
                lines[{comm_of(owner), closed_by(origin), place, origin.role == Role::passive ? "<" : address}];
            if (owner != nullptr) {
                line.pids.insert(owner->pid);
            }
            line.remotes.insert(std::move(address));
            line.created += to.created;
            line.now += to.now;
        }
    }
    return lines;
}

std::string pids_of(const Line& line) {
    if (line.pids.empty()) {
        return "-";
    }
    return line.pids.size() == 1 ? fmt::format("{}", *line.pids.begin())
                                 : fmt::format("{} pids", short_count(line.pids.size()));
}

std::string where(const LineKey& key, const Line& line) {
    const std::string& place = std::get<2>(key);
    if (std::get<3>(key).empty()) {
        return place;
    }
    return place +
           (line.remotes.size() == 1 ? *line.remotes.begin() : fmt::format("{} addresses", line.remotes.size()));
}

std::string runs_out(const report::PortRow& row) {
    if (row.exhausted_in_s) {
        return *row.exhausted_in_s <= 0 ? "now" : short_duration(static_cast<std::uint64_t>(*row.exhausted_in_s * 1e9));
    }
    return row.available && row.rate_per_s ? "no" : "-";
}

std::string holders(const std::vector<report::PortHolder>& holders, std::size_t room) {
    std::string text;
    std::size_t left = holders.size();
    for (const report::PortHolder& holder : holders) {
        std::string next = text.empty() ? "" : ", ";
        next += called(known(holder.owner));
        if (holders.size() > 1) {
            next += fmt::format(" {}", holder.ports);
        }
        const std::size_t more = left > 1 ? 6 : 0;  // " +1234"
        if (!text.empty() && text.size() + next.size() + more > room) {
            return text + fmt::format(" +{}", left);
        }
        text += next;
        --left;
    }
    return text.empty() ? "-" : text;
}

/// `text` behind `mark`, its lines at most text_width wide.
std::string wrapped(std::string_view mark, std::string_view text) {
    std::string out(mark);
    std::size_t width = mark.size();
    bool first = true;
    while (!text.empty()) {
        const std::string_view word = text.substr(0, text.find(' '));
        text.remove_prefix(std::min(text.size(), word.size() + 1));
        if (!first && width + 1 + word.size() > text_width) {
            out += "\n" + std::string(mark.size(), ' ');
            width = mark.size();
            first = true;
        }
        if (!first) {
            out += ' ';
            ++width;
        }
        out += word;
        width += word.size();
        first = false;
    }
    return out + "\n";
}

std::string coverage(const report::TimeWaitSummary& summary) {
    const std::uint64_t kernel = summary.kernel_now.value_or(0);
    const std::uint64_t explained = summary.explained_now.value_or(0);
    const std::uint64_t older = summary.before_trace_now.value_or(0);
    const std::uint64_t ownerless = summary.ownerless_now.value_or(0);
    const std::uint64_t told = explained + older + ownerless;
    std::string text =
        fmt::format("{} TIME_WAIT now, as the kernel counts: {} explained ({:.1f} %)", kernel, explained,
                    kernel == 0 ? 100.0 : 100.0 * static_cast<double>(explained) / static_cast<double>(kernel));
    if (older != 0) {
        text += fmt::format(", {} older than the trace", older);
    }
    if (ownerless != 0) {
        text += fmt::format(", {} of nobody known", ownerless);
    }
    if (told < kernel) {
        text += fmt::format(", {} not explained", kernel - told);
    }
    return text;
}

}  // namespace

void Text::write_timewait(std::string& out, const report::TimeWaitSummary& summary, const Context& context) {
    const auto append = std::back_inserter(out);
    std::uint64_t standing = 0;
    for (const report::TimeWaitOrigin& origin : summary.origins) {
        standing += origin.now;
    }
    fmt::format_to(append, "\n{}  {}\n", local_time(context.clock.wall_ns(summary.time)),
                   summary.kernel_now
                       ? coverage(summary)
                       : fmt::format("{} TIME_WAIT now by the 60 s model; the kernel's count was not taken", standing));
    std::string counts = fmt::format("{} created in {:.1f} s ({}/s), {} ended", summary.created,
                                     static_cast<double>(summary.window_ns) / 1e9,
                                     rate(summary.created, summary.window_ns), summary.ended);
    if (summary.overflow.value_or(0) != 0) {
        counts += fmt::format(", {} refused by tcp_max_tw_buckets", *summary.overflow);
    }
    if (summary.undecided != 0) {
        counts += fmt::format(", {} created or refused, not known which", summary.undecided);
    }
    fmt::format_to(append, "{:<15}  {}\n", "", counts);

    const std::map<LineKey, Line> lines = lines_of(summary);
    if (!lines.empty()) {
        out += paint(fmt::format("{:>8} {:>8} {:>8} {:>9} {:<15} {:<23} {}", "NOW", "CREATED", "RATE/S", "PID", "COMM",
                                 "CLOSED BY", "DESTINATION"),
                     bold) +
               "\n";
        std::vector<const std::pair<const LineKey, Line>*> sorted;
        sorted.reserve(lines.size());
        for (const auto& line : lines) {
            sorted.push_back(&line);
        }
        std::stable_sort(sorted.begin(), sorted.end(), [](const auto* a, const auto* b) {
            return std::tie(a->second.now, a->second.created) > std::tie(b->second.now, b->second.created);
        });
        std::uint64_t hidden = 0;
        for (std::size_t i = 0; i < sorted.size(); ++i) {
            const auto& [key, line] = *sorted[i];
            if (i >= most_origins) {
                hidden += line.now;
                continue;
            }
            fmt::format_to(append, "{:>8} {:>8} {:>8} {:>9} {:<15} {:<23} {}\n", line.now, line.created,
                           rate(line.created, summary.window_ns), pids_of(line), std::get<0>(key), std::get<1>(key),
                           where(key, line));
        }
        if (sorted.size() > most_origins) {
            fmt::format_to(append, "not shown: {} with {} TIME_WAIT (--json has all rows)\n",
                           plural(sorted.size() - most_origins, "row"), hidden);
        }
    }

    if (!summary.ports.empty()) {
        out += paint(fmt::format("{:>8} {:>8} {:>4} {:>9} {:>8} {:>8} {:>6}  {:<37} {}", "PORTS", "OF", "%",
                                 "TIME_WAIT", "OPENS/S", "RUN OUT", "FAILED", "FROM >TO", "HELD BY"),
                     bold) +
               "\n";
    }
    for (std::size_t i = 0; i < summary.ports.size() && i < most_ports; ++i) {
        const report::PortRow& row = summary.ports[i];
        constexpr std::size_t before_holders = 8 + 1 + 8 + 1 + 4 + 1 + 9 + 1 + 8 + 1 + 8 + 1 + 6 + 2 + 37 + 1;
        const bool alarming = row.failed_connects != 0 || row.exhausted_in_s;
        out +=
            paint(fmt::format(
                      "{:>8} {:>8} {:>4} {:>9} {:>8} {:>8} {:>6}  {:<37} {}", row.used(),
                      row.available ? fmt::format("{}", *row.available) : "-",
                      row.available && *row.available != 0 ? fmt::format("{}", row.used() * 100 / *row.available) : "-",
                      row.time_wait, row.rate_per_s ? fmt::format("{:.1f}", *row.rate_per_s) : "-", runs_out(row),
                      row.failed_connects,
                      to_string(row.laddr, row.family) + " >" + to_string(row.raddr, row.family, row.rport),
                      holders(row.owners, text_width - before_holders)),
                  alarming ? red : nullptr) +
            "\n";
    }
    if (summary.ports.size() > most_ports) {
        fmt::format_to(append, "not shown: {}, all less full (--json has them)\n",
                       plural(summary.ports.size() - most_ports, "destination"));
    }
    for (const report::Advice& advice : summary.advice) {
        out += wrapped("  * ", printable(advice.text));
    }
}

void Text::write_connect_failed(std::string& out, const report::ConnectFailedRow& row, const Context& context) {
    const Process* owner = shown_process(row.owner, 0, context);
    std::string line = fmt::format("{} NO PORT for {} to {}", local_time(context.clock.wall_ns(row.time)),
                                   called(owner), to_string(row.ends.raddr, row.ends.family, row.ends.rport));
    if (row.count > 1) {
        line += fmt::format(", {} times", row.count);
    }
    line += "; held by ";
    std::string held = holders(row.holders, text_width > line.size() ? text_width - line.size() : 0);
    if (row.holders.size() == 1) {
        held += fmt::format(" {}", row.holders.front().ports);
    }
    out += paint(line + held, red) + "\n";
}

}  // namespace tcptrail::render
