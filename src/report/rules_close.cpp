// SPDX-License-Identifier: Apache-2.0
// Rules about how this machine's own processes close: not at all, too often, or by reset.
#include <algorithm>
#include <array>
#include <cmath>

#include "report/rule_words.h"
#include "report/rules.h"

namespace tcptrail::report {
namespace {

constexpr std::uint64_t stuck_from = 10;  // sockets in CLOSE_WAIT all through the window, or as long as this:
constexpr std::uint32_t stuck_ms = 5000;
constexpr std::uint64_t stuck_much = 1000;
constexpr std::uint64_t orphans_from = 1000;     // dead FIN_WAIT2
constexpr std::uint64_t short_lived_from = 100;  // connections in the window
constexpr double short_lived_per_s = 20;
constexpr double short_lived_s = 1;  // mean lifetime
constexpr std::uint64_t resets_from = 10;
constexpr std::uint64_t one_in = 10;  // part of a group that counts

constexpr const char* not_tw_reuse = "tcp_tw_reuse: it saves ports, not handshakes";

struct Stuck {
    Who who;
    std::uint64_t now = 0;
    std::uint64_t before = 0;
    std::uint64_t stood = 0;
    std::uint64_t unread = 0;  // of these: with data that the process never read
};

std::optional<Finding> close_wait_leak(const NetnsEvidence& evidence) {
    if (!evidence.before) {
        return std::nullopt;
    }
    std::map<WhoKey, Stuck> by_process;
    const auto row = [&](const StuckSocket& socket) -> Stuck& {
        return by_process[key_of(socket.who.process ? &*socket.who.process : nullptr)];
    };
    for (const auto& [cookie, socket] : evidence.before->close_wait) {
        ++row(socket).before;
    }
    for (const auto& [cookie, socket] : evidence.now.close_wait) {
        Stuck& stuck = row(socket);
        stuck.who = socket.who;
        ++stuck.now;
        const bool stood = evidence.before->close_wait.contains(cookie) || socket.quiet_ms >= stuck_ms;
        stuck.stood += stood ? 1 : 0;
        stuck.unread += stood && socket.unread > 1 ? 1 : 0;  // the FIN counts one
    }
    const Stuck* worst = nullptr;
    for (const auto& [key, stuck] : by_process) {
        if (stuck.stood >= stuck_from && stuck.now >= stuck.before && (worst == nullptr || stuck.now > worst->now)) {
            worst = &stuck;
        }
    }
    if (worst == nullptr) {
        return std::nullopt;
    }
    Finding finding;
    const bool grows = worst->now > worst->before;
    finding.severity = grows || worst->now >= stuck_much ? Severity::medium : Severity::low;
    finding.title = words(worst->who) + " does not close: " + counted(worst->now, "socket") + " in CLOSE_WAIT" +
                    (grows ? ", and more each second" : "");
    finding.observed = {
        {"owner", worst->who},
        {"now", worst->now},
        {"stood", worst->stood},
        {"growth_per_s", rounded((static_cast<double>(worst->now) - static_cast<double>(worst->before)) /
                                 std::max(evidence.window_s(), 1e-3))},
        {"with_unread_data", worst->unread}};
    finding.why =
        "The peers have closed and the process has not called close(): a leak of descriptors that ends in EMFILE. No "
        "timer of "
        "the kernel ends CLOSE_WAIT.";
    finding.effect =
        "Nothing to type: the program must close() after it reads end of file. tcptrail closewait names the "
        "descriptors; "
        "a restart frees them.";
    finding.will_not_help = {"tcp_fin_timeout, tcp_keepalive_time: they do not touch CLOSE_WAIT",
                             "a higher limit of open files: it only takes longer"};
    return finding;
}

std::optional<Finding> fin_wait2_orphans(const NetnsEvidence& evidence) {
    const std::uint64_t orphans = evidence.now.dead_fin_wait2;
    if (orphans < orphans_from) {
        return std::nullopt;
    }
    const std::int64_t timeout = setting(evidence, "net.ipv4.tcp_fin_timeout", 60);
    Finding finding;
    finding.severity = Severity::low;
    finding.title = counted(orphans, "closed connection") + " in FIN_WAIT2: their peers do not close";
    finding.observed = {
        {"fin_wait2", orphans},
        {"orphans", static_cast<std::uint64_t>(evidence.now.counter("sockstat.TCP.orphan").value_or(0))},
        {"tcp_fin_timeout", static_cast<std::uint64_t>(timeout)},
        {"tcp_max_orphans", static_cast<std::uint64_t>(setting(evidence, "net.ipv4.tcp_max_orphans", 0))}};
    finding.why =
        "We have closed and the other side has not: its process leaks (CLOSE_WAIT there) or its FIN was lost. Each "
        "waits "
        "tcp_fin_timeout seconds, then goes.";
    if (timeout > 15) {
        finding.command = sysctl_command(evidence, {{"net.ipv4.tcp_fin_timeout", "15"}});
        finding.effect = "They go after 15 s instead of " + std::to_string(timeout) +
                         " s. Slow but honest peers get a RST when they close later.";
    } else {
        finding.effect = "Nothing to type: they go after " + std::to_string(timeout) + " s. Mend the peers.";
    }
    finding.will_not_help = {"tcp_max_orphans: it kills connections that still have data to send",
                             "tcp_tw_reuse: a FIN_WAIT2 cannot be reused"};
    return finding;
}

std::optional<Finding> connections_not_reused(const NetnsEvidence& evidence) {
    const EndedGroup* worst = nullptr;
    for (const EndedGroup& group : evidence.ended) {
        const std::uint64_t used = group.count(CloseReason::local_fin) + group.count(CloseReason::remote_fin) +
                                   group.count(CloseReason::simultaneous_fin) + group.count(CloseReason::linger_rst) +
                                   group.count(CloseReason::rst_received);
        if (group.role == Role::active && used >= short_lived_from && evidence.per_s(used) >= short_lived_per_s &&
            group.mean_lifetime_s() <= short_lived_s && (worst == nullptr || group.ended > worst->ended)) {
            worst = &group;
        }
    }
    if (worst == nullptr) {
        return std::nullopt;
    }
    const double rate = evidence.per_s(worst->ended);
    const double busy = rate * worst->mean_lifetime_s();  // Little's law: how many are open at once
    const auto pool = static_cast<std::uint64_t>(std::max(1.0, std::ceil(busy)));
    Finding finding;
    finding.severity = Severity::low;
    finding.title = words(worst->who) + " opens " + std::to_string(std::llround(rate)) + " connections a second to " +
                    target(*worst) + " and keeps none: a pool of " + std::to_string(pool) + " would do";
    finding.observed = {{"owner", worst->who},
                        {"raddr", to_string(worst->raddr, worst->family)},
                        {"rport", std::uint64_t{worst->rport}},
                        {"ended", worst->ended},
                        {"rate_per_s", rounded(rate)},
                        {"mean_lifetime_us", static_cast<std::uint64_t>(worst->mean_lifetime_s() * 1e6)},
                        {"time_wait", worst->time_wait},
                        {"open_at_once", rounded(busy)},
                        {"pool", pool}};
    finding.why =
        "Each costs a handshake (and TLS), a slow start, a local port and, for whoever closes first, a TIME_WAIT of 60 "
        "s. Rate "
        "times lifetime is how many are open at once.";
    finding.effect = "Nothing to type: keep-alive or a connection pool of about " + std::to_string(pool) +
                     " in the program; leave room for bursts.";
    finding.will_not_help = {not_tw_reuse, "tcp_fin_timeout: TIME_WAIT lasts 60 s whatever it says"};
    return finding;
}

std::optional<Finding> linger_resets(const NetnsEvidence& evidence) {
    const EndedGroup* worst = nullptr;
    for (const EndedGroup& group : evidence.ended) {
        const std::uint64_t resets = group.count(CloseReason::linger_rst);
        if (resets >= resets_from && resets * one_in >= group.ended &&
            (worst == nullptr || resets > worst->count(CloseReason::linger_rst))) {
            worst = &group;
        }
    }
    if (worst == nullptr) {
        return std::nullopt;
    }
    const std::uint64_t resets = worst->count(CloseReason::linger_rst);
    const std::string where =
        worst->role == Role::passive ? "at its port " + std::to_string(worst->lport) : "towards " + target(*worst);
    Finding finding;
    finding.severity = Severity::low;
    finding.title = words(worst->who) + " resets " + counted(resets, "connection") + " " + where + " by SO_LINGER 0";
    finding.observed = {{"owner", worst->who}, {"linger_rst", resets}, {"ended", worst->ended}};
    if (worst->role == Role::passive) {
        finding.observed.push_back({"lport", std::uint64_t{worst->lport}});
    } else {
        finding.observed.push_back({"raddr", to_string(worst->raddr, worst->family)});
        finding.observed.push_back({"rport", std::uint64_t{worst->rport}});
    }
    finding.why =
        "close() with SO_LINGER 0 sends a RST: data that the peer has not got yet is thrown away, and it reads "
        "ECONNRESET. It "
        "saves a TIME_WAIT, which costs next to nothing.";
    finding.effect = "Nothing to type: drop SO_LINGER in the program, or shutdown() and read to the end first.";
    finding.will_not_help = {"tcp_rfc1337, tcp_fin_timeout: a RST leaves nothing behind that they could change"};
    return finding;
}

constexpr std::array rules = {
    Rule{"close_wait_leak", close_wait_leak},
    Rule{"connections_not_reused", connections_not_reused},
    Rule{"linger_resets", linger_resets},
    Rule{"fin_wait2_orphans", fin_wait2_orphans},
};

}  // namespace

std::span<const Rule> rules_close() {
    return rules;
}

}  // namespace tcptrail::report
