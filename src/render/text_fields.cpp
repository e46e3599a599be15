// SPDX-License-Identifier: Apache-2.0
#include "render/text_fields.h"

#include <fmt/format.h>

#include "render/safe_text.h"

namespace tcptrail::render {

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

std::string rate(std::uint64_t count, std::uint64_t window_ns) {
    const std::optional<double> per_s = report::rate_per_s(count, window_ns);
    return per_s ? fmt::format("{:.1f}", *per_s) : "-";
}

std::string plural(std::uint64_t count, std::string_view one) {
    return fmt::format("{} {}{}", count, one, count == 1 ? "" : "s");
}

const char* what_is_cut(const TraceEnd& end) {
    if (!end.truncated) {
        return "";
    }
    return end.gaps ? ", the recording has gaps" : ", the recording has no end";
}

}  // namespace tcptrail::render
