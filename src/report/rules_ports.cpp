// SPDX-License-Identifier: Apache-2.0
// Rules about local ports: do they last, and who is in whose way.
#include <algorithm>
#include <array>
#include <cmath>

#include "report/rule_words.h"
#include "report/rules.h"

namespace tcptrail::report {
namespace {

constexpr double soon_s = 300;               // "within minutes"
constexpr double much = 0.8;                 // of the ports
constexpr double some = 0.5;                 // connect() searches long from here on
constexpr double enough_to_see = 0.2;        // below this a forecast is guesswork
constexpr double time_wait_s = 60;           // TCP_TIMEWAIT_LEN
constexpr std::uint16_t widest_low = 10240;  // below it stand most services' ports
constexpr std::uint16_t widest_high = 65535;
constexpr std::size_t most_holders = 5;

constexpr const char* not_fin_timeout = "tcp_fin_timeout: TIME_WAIT lasts 60 s whatever it says";
constexpr const char* not_backlog = "somaxconn, tcp_max_syn_backlog: ports are short here, not queues";
constexpr const char* not_recycle = "tcp_tw_recycle: gone since Linux 4.12";

/// How the ports towards one destination stand.
struct Pressure {
    const Destination* to = nullptr;
    const PortsTowards* use = nullptr;
    std::uint64_t ports = 0;     // that connect() may choose from
    std::uint64_t blocking = 0;  // that it cannot take
    double opens_per_s = 0;
    double grows_per_s = 0;
    double needed = 0;  // ports at this rate, once TIME_WAIT comes and goes evenly
    bool reused = false;
    std::uint64_t failed = 0;

    double share() const { return ports != 0 ? static_cast<double>(blocking) / static_cast<double>(ports) : 1; }
    std::optional<double> exhausted_in_s() const {
        const double left = static_cast<double>(ports) - static_cast<double>(blocking);
        if (grows_per_s <= 0 || (needed <= static_cast<double>(ports) && share() < some)) {
            return std::nullopt;
        }
        return std::max(0.0, left / grows_per_s);
    }
};

std::uint64_t blocking(const PortsTowards& use, bool reused) {
    return use.live + (reused ? use.young_time_wait : use.time_wait);
}

Pressure pressure_on(const NetnsEvidence& evidence, std::uint64_t ports, const Destination& to,
                     const PortsTowards& use) {
    Pressure pressure;
    pressure.to = &to;
    pressure.use = &use;
    pressure.ports = ports;
    pressure.reused = reuses_time_wait(evidence, to.raddr, to.family);
    pressure.blocking = blocking(use, pressure.reused);
    std::uint64_t ended = 0;
    std::uint64_t time_wait = 0;
    for (const EndedGroup& group : evidence.ended) {
        if (group.role == Role::active && group.raddr == to.raddr && group.rport == to.rport) {
            ended += group.ended;
            time_wait += group.time_wait;
            pressure.failed += group.count(CloseReason::no_local_port);
        }
    }
    if (const auto found = evidence.connected.find({to.family, to.raddr, to.rport});
        found != evidence.connected.end()) {
        pressure.opens_per_s = evidence.per_s(found->second);
    }
    const double leaves = ended != 0 ? static_cast<double>(time_wait) / static_cast<double>(ended) : 0;
    pressure.needed =
        static_cast<double>(use.live) + pressure.opens_per_s * leaves * (pressure.reused ? 1 : time_wait_s);
    if (evidence.before && evidence.window_ns != 0) {
        const auto then = evidence.before->destinations.find(to);
        const std::uint64_t before =
            then != evidence.before->destinations.end() ? blocking(then->second, pressure.reused) : 0;
        pressure.grows_per_s =
            (static_cast<double>(pressure.blocking) - static_cast<double>(before)) / evidence.window_s();
    }
    return pressure;
}

std::vector<Facts> holders_of(const PortsTowards& use) {
    std::vector<Holding> sorted;
    for (const auto& [key, holding] : use.holders) {
        sorted.push_back(holding);
    }
    std::stable_sort(sorted.begin(), sorted.end(),
                     [](const Holding& a, const Holding& b) { return a.ports > b.ports; });
    std::vector<Facts> rows;
    for (const Holding& holding : sorted) {
        if (rows.size() < most_holders) {
            rows.push_back({{"owner", holding.who}, {"ports", holding.ports}});
        }
    }
    return rows;
}

Facts facts_of(const NetnsEvidence& evidence, const Pressure& pressure) {
    const PortRange range = port_range(evidence.now.settings);
    Facts facts{{"laddr", to_string(pressure.to->laddr, pressure.to->family)},
                {"raddr", to_string(pressure.to->raddr, pressure.to->family)},
                {"rport", std::uint64_t{pressure.to->rport}},
                {"ip_local_port_range", std::to_string(range.low) + " " + std::to_string(range.high)},
                {"available", pressure.ports},
                {"in_use", pressure.use->live},
                {"time_wait", pressure.use->time_wait},
                {"opens_per_s", rounded(pressure.opens_per_s)},
                {"failed_connects", pressure.failed},
                {"holders", holders_of(*pressure.use)}};
    return facts;
}

/// What frees ports or adds some.
void advise(const NetnsEvidence& evidence, const Pressure& pressure, Finding& finding) {
    const PortRange range = port_range(evidence.now.settings);
    finding.will_not_help = {not_fin_timeout, not_recycle, not_backlog};
    if (!pressure.reused && pressure.use->time_wait * 2 >= pressure.use->used()) {
        std::vector<std::pair<std::string_view, std::string>> settings{{"net.ipv4.tcp_tw_reuse", "1"}};
        if (setting(evidence, "net.ipv4.tcp_timestamps", 1) == 0) {
            settings.emplace_back("net.ipv4.tcp_timestamps", "1");
        }
        finding.command = sysctl_command(evidence, settings);
        finding.effect =
            "connect() may take a port whose TIME_WAIT is older than a second: the same ports serve 60 times the "
            "rate. Better still: keep connections open and use them again.";
        return;
    }
    const std::uint64_t wider = widest_high - widest_low + 1;
    if (static_cast<double>(wider) > 1.2 * static_cast<double>(range.size())) {
        std::set<std::uint16_t> served;
        for (const ListenerFacts& listener : evidence.now.listeners) {
            if (listener.chosen_port && listener.lport >= widest_low) {
                served.insert(listener.lport);
            }
        }
        std::vector<std::pair<std::string_view, std::string>> settings{
            {"net.ipv4.ip_local_port_range", std::to_string(widest_low) + " " + std::to_string(widest_high)}};
        if (!served.empty()) {
            settings.emplace_back("net.ipv4.ip_local_reserved_ports", reserved_with(evidence, served));
        }
        finding.command = sysctl_command(evidence, settings);
        finding.effect = std::to_string(wider) + " ports instead of " + std::to_string(range.size()) +
                         " towards each destination; the ports of listeners are kept out.";
        return;
    }
    finding.effect =
        "Nothing to set: the range is as wide as it gets. Keep connections open and use them again, or spread them "
        "over "
        "more local or remote addresses: each pair has its own ports.";
}

/// The destination whose ports are shortest, if `wanted` says so of any.
template <typename Wanted, typename Worse>
std::optional<Pressure> worst(const NetnsEvidence& evidence, const Wanted& wanted, const Worse& worse) {
    const std::uint64_t ports = capacity(evidence);
    std::optional<Pressure> found;
    for (const auto& [to, use] : evidence.now.destinations) {
        const Pressure pressure = pressure_on(evidence, ports, to, use);
        if (wanted(pressure) && (!found || worse(pressure, *found))) {
            found = pressure;
        }
    }
    return found;
}

std::optional<Finding> ports_exhausted(const NetnsEvidence& evidence) {
    const EndedGroup* group = nullptr;
    std::uint64_t failed = 0;
    for (const EndedGroup& each : evidence.ended) {
        const std::uint64_t here = each.count(CloseReason::no_local_port);
        failed += here;
        if (here != 0 && (group == nullptr || here > group->count(CloseReason::no_local_port))) {
            group = &each;
        }
    }
    if (group == nullptr) {
        return std::nullopt;
    }
    const auto to_group = [group](const Pressure& pressure) {
        return pressure.to->raddr == group->raddr && pressure.to->rport == group->rport;
    };
    const auto pressure =
        worst(evidence, to_group, [](const Pressure& a, const Pressure& b) { return a.blocking > b.blocking; });
    Finding finding;
    finding.severity = Severity::high;
    finding.title = "No local port left towards " + target(*group) + ": " + counted(failed, "connect") + " of " +
                    words(group->who) + " failed (EADDRNOTAVAIL)";
    finding.why =
        "A connection to one destination needs a local port of its own, and a closed one keeps it for 60 s in "
        "TIME_WAIT "
        "on the side that closed first.";
    if (pressure) {
        finding.observed = facts_of(evidence, *pressure);
        advise(evidence, *pressure, finding);
    } else {  // all of them were gone again when the window ended
        finding.observed = {{"raddr", to_string(group->raddr, group->family)},
                            {"rport", std::uint64_t{group->rport}},
                            {"available", capacity(evidence)},
                            {"failed_connects", failed}};
        const Destination to{group->family, {}, group->raddr, group->rport};
        const PortsTowards none;
        advise(evidence, pressure_on(evidence, capacity(evidence), to, none), finding);
    }
    finding.observed.insert(finding.observed.begin(), {"owner", group->who});
    return finding;
}

std::optional<Finding> ports_near_exhaustion(const NetnsEvidence& evidence) {
    const auto near = [](const Pressure& pressure) {
        const auto left_s = pressure.exhausted_in_s();
        return pressure.failed == 0 &&
               ((left_s && *left_s <= soon_s && pressure.share() >= enough_to_see) || pressure.share() >= much);
    };
    const auto pressure =
        worst(evidence, near, [](const Pressure& a, const Pressure& b) { return a.share() > b.share(); });
    if (!pressure) {
        return std::nullopt;
    }
    const auto left_s = pressure->exhausted_in_s();
    Finding finding;
    finding.severity = left_s && *left_s <= soon_s ? Severity::high : Severity::medium;
    finding.title = "Local ports towards " + to_string(pressure->to->raddr, pressure->to->family, pressure->to->rport) +
                    (finding.severity == Severity::high
                         ? " run out in " + std::to_string(std::llround(*left_s)) + " s at this rate: "
                         : " are nearly used up: ") +
                    std::to_string(pressure->blocking) + " of " + std::to_string(pressure->ports) + " taken";
    finding.observed = facts_of(evidence, *pressure);
    if (left_s) {
        finding.observed.push_back({"exhausted_in_s", rounded(*left_s)});
    }
    finding.why =
        "When all are taken connect() fails with EADDRNOTAVAIL; above half it already searches long, which costs CPU.";
    advise(evidence, *pressure, finding);
    return finding;
}

std::optional<Finding> listener_port_taken(const NetnsEvidence& evidence) {
    for (const auto& [port, listener] : evidence.former) {
        const auto local = evidence.now.local_ports.find(port);
        if (local == evidence.now.local_ports.end() || local->second.outgoing == 0) {
            continue;
        }
        Finding finding;
        finding.severity = Severity::medium;
        finding.title = "Port " + std::to_string(port) + ", on which " + words(listener.who) +
                        " listened, is now the local port of a connection of " + words(local->second.outgoing_who);
        finding.observed = {{"lport", std::uint64_t{port}},
                            {"listener", listener.who},
                            {"holder", local->second.outgoing_who},
                            {"outgoing", local->second.outgoing}};
        finding.why =
            "The port lies in ip_local_port_range, so connect() chose it while nobody listened. Until that connection "
            "is "
            "gone bind() fails with EADDRINUSE, with SO_REUSEADDR too.";
        finding.command =
            sysctl_command(evidence, {{"net.ipv4.ip_local_reserved_ports", reserved_with(evidence, {port})}});
        finding.effect = "connect() leaves the port alone from now on. The connection that has it must end first.";
        finding.will_not_help = {"SO_REUSEADDR: the port is taken by a live connection", not_fin_timeout};
        return finding;
    }
    return std::nullopt;
}

std::optional<Finding> listener_port_time_wait(const NetnsEvidence& evidence) {
    for (const auto& [port, listener] : evidence.former) {
        const auto local = evidence.now.local_ports.find(port);
        if (local == evidence.now.local_ports.end() || local->second.time_wait_without_reuse == 0) {
            continue;
        }
        Finding finding;
        finding.severity = Severity::medium;
        finding.title = "Port " + std::to_string(port) + " of " + words(listener.who) +
                        ", which no longer listens, is kept by " +
                        counted(local->second.time_wait_without_reuse, "TIME_WAIT socket");
        finding.observed = {{"lport", std::uint64_t{port}},
                            {"listener", listener.who},
                            {"time_wait", local->second.time_wait},
                            {"without_so_reuseaddr", local->second.time_wait_without_reuse}};
        finding.why =
            "The listener did not set SO_REUSEADDR. A restart's bind() fails with EADDRINUSE until the last of them is "
            "gone, up to 60 s.";
        finding.effect =
            "Set SO_REUSEADDR before bind() in the program: then TIME_WAIT is in nobody's way. Nothing to type now but "
            "the wait.";
        finding.will_not_help = {not_fin_timeout, "tcp_tw_reuse: it is for connect() alone, not for bind()"};
        return finding;
    }
    return std::nullopt;
}

std::optional<Finding> listener_in_port_range(const NetnsEvidence& evidence) {
    const PortRange range = port_range(evidence.now.settings);
    std::set<std::uint16_t> ports;
    std::vector<Facts> rows;
    const ListenerFacts* first = nullptr;
    for (const ListenerFacts& listener : evidence.now.listeners) {
        if (listener.chosen_port && range.has(listener.lport) && ports.insert(listener.lport).second) {
            rows.push_back({{"lport", std::uint64_t{listener.lport}}, {"owner", listener.who}});
            first = first == nullptr ? &listener : first;
        }
    }
    if (first == nullptr) {
        return std::nullopt;
    }
    Finding finding;
    finding.severity = Severity::low;
    finding.title = counted(ports.size(), "listener") +
                    " on ports that connect() may choose: " + std::to_string(first->lport) + " of " +
                    words(first->who) + (ports.size() > 1 ? " and others" : "");
    finding.observed = {{"ip_local_port_range", std::to_string(range.low) + " " + std::to_string(range.high)},
                        {"listeners", rows}};
    finding.why =
        "While such a service restarts an outgoing connection can get its port; then its bind() fails with EADDRINUSE.";
    finding.command = sysctl_command(evidence, {{"net.ipv4.ip_local_reserved_ports", reserved_with(evidence, ports)}});
    finding.effect = "connect() never chooses these ports; a listener still may.";
    finding.will_not_help = {"SO_REUSEADDR: a live connection on the port stays in the way"};
    return finding;
}

constexpr std::array rules = {
    Rule{"ports_exhausted", ports_exhausted},
    Rule{"ports_near_exhaustion", ports_near_exhaustion},
    Rule{"listener_port_taken", listener_port_taken},
    Rule{"listener_port_time_wait", listener_port_time_wait},
    Rule{"listener_in_port_range", listener_in_port_range},
};

}  // namespace

std::span<const Rule> rules_ports() {
    return rules;
}

}  // namespace tcptrail::report
