// SPDX-License-Identifier: Apache-2.0
// Text of `states`: the total in the kernel's words, then a table by process, and by cgroup where there are several.
#include <algorithm>
#include <iterator>

#include <fmt/format.h>

#include "render/safe_text.h"
#include "render/text.h"
#include "render/text_fields.h"

namespace tcptrail::render {
namespace {

constexpr std::size_t narrowest = 6;

/// A column's head: the kernel's name, cut where the whole table must fit a line.
std::string_view head_of(State state) {
    switch (state) {
        case State::established: return "ESTAB";
        case State::fin_wait1: return "FIN_W1";
        case State::fin_wait2: return "FIN_W2";
        case State::time_wait: return "TIME_W";
        case State::close_wait: return "CLOSE_W";
        case State::none:
        case State::syn_sent:
        case State::syn_recv:
        case State::close:
        case State::last_ack:
        case State::listen:
        case State::closing:
        case State::new_syn_recv: break;
    }
    return name(state);
}

/// The states that occur, each a column.
struct Columns {
    std::vector<State> states;

    explicit Columns(const report::StateCounts& total) {
        std::copy_if(report::standing_states.begin(), report::standing_states.end(), std::back_inserter(states),
                     [&](State state) { return total.of(state) != 0; });
    }
    std::string heads() const {
        std::string line = fmt::format("{:>7}", "ALL");
        for (const State state : states) {
            line += fmt::format(" {:>{}}", head_of(state), width(state));
        }
        return line;
    }
    std::string of(const report::StateCounts& counts) const {
        std::string line = fmt::format("{:>7}", counts.all());
        for (const State state : states) {
            const std::string number = counts.of(state) != 0 ? fmt::format("{}", counts.of(state)) : ".";
            line += fmt::format(" {:>{}}", number, width(state));
        }
        return line;
    }
    std::size_t columns() const {
        std::size_t sum = 7;
        for (const State state : states) {
            sum += 1 + width(state);
        }
        return sum;
    }

private:
    static std::size_t width(State state) { return std::max(narrowest, head_of(state).size()); }
};

/// "12 TIME_WAIT, 3 ESTABLISHED": the most first. Begins behind `begin` and goes on in lines of its own.
std::string in_words(std::string begin, const report::StatesSummary& summary) {
    std::vector<State> states(report::standing_states.begin(), report::standing_states.end());
    std::stable_sort(states.begin(), states.end(),
                     [&](State a, State b) { return summary.total.of(a) > summary.total.of(b); });
    std::string lines;
    std::string line = std::move(begin);
    const char* between = ": ";
    for (const State state : states) {
        if (summary.total.of(state) == 0) {
            continue;
        }
        std::string next = fmt::format("{} {}", summary.total.of(state), name(state));
        if (line.size() + 2 + next.size() + 1 > text_width) {
            lines += line + ",\n";
            line = std::string(16, ' ') + next;
        } else {
            line += between + next;
        }
        between = ", ";
    }
    return lines + line + "\n";
}

/// The end of a path that is longer than `room`: what tells it from others stands there.
std::string tail(const std::string& path, std::size_t room) {
    return path.size() <= room ? path : "..." + path.substr(path.size() - room + 3);
}

}  // namespace

void Text::write_states(std::string& out, const report::StatesSummary& summary, const Context& context) {
    out += in_words(fmt::format("{} {}", local_time(context.clock.wall_ns(summary.time)),
                                plural(summary.total.all(), "TCP socket")),
                    summary);
    if (summary.time_wait_fin_wait2 != 0) {
        out += fmt::format(
            "{} of FIN_WAIT2 closed by the process, waiting for the peer's FIN (the kernel's tw counts "
            "them)\n",
            summary.time_wait_fin_wait2);
    }
    const Columns columns(summary.total);
    if (!summary.by_owner.empty()) {
        out += paint(fmt::format("{:>7} {:<15} {}", "PID", "COMM", columns.heads()), bold) + "\n";
    }
    std::size_t shown = 0;
    std::uint64_t left_out = 0;
    for (const report::OwnerStates& row : summary.by_owner) {
        if (shown == most_rows) {
            left_out += row.counts.all();
            continue;
        }
        const Process* const process = row.who.process ? &*row.who.process : nullptr;
        out += fmt::format("{:>7} {:<15} {}\n", pid_of(process), process != nullptr ? comm_of(process) : "(not known)",
                           columns.of(row.counts));
        ++shown;
    }
    if (left_out != 0) {
        out += fmt::format("not shown: {} of {} (--json has all rows)\n", plural(left_out, "socket"),
                           plural(summary.by_owner.size() - shown, "owner"));
    }
    const bool several = std::count_if(summary.by_cgroup.begin(), summary.by_cgroup.end(),
                                       [](const report::CgroupStates& row) { return row.cgroup.has_value(); }) > 1;
    if (several) {
        out += paint(fmt::format("{} CGROUP", columns.heads()), bold) + "\n";
        const std::size_t room = text_width - columns.columns() - 1;
        shown = 0;
        for (const report::CgroupStates& row : summary.by_cgroup) {
            if (shown++ == most_rows) {
                out +=
                    fmt::format("not shown: {} cgroups (--json has all rows)\n", summary.by_cgroup.size() - most_rows);
                break;
            }
            out += fmt::format("{} {}\n", columns.of(row.counts),
                               row.cgroup ? tail(printable(*row.cgroup), room) : "(not known)");
        }
    }
}

}  // namespace tcptrail::render
