// SPDX-License-Identifier: Apache-2.0
#include "report/timewait_advice.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include <fmt/format.h>

namespace tcptrail::report {
namespace {

constexpr std::size_t most_pools = 3;
constexpr double worth_a_pool_per_s = 1;
constexpr std::uint64_t worth_a_pool = 20;  // connections seen
constexpr double far_more = 1.5;            // times as many opens: the two rates are of different windows

std::string local_and_remote(const PortRow& row) {
    return to_string(row.laddr, row.family) + " to " + to_string(row.raddr, row.family, row.rport);
}

/// Ports are, or will be, short.
bool is_short(const PortRow& row) {
    return row.failed_connects != 0 || row.exhausted_in_s || (row.available && row.used() * 2 >= *row.available);
}

std::string process_of(const Who& who) {
    return who.process ? fmt::format("{} (pid {})", who.process->comm, who.process->pid)
                       : "a process that is not known";
}

void more_ports(std::vector<Advice>& advice, const PortRow& row, const PortSettings& settings) {
    if (!row.available || !settings.range()) {
        return;
    }
    constexpr std::uint32_t widest = 65535 - 1024 + 1;
    std::string text = fmt::format(
        "{} has {} ports, {} of them are taken. Each further local or remote address, and each further "
        "remote port, has as many again.",
        local_and_remote(row), *row.available, row.used());
    if (*settings.range() < widest) {
        text += fmt::format(
            " net.ipv4.ip_local_port_range=\"1024 65535\" makes the range {} ports instead of {}"
            " (keep ports of listeners out of it: ip_local_reserved_ports).",
            widest, *settings.range());
    }
    advice.push_back({"more_ports",
                      std::move(text),
                      {{"available", *row.available},
                       {"used", static_cast<double>(row.used())},
                       {"range", *settings.range()},
                       {"failed_connects", static_cast<double>(row.failed_connects)}}});
}

void tw_reuse(std::vector<Advice>& advice, const TimeWaitSummary& summary, const PortUse& ports) {
    std::uint64_t freed = 0;
    std::uint64_t without_timestamps = 0;
    std::optional<int> setting;
    for (const PortRow& row : summary.ports) {
        const PortSettings* settings = ports.settings(row.netns);
        if (settings == nullptr || row.reuses || row.reusable == 0 || !is_short(row)) {
            continue;
        }
        setting = settings->tw_reuse;
        (settings->timestamps.value_or(0) != 0 ? freed : without_timestamps) += row.reusable;
    }
    if (freed != 0) {
        advice.push_back({"tcp_tw_reuse",
                          fmt::format("net.ipv4.tcp_tw_reuse=1 (now {}) would let connect() take over {} of the ports "
                                      "that are short at once, and each later one after a second. It is for "
                                      "connect() alone, and needs TCP timestamps at both ends.",
                                      setting ? std::to_string(*setting) : "not known", freed),
                          {{"ports_freed", static_cast<double>(freed)}, {"tcp_tw_reuse", setting.value_or(-1)}}});
    } else if (without_timestamps != 0) {
        advice.push_back(
            {"tcp_tw_reuse",
             fmt::format("net.ipv4.tcp_timestamps=1 with net.ipv4.tcp_tw_reuse=1 would let connect() take over ports "
                         "after a second. Timestamps are off, so none of the {} can be reused now.",
                         without_timestamps),
             {{"ports_freed", 0}, {"tcp_timestamps", 0}}});
    }
}

/// By all processes from all local addresses, of the last ten seconds.
double opens_per_s(const TimeWaitSummary& summary, const TimeWaitDestination& to) {
    double sum = 0;
    for (const PortRow& row : summary.ports) {
        if (row.family == to.family && row.raddr == to.raddr && row.rport == to.rport) {
            sum += row.rate_per_s.value_or(0);
        }
    }
    return sum;
}

/// By Little's law: so many connections are there at once on the mean, so so many kept open would carry the load.
void pools(std::vector<Advice>& advice, const TimeWaitSummary& summary) {
    struct Candidate {
        const TimeWaitOrigin* origin;
        const TimeWaitDestination* to;
        double rate;
    };
    std::vector<Candidate> candidates;
    for (const TimeWaitOrigin& origin : summary.origins) {
        if (origin.role != Role::active || !origin.owner.process) {
            continue;
        }
        for (const TimeWaitDestination& to : origin.destinations) {
            const double rate = summary.window_ns != 0
                                    ? static_cast<double>(to.created) * 1e9 / static_cast<double>(summary.window_ns)
                                    : 0;
            if (to.raddr && to.lifetime_s && to.created >= worth_a_pool && rate >= worth_a_pool_per_s) {
                candidates.push_back({&origin, &to, rate});
            }
        }
    }
    std::stable_sort(candidates.begin(), candidates.end(),
                     [](const Candidate& a, const Candidate& b) { return a.rate > b.rate; });
    if (candidates.size() > most_pools) {
        candidates.resize(most_pools);
    }
    for (const auto& [origin, to, rate] : candidates) {
        const double at_once = rate * *to->lifetime_s;
        const double pool = std::max(1.0, std::ceil(at_once));
        Advice about{
            "reuse_connections",
            fmt::format("{} leaves {:.1f} TIME_WAIT/s of connections to {} that live for {:.1f} ms: {} kept open and "
                        "used again would serve them (rate x lifetime = {:.2f}) and leave none.",
                        process_of(origin->owner), rate, to_string(*to->raddr, to->family, to->rport.value_or(0)),
                        *to->lifetime_s * 1e3, pool == 1 ? "one connection" : fmt::format("{:.0f} connections", pool),
                        at_once),
            {{"pid", origin->owner.process->pid},
             {"rate_per_s", rate},
             {"lifetime_s", *to->lifetime_s},
             {"pool", pool}}};
        const double opens = opens_per_s(summary, *to);
        if (opens > rate * far_more) {
            about.text +=
                fmt::format(" All opens there are {:.1f}/s; the others left no TIME_WAIT of this process.", opens);
            about.observed.emplace_back("opens_per_s", opens);
        }
        advice.push_back(std::move(about));
    }
}

}  // namespace

std::vector<Advice> timewait_advice(const TimeWaitSummary& summary, const PortUse& ports) {
    std::vector<Advice> advice;
    std::uint64_t active = 0;
    std::uint64_t passive = 0;
    for (const TimeWaitOrigin& origin : summary.origins) {
        if (origin.role == Role::active) {
            active += origin.now;
        } else if (origin.role == Role::passive) {
            passive += origin.now;
        }
    }
    const auto worst = std::find_if(summary.ports.begin(), summary.ports.end(), is_short);
    const bool short_of_ports = worst != summary.ports.end();
    const PortSettings* settings = short_of_ports ? ports.settings(worst->netns) : nullptr;

    pools(advice, summary);
    const bool pooled = !advice.empty();
    tw_reuse(advice, summary, ports);
    if (settings != nullptr) {
        more_ports(advice, *worst, *settings);
    }
    if (active != 0 && (pooled || short_of_ports)) {
        advice.push_back({"let_peer_close",
                          fmt::format("TIME_WAIT stands where the first FIN came from. The connecting side closed "
                                      "first for {}; where the other side closes first it stands there and costs no "
                                      "port here.",
                                      active),
                          {{"active_now", static_cast<double>(active)}}});
    }
    if (summary.overflow.value_or(0) != 0) {
        advice.push_back({"tcp_max_tw_buckets",
                          fmt::format("{} connections ended without TIME_WAIT, as net.ipv4.tcp_max_tw_buckets was "
                                      "reached: their peers may see a reset in LAST_ACK. Raise it; one costs about "
                                      "250 bytes.",
                                      *summary.overflow),
                          {{"overflow", static_cast<double>(*summary.overflow)}}});
    }
    if (passive != 0) {
        advice.push_back(
            {"server_side_is_harmless",
             fmt::format("{} stand on the listening side. They cost a little memory and no port, and a new "
                         "connection from the same client port takes one over at once.",
                         passive),
             {{"passive_now", static_cast<double>(passive)}}});
    }
    if (active != 0 && (pooled || short_of_ports)) {
        advice.push_back({"tcp_fin_timeout_will_not_help",
                          "net.ipv4.tcp_fin_timeout does not shorten TIME_WAIT, which is 60 s in every kernel; it is "
                          "about FIN_WAIT2.",
                          {}});
    }
    return advice;
}

}  // namespace tcptrail::report
