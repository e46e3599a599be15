// SPDX-License-Identifier: Apache-2.0
// Rules about TIME_WAIT: when it hurts, when it does not, and the settings that people believe in.
#include <algorithm>
#include <array>
#include <bit>

#include "report/rule_words.h"
#include "report/rules.h"

namespace tcptrail::report {
namespace {

constexpr std::uint64_t many = 5000;  // time-wait sockets: people begin to ask
constexpr std::uint64_t worth_a_word = 1000;
constexpr std::uint64_t believable = 100;  // so many that somebody may want them gone
constexpr double mostly = 0.8;
constexpr double hardly = 0.1;
constexpr double pressing = 0.25;  // of the ports towards one destination
constexpr std::int64_t default_fin_timeout = 60;

constexpr const char* not_fin_timeout = "tcp_fin_timeout: TIME_WAIT lasts 60 s whatever it says";
constexpr const char* not_recycle = "tcp_tw_recycle: gone since Linux 4.12";

double part(std::uint64_t some, std::uint64_t all) {
    return all != 0 ? static_cast<double>(some) / static_cast<double>(all) : 0;
}

std::optional<Finding> overflow(const NetnsEvidence& evidence) {
    const std::uint64_t refused = evidence.grown("TcpExt.TCPTimeWaitOverflow");
    if (refused == 0) {
        return std::nullopt;
    }
    const auto limit = static_cast<std::uint64_t>(setting(evidence, "net.ipv4.tcp_max_tw_buckets", 0));
    const std::uint64_t stand = evidence.now.time_wait();
    const auto at_this_rate = static_cast<std::uint64_t>(evidence.per_s(refused) * 60);
    const std::uint64_t better = std::bit_ceil(std::max({2 * limit, limit + at_this_rate, std::uint64_t{1024}}));
    Finding finding;
    finding.severity = Severity::medium;
    finding.title = counted(refused, "connection") + " skipped TIME_WAIT: tcp_max_tw_buckets (" +
                    std::to_string(limit) + ") is full";
    finding.observed = {{"overflow", refused},
                        {"rate_per_s", rounded(evidence.per_s(refused))},
                        {"time_wait", stand},
                        {"tcp_max_tw_buckets", limit}};
    finding.why =
        "A connection that skips TIME_WAIT answers its peer's late FIN with a RST, and its delayed segments may reach "
        "a new "
        "connection of the same ports.";
    finding.command = sysctl_command(evidence, {{"net.ipv4.tcp_max_tw_buckets", std::to_string(better)}});
    finding.effect = "Room for " + std::to_string(better) + " of them, about " + std::to_string(better / 4096 + 1) +
                     " MiB when full.";
    finding.will_not_help = {not_fin_timeout, "tcp_tw_reuse: it is for connect() alone and frees no bucket by itself"};
    return finding;
}

/// The destination whose ports TIME_WAIT takes most of.
const PortsTowards* most_waiting(const NetnsEvidence& evidence, const Destination*& to) {
    const PortsTowards* most = nullptr;
    for (const auto& [each, use] : evidence.now.destinations) {
        if (most == nullptr || use.time_wait > most->time_wait) {
            most = &use;
            to = &each;
        }
    }
    return most;
}

std::optional<Finding> reuse_would_help(const NetnsEvidence& evidence) {
    const Destination* to = nullptr;
    const PortsTowards* use = most_waiting(evidence, to);
    if (use == nullptr || reuses_time_wait(evidence, to->raddr, to->family) ||
        setting(evidence, "net.ipv4.tcp_tw_reuse", 2) == 1 || part(use->time_wait, capacity(evidence)) < pressing) {
        return std::nullopt;
    }
    Finding finding;
    finding.severity = Severity::low;
    finding.title = "tcp_tw_reuse=1 would free " + std::to_string(use->time_wait) + " of " +
                    std::to_string(capacity(evidence)) + " ports towards " +
                    to_string(to->raddr, to->family, to->rport);
    finding.observed = {{"tcp_tw_reuse", static_cast<std::uint64_t>(setting(evidence, "net.ipv4.tcp_tw_reuse", 2))},
                        {"raddr", to_string(to->raddr, to->family)},
                        {"rport", std::uint64_t{to->rport}},
                        {"available", capacity(evidence)},
                        {"in_use", use->live},
                        {"time_wait", use->time_wait}};
    finding.why = "These are of our own connects, and each keeps its port for 60 s.";
    std::vector<std::pair<std::string_view, std::string>> settings{{"net.ipv4.tcp_tw_reuse", "1"}};
    if (setting(evidence, "net.ipv4.tcp_timestamps", 1) == 0) {
        settings.emplace_back("net.ipv4.tcp_timestamps", "1");
    }
    finding.command = sysctl_command(evidence, settings);
    finding.effect = "connect() may take a port whose TIME_WAIT is older than a second.";
    finding.will_not_help = {not_fin_timeout, not_recycle};
    return finding;
}

std::optional<Finding> reuse_needs_timestamps(const NetnsEvidence& evidence) {
    const std::int64_t reuse = setting(evidence, "net.ipv4.tcp_tw_reuse", 2);
    if (reuse != 1 || setting(evidence, "net.ipv4.tcp_timestamps", 1) != 0 ||
        evidence.now.time_wait_active < believable) {
        return std::nullopt;
    }
    Finding finding;
    finding.severity = Severity::medium;
    finding.title = "tcp_tw_reuse is on and cannot work: tcp_timestamps is off";
    finding.observed = {{"tcp_tw_reuse", std::uint64_t{1}},
                        {"tcp_timestamps", std::uint64_t{0}},
                        {"time_wait_of_connects", evidence.now.time_wait_active}};
    finding.why = "connect() takes over a TIME_WAIT port only where timestamps tell old segments from new ones.";
    finding.command = sysctl_command(evidence, {{"net.ipv4.tcp_timestamps", "1"}});
    finding.effect = "Connections opened from now on carry timestamps, and their TIME_WAIT can be reused.";
    finding.will_not_help = {not_fin_timeout, not_recycle};
    return finding;
}

std::optional<Finding> reuse_of_no_use(const NetnsEvidence& evidence) {
    const std::uint64_t all = evidence.now.time_wait();
    if (setting(evidence, "net.ipv4.tcp_tw_reuse", 2) != 1 || all < worth_a_word ||
        part(evidence.now.time_wait_active, all) > hardly) {
        return std::nullopt;
    }
    Finding finding;
    finding.severity = Severity::low;
    finding.title = "tcp_tw_reuse=1 does nothing for these " + std::to_string(all) + " TIME_WAIT: they are a server's";
    finding.observed = {{"tcp_tw_reuse", std::uint64_t{1}},
                        {"time_wait", all},
                        {"time_wait_of_listeners", evidence.now.time_wait_passive},
                        {"time_wait_of_connects", evidence.now.time_wait_active}};
    finding.why =
        "It lets connect() take over a port. A listener's port is not used up by TIME_WAIT, and a client's new SYN "
        "takes the "
        "old one's place by itself.";
    finding.effect = "Leave it or not; this traffic does not notice. Let clients close first if the number annoys.";
    finding.will_not_help = {not_fin_timeout, not_recycle};
    return finding;
}

std::optional<Finding> harmless(const NetnsEvidence& evidence) {
    const std::uint64_t all = evidence.now.time_wait();
    if (all < many || part(evidence.now.time_wait_passive, all) < mostly ||
        evidence.grown("TcpExt.TCPTimeWaitOverflow") != 0) {
        return std::nullopt;
    }
    Finding finding;
    finding.severity = Severity::low;
    finding.title = std::to_string(all) + " TIME_WAIT sockets, nearly all of a server's port: harmless";
    finding.observed = {
        {"time_wait", all},
        {"time_wait_of_listeners", evidence.now.time_wait_passive},
        {"time_wait_of_connects", evidence.now.time_wait_active},
        {"tcp_max_tw_buckets", static_cast<std::uint64_t>(setting(evidence, "net.ipv4.tcp_max_tw_buckets", 0))}};
    finding.why =
        "The server closes first, so the wait is on its side. It costs a quarter of a KiB each, no port and no "
        "descriptor, and "
        "ends after 60 s.";
    finding.effect = "Nothing needs to be done. Longer keep-alive for clients would save handshakes.";
    finding.will_not_help = {not_fin_timeout, "tcp_tw_reuse: it is for connect() alone", not_recycle,
                             "a lower tcp_max_tw_buckets: it trades a harmless wait for resets"};
    return finding;
}

std::optional<Finding> fin_timeout_lowered(const NetnsEvidence& evidence) {
    const std::int64_t timeout = setting(evidence, "net.ipv4.tcp_fin_timeout", default_fin_timeout);
    const std::uint64_t all = evidence.now.time_wait();
    if (timeout >= default_fin_timeout || all < believable || part(evidence.now.dead_fin_wait2, all) > hardly) {
        return std::nullopt;
    }
    Finding finding;
    finding.severity = Severity::low;
    finding.title = "tcp_fin_timeout=" + std::to_string(timeout) + " does not shorten TIME_WAIT: it stays 60 s";
    finding.observed = {{"tcp_fin_timeout", static_cast<std::uint64_t>(timeout)},
                        {"time_wait", all},
                        {"dead_fin_wait2", evidence.now.dead_fin_wait2}};
    finding.why =
        "TIME_WAIT is a constant of the kernel (TCP_TIMEWAIT_LEN). tcp_fin_timeout is about FIN_WAIT2: closed sockets "
        "whose peer "
        "does not close. There are hardly any here.";
    finding.command = sysctl_command(evidence, {{"net.ipv4.tcp_fin_timeout", std::to_string(default_fin_timeout)}});
    finding.effect = "Back to the default: slow peers get a minute to close. The number of TIME_WAIT stays what it is.";
    finding.will_not_help = {"any value of tcp_fin_timeout, for TIME_WAIT"};
    return finding;
}

std::optional<Finding> recycle_in_file(const NetnsEvidence& evidence) {
    const auto found = evidence.now.settings.find("file.net.ipv4.tcp_tw_recycle");
    if (found == evidence.now.settings.end()) {
        return std::nullopt;
    }
    // "/etc/sysctl.conf:12:1"
    const std::string& place = found->second;
    const std::size_t value = place.rfind(':');
    const std::size_t line = value != std::string::npos && value > 0 ? place.rfind(':', value - 1) : std::string::npos;
    if (line == std::string::npos) {
        return std::nullopt;
    }
    const std::string file = place.substr(0, line);
    const std::string number = place.substr(line + 1, value - line - 1);
    Finding finding;
    finding.severity = Severity::low;
    finding.title = "tcp_tw_recycle is set in " + file + ", and no kernel since 4.12 has it";
    finding.observed = {{"file", file}, {"line", number}, {"value", place.substr(value + 1)}};
    finding.why =
        "The line does nothing but fail at boot. On older kernels it dropped clients behind NAT: nothing to wish back.";
    finding.command = "sed -i --follow-symlinks " + number + "d '" + file + "'";
    finding.effect = "The line is gone; nothing else changes.";
    finding.will_not_help = {"tcp_tw_recycle in any form"};
    return finding;
}

constexpr std::array rules = {
    Rule{"time_wait_overflow", overflow},
    Rule{"tw_reuse_needs_timestamps", reuse_needs_timestamps},
    Rule{"tw_reuse_would_help", reuse_would_help, {"ports_exhausted", "ports_near_exhaustion"}},
    Rule{"tw_reuse_of_no_use", reuse_of_no_use},
    Rule{"time_wait_harmless", harmless},
    Rule{"fin_timeout_lowered", fin_timeout_lowered},
    Rule{"tw_recycle_in_file", recycle_in_file},
};

}  // namespace

std::span<const Rule> rules_time_wait() {
    return rules;
}

}  // namespace tcptrail::report
