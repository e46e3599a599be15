// SPDX-License-Identifier: Apache-2.0
#include "report/port_forecast.h"

#include <algorithm>
#include <charconv>
#include <string>

#include <tcptrail/record_text.h>

namespace tcptrail::report {
namespace {

constexpr double day_s = 86'400;

std::optional<std::uint16_t> port_in(std::string_view text) {
    const auto number = number_in(text);
    return number && *number >= 0 && *number <= 65535 ? std::optional(static_cast<std::uint16_t>(*number))
                                                      : std::nullopt;
}

std::optional<std::int64_t> number_of(const NetnsFacts& facts, const char* name) {
    const auto found = facts.settings.find(name);
    return found != facts.settings.end() ? number_in(found->second) : std::nullopt;
}

std::optional<int> small_number_of(const NetnsFacts& facts, const char* name) {
    const auto number = number_of(facts, name);
    return number ? std::optional(static_cast<int>(*number)) : std::nullopt;
}

}  // namespace

bool add_ports(std::string_view text, PortSet& ports) {
    while (!text.empty()) {
        const std::string_view part = text.substr(0, text.find(','));
        text.remove_prefix(std::min(text.size(), part.size() + 1));
        const std::size_t dash = part.find('-');
        const auto first = port_in(part.substr(0, dash));
        const auto last = dash == std::string_view::npos ? first : port_in(part.substr(dash + 1));
        if (!first || !last) {
            return false;
        }
        for (std::uint32_t port = *first; port <= *last; ++port) {
            ports.set(port);
        }
    }
    return true;
}

PortSettings port_settings(const NetnsFacts& facts) {
    PortSettings settings;
    if (const auto range = facts.settings.find("net.ipv4.ip_local_port_range"); range != facts.settings.end()) {
        const std::string_view text = range->second;
        const std::size_t space = text.find(' ');
        if (space != std::string_view::npos) {
            settings.low = port_in(text.substr(0, space));
            settings.high = port_in(text.substr(text.find_last_of(' ') + 1));
        }
    }
    if (const auto reserved = facts.settings.find("net.ipv4.ip_local_reserved_ports");
        reserved != facts.settings.end()) {
        add_ports(reserved->second, settings.reserved);
    }
    constexpr std::int64_t fixed_delay_ms = 1000;  // before the setting came (6.14)
    settings.tw_reuse = small_number_of(facts, "net.ipv4.tcp_tw_reuse");
    settings.timestamps = small_number_of(facts, "net.ipv4.tcp_timestamps");
    settings.reuse_delay_ms = static_cast<std::uint64_t>(
        std::max<std::int64_t>(0, number_of(facts, "net.ipv4.tcp_tw_reuse_delay").value_or(fixed_delay_ms)));
    settings.fin_timeout_s = number_of(facts, "net.ipv4.tcp_fin_timeout");
    settings.max_tw_buckets = number_of(facts, "net.ipv4.tcp_max_tw_buckets");
    return settings;
}

std::optional<std::uint32_t> PortSettings::range() const {
    return low && high && *high >= *low ? std::optional<std::uint32_t>(*high - *low + 1U) : std::nullopt;
}

std::optional<std::uint32_t> PortSettings::available(const PortSet& taken) const {
    if (!range()) {
        return std::nullopt;
    }
    std::uint32_t free = 0;
    for (std::uint32_t port = *low; port <= *high; ++port) {
        free += !reserved[port] && !taken[port] ? 1 : 0;
    }
    return free;
}

bool PortSettings::reuses(bool loopback) const {
    return timestamps.value_or(0) != 0 && (tw_reuse == 1 || (tw_reuse == 2 && loopback));
}

bool is_loopback(const Address& address, Family family) {
    if (family == Family::ipv4) {
        return address[0] == 127;
    }
    Address one{};
    one.back() = 1;
    return address == one;
}

std::optional<double> seconds_to_exhaustion(PortFlow flow) {
    if (flow.used >= flow.available) {
        return 0;
    }
    std::sort(flow.releases_s.begin(), flow.releases_s.end());
    const double taken_per_s = flow.opens_per_s - flow.freed_per_s;  // until the first of these leaves TIME_WAIT
    double now = 0;
    double used = flow.used;
    // When `used` reaches the end before `until`.
    const auto hit = [&](double until) -> std::optional<double> {
        if (taken_per_s <= 0) {
            return std::nullopt;
        }
        const double at = now + (flow.available - used) / taken_per_s;
        return at <= until ? std::optional(at) : std::nullopt;
    };
    for (const double release : flow.releases_s) {
        if (release > flow.wait_s) {
            break;
        }
        if (const auto at = hit(release)) {
            return at;
        }
        used += taken_per_s * (release - now) - 1;
        now = release;
    }
    if (const auto at = hit(flow.wait_s)) {
        return at;
    }
    used += taken_per_s * (flow.wait_s - now);
    if (flow.growth_per_s <= 0) {
        return std::nullopt;  // as many leave TIME_WAIT as enter it
    }
    const double at = flow.wait_s + std::max(0.0, flow.available - used) / flow.growth_per_s;
    return at <= day_s ? std::optional(at) : std::nullopt;
}

}  // namespace tcptrail::report
