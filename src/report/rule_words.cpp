// SPDX-License-Identifier: Apache-2.0
#include "report/rule_words.h"

#include <cmath>

#include "report/port_forecast.h"

namespace tcptrail::report {
namespace {

std::optional<std::string> path_of(const NetnsEvidence& evidence) {
    const auto found = evidence.now.settings.find("netns.path");
    return found != evidence.now.settings.end() ? std::optional(found->second) : std::nullopt;
}

}  // namespace

bool is_own(const NetnsEvidence& evidence) {
    return path_of(evidence) == "/proc/self/ns/net";
}

std::optional<std::string> sysctl_command(const NetnsEvidence& evidence,
                                          const std::vector<std::pair<std::string_view, std::string>>& settings) {
    const auto path = path_of(evidence);
    if (!path) {
        return std::nullopt;
    }
    std::string command = is_own(evidence) ? "sysctl -w" : "nsenter --net=" + *path + " sysctl -w";
    for (const auto& [name, value] : settings) {
        const std::string quote = value.find(' ') != std::string::npos ? "'" : "";
        command += " " + quote + std::string(name) + "=" + value + quote;
    }
    return command;
}

std::string reserved_with(const NetnsEvidence& evidence, const std::set<std::uint16_t>& ports) {
    const auto found = evidence.now.settings.find("net.ipv4.ip_local_reserved_ports");
    std::string text = found != evidence.now.settings.end() ? found->second : "";
    const PortRange range = port_range(evidence.now.settings);
    for (const std::uint16_t port : ports) {
        if (!range.reserved.contains(port)) {
            text += (text.empty() ? "" : ",") + std::to_string(port);
        }
    }
    return text;
}

std::string words(const Who& who) {
    return who.process ? who.process->comm + " (pid " + std::to_string(who.process->pid) + ")"
                       : "a process that is not known";
}

std::string target(const EndedGroup& group) {
    return to_string(group.raddr, group.family, group.rport);
}

double rounded(double value) {
    return std::round(value * 100) / 100;
}

std::string counted(std::uint64_t count, std::string_view one) {
    return std::to_string(count) + " " + std::string(one) + (count == 1 ? "" : "s");
}

std::uint64_t capacity(const NetnsEvidence& evidence) {
    const std::uint64_t size = port_range(evidence.now.settings).size();
    return size > evidence.now.bound_in_range ? size - evidence.now.bound_in_range : 0;
}

bool reuses_time_wait(const NetnsEvidence& evidence, const Address& raddr, Family family) {
    const std::int64_t reuse = setting(evidence, "net.ipv4.tcp_tw_reuse", 2);
    return setting(evidence, "net.ipv4.tcp_timestamps", 1) != 0 &&
           (reuse == 1 || (reuse == 2 && is_loopback(raddr, family)));
}

std::int64_t setting(const NetnsEvidence& evidence, const std::string& name, std::int64_t otherwise) {
    return evidence.now.setting(name).value_or(otherwise);
}

}  // namespace tcptrail::report
