// SPDX-License-Identifier: Apache-2.0
// Rules about the other end and the way there: refused, silent, dead, or forgotten by a box in between.
#include <algorithm>
#include <array>

#include "report/rule_words.h"
#include "report/rules.h"

namespace tcptrail::report {
namespace {

constexpr std::uint64_t refused_from = 5;
constexpr std::uint64_t timed_out_from = 3;
constexpr std::uint64_t failing_from = 20;  // and none succeeded: it fails now
constexpr std::uint64_t one_in = 10;
constexpr double given_up_s = 0.9;          // a connect that a program cancels after so long is a time-out of its own
constexpr std::uint64_t clients_from = 10;  // vanished clients are everyday; so many are worth a word
constexpr std::size_t most_rows = 5;
constexpr double nearly_full = 0.8;
constexpr double full = 0.95;

struct Middlebox {
    const char* name;
    std::uint64_t forgets_after_s;
};
/// What stands between machines and forgets a silent connection; the most impatient first.
constexpr std::array middleboxes = {
    Middlebox{"Azure load balancer", 240},
    Middlebox{"AWS network load balancer", 350},
    Middlebox{"Google Cloud firewall", 600},
    Middlebox{"Linux conntrack", 432'000},
};
constexpr std::uint64_t safe_keepalive_s = 200;

struct Failing {
    const EndedGroup* group;
    std::uint64_t failed;
    std::uint64_t succeeded;
};

/// Groups of active opens whose failures count, the most first.
template <typename Count>
std::vector<Failing> failing(const NetnsEvidence& evidence, std::uint64_t from, const Count& count) {
    std::vector<Failing> found;
    for (const EndedGroup& group : evidence.ended) {
        const std::uint64_t failed = group.role == Role::active ? count(group) : 0;
        const std::uint64_t succeeded = evidence.connected_to(group);
        if (failed >= from && failed * one_in >= failed + succeeded) {
            found.push_back({&group, failed, succeeded});
        }
    }
    std::stable_sort(found.begin(), found.end(),
                     [](const Failing& a, const Failing& b) { return a.failed > b.failed; });
    return found;
}

void tell_failing(const std::vector<Failing>& rows, Finding& finding) {
    std::uint64_t failed = 0;
    std::vector<Facts> destinations;
    bool now = false;
    for (const Failing& row : rows) {
        failed += row.failed;
        now = now || (row.succeeded == 0 && row.failed >= failing_from);
        if (destinations.size() < most_rows) {
            destinations.push_back({{"raddr", to_string(row.group->raddr, row.group->family)},
                                    {"rport", std::uint64_t{row.group->rport}},
                                    {"failed", row.failed},
                                    {"succeeded", row.succeeded},
                                    {"owner", row.group->who}});
        }
    }
    finding.severity = now ? Severity::high : Severity::medium;
    finding.observed = {{"failed", failed},
                        {"destinations_failing", static_cast<std::uint64_t>(rows.size())},
                        {"destinations", destinations}};
}

std::string and_others(std::size_t rows) {
    return rows > 1 ? ", and " + counted(rows - 1, "more destination") : "";
}

std::optional<Finding> connects_refused(const NetnsEvidence& evidence) {
    const auto rows =
        failing(evidence, refused_from, [](const EndedGroup& group) { return group.count(CloseReason::refused); });
    if (rows.empty()) {
        return std::nullopt;
    }
    const Failing& most = rows.front();
    Finding finding;
    tell_failing(rows, finding);
    finding.title = target(*most.group) + " refused " + counted(most.failed, "connect") + " of " +
                    words(most.group->who) + ", " + std::to_string(most.succeeded) + " succeeded" +
                    and_others(rows.size());
    finding.why =
        "The host is there and nothing listens on the port (ECONNREFUSED), or its accept queue is full with "
        "tcp_abort_on_overflow, or a firewall rejects.";
    finding.effect = "Nothing to type here: start or mend the service there, or correct the address in the program.";
    finding.will_not_help = {"tcp_syn_retries: a refusal ends the connect at once", "somaxconn on this machine"};
    return finding;
}

std::uint64_t unanswered(const EndedGroup& group) {
    const std::uint64_t own = group.mean_lifetime_s() >= given_up_s ? group.count(CloseReason::connect_cancelled) : 0;
    return group.count(CloseReason::connect_timeout) + group.count(CloseReason::unreachable) + own;
}

std::optional<Finding> connects_timed_out(const NetnsEvidence& evidence) {
    const auto rows = failing(evidence, timed_out_from, unanswered);
    if (rows.empty()) {
        return std::nullopt;
    }
    const Failing& most = rows.front();
    Finding finding;
    tell_failing(rows, finding);
    finding.title = target(*most.group) + " did not answer " + counted(most.failed, "connect") + " of " +
                    words(most.group->who) + ", " + std::to_string(most.succeeded) + " succeeded" +
                    and_others(rows.size());
    finding.observed.push_back(
        {"tcp_syn_retries", static_cast<std::uint64_t>(setting(evidence, "net.ipv4.tcp_syn_retries", 6))});
    finding.why =
        "Nothing came back: a firewall drops, the host or the route is gone, or its queues are full and it drops SYNs.";
    finding.effect =
        "Nothing to type here: look at route and firewall, and at the accept queue over there (tcptrail listen).";
    finding.will_not_help = {"more tcp_syn_retries: it waits longer for the same silence",
                             "ip_local_port_range: these connects had a port"};
    return finding;
}

std::uint64_t died(const EndedGroup& group) {
    return group.count(CloseReason::retransmit_timeout) + group.count(CloseReason::keepalive_timeout) +
           group.count(CloseReason::fin_wait1_timeout) + group.count(CloseReason::last_ack_timeout);
}

std::optional<Finding> dead_peers(const NetnsEvidence& evidence) {
    std::uint64_t servers = 0;
    std::uint64_t clients = 0;
    const EndedGroup* worst = nullptr;
    std::vector<Facts> rows;
    for (const EndedGroup& group : evidence.ended) {
        const std::uint64_t here = died(group);
        if (here == 0) {
            continue;
        }
        const bool client = group.role == Role::passive;
        (client ? clients : servers) += here;
        if (rows.size() < most_rows) {
            Facts row{{"owner", group.who}, {"died", here}};
            if (client) {
                row.push_back({"lport", std::uint64_t{group.lport}});
            } else {
                row.push_back({"raddr", to_string(group.raddr, group.family)});
                row.push_back({"rport", std::uint64_t{group.rport}});
            }
            rows.push_back(std::move(row));
        }
        if (worst == nullptr || here > died(*worst)) {
            worst = &group;
        }
    }
    if (worst == nullptr || (servers == 0 && clients < clients_from)) {
        return std::nullopt;
    }
    const std::int64_t retries = setting(evidence, "net.ipv4.tcp_retries2", 15);
    Finding finding;
    finding.severity = servers != 0 ? Severity::medium : Severity::low;
    finding.title =
        counted(servers + clients, "connection") + " ended because the peer no longer answered, most of " +
        words(worst->who) +
        (worst->role == Role::passive ? " at port " + std::to_string(worst->lport) : " to " + target(*worst));
    finding.observed = {{"opened_by_us", servers},
                        {"opened_by_peers", clients},
                        {"tcp_retries2", static_cast<std::uint64_t>(retries)},
                        {"by", rows}};
    finding.why =
        "Segments or keepalive probes went unanswered until the kernel gave up (ETIMEDOUT): the peer, or something "
        "between, is "
        "gone without a FIN or RST.";
    if (retries > 8 && servers != 0) {
        finding.command = sysctl_command(evidence, {{"net.ipv4.tcp_retries2", "8"}});
        finding.effect =
            "A dead peer is noticed after about 100 s instead of 15 minutes; outages shorter than that still do no "
            "harm. "
            "TCP_USER_TIMEOUT does the same for one program.";
    } else {
        finding.effect = "Nothing to type: find out what took the peers away; retransmissions only show it.";
    }
    finding.will_not_help = {"tcp_keepalive_time: data was under way, retransmission noticed first",
                             "tcp_fin_timeout: these did not die of closing"};
    return finding;
}

std::optional<Finding> keepalive_late(const NetnsEvidence& evidence) {
    const std::uint64_t impatient = middleboxes.front().forgets_after_s;
    std::uint64_t late = 0;
    std::uint64_t off = 0;
    const IdleConnection* longest = nullptr;
    for (const IdleConnection& idle : evidence.now.idle) {
        if (idle.keepalive_s && *idle.keepalive_s <= impatient) {
            continue;
        }
        ++late;
        off += idle.keepalive_s ? 0 : 1;
        if (longest == nullptr || idle.idle_s > longest->idle_s) {
            longest = &idle;
        }
    }
    if (longest == nullptr) {
        return std::nullopt;
    }
    std::vector<Facts> boxes;
    for (const Middlebox& box : middleboxes) {
        if (!longest->keepalive_s || *longest->keepalive_s > box.forgets_after_s) {
            boxes.push_back({{"forgets_after_s", box.forgets_after_s}, {"who", std::string(box.name)}});
        }
    }
    Finding finding;
    finding.severity = Severity::low;
    finding.title = counted(late, "silent connection") + " to other machines without a keepalive within " +
                    std::to_string(impatient) + " s: " + words(longest->who) + " to " +
                    to_string(longest->raddr, longest->family, longest->rport) + ", silent for " +
                    std::to_string(longest->idle_s) + " s";
    finding.observed = {
        {"connections", late},
        {"keepalive_off", off},
        {"longest_idle_s", longest->idle_s},
        {"owner", longest->who},
        {"tcp_keepalive_time", static_cast<std::uint64_t>(setting(evidence, "net.ipv4.tcp_keepalive_time", 7200))},
        {"middleboxes", boxes}};
    finding.why =
        "If a load balancer or NAT stands between, it forgets the connection, and the next request waits for "
        "time-outs. No harm "
        "where there is none.";
    if (late > off) {
        finding.command = sysctl_command(evidence, {{"net.ipv4.tcp_keepalive_time", std::to_string(safe_keepalive_s)}});
        finding.effect = "Sockets with SO_KEEPALIVE and no TCP_KEEPIDLE of their own probe after " +
                         std::to_string(safe_keepalive_s) +
                         " s of silence, also those that stand. Sockets without SO_KEEPALIVE do not notice.";
    } else {
        finding.effect = "Nothing to type: set SO_KEEPALIVE (and TCP_KEEPIDLE " + std::to_string(safe_keepalive_s) +
                         ") in the program, or its own ping.";
    }
    finding.will_not_help = {"tcp_retries2, tcp_fin_timeout: nothing is sent, nothing is closed"};
    if (late == off) {
        finding.will_not_help.emplace_back("tcp_keepalive_time: these sockets have not asked for keepalive");
    }
    return finding;
}

std::optional<Finding> conntrack_full(const NetnsEvidence& evidence) {
    const auto count = evidence.now.counter("conntrack.count");
    const auto limit = evidence.now.setting("net.netfilter.nf_conntrack_max");
    if (!count || !limit || *limit <= 0) {
        return std::nullopt;
    }
    const double share = static_cast<double>(*count) / static_cast<double>(*limit);
    const std::uint64_t dropped = evidence.grown("conntrack.drop") + evidence.grown("conntrack.early_drop");
    if (share < nearly_full && dropped == 0) {
        return std::nullopt;
    }
    Finding finding;
    finding.severity = dropped != 0 || share >= full ? Severity::high : Severity::medium;
    finding.title = "The connection tracker holds " + std::to_string(*count) + " of " + std::to_string(*limit) +
                    " entries" + (dropped != 0 ? " and dropped " + counted(dropped, "packet") : "");
    finding.observed = {
        {"nf_conntrack_count", static_cast<std::uint64_t>(*count)},
        {"nf_conntrack_max", static_cast<std::uint64_t>(*limit)},
        {"dropped", dropped},
        {"nf_conntrack_tcp_timeout_established",
         static_cast<std::uint64_t>(setting(evidence, "net.netfilter.nf_conntrack_tcp_timeout_established", 432'000))}};
    finding.why = "When it is full packets of new connections are dropped, whoever listens: connects time out.";
    // nf_conntrack_max is the host's alone: it can be set in the first namespace only.
    finding.command = "sysctl -w net.netfilter.nf_conntrack_max=" + std::to_string(2 * *limit);
    finding.effect =
        "Room for twice as many, at about 320 bytes each. It can be set in the host's namespace only and "
        "holds for all.";
    finding.will_not_help = {"somaxconn, tcp_max_syn_backlog: the packets never reach TCP",
                             "ip_local_port_range: ports are not what is short"};
    return finding;
}

/// What the other rules were not shown. Never in silence: one of them might have found something in it.
std::optional<Finding> not_all_counted(const NetnsEvidence& evidence) {
    if (evidence.left_out == 0) {
        return std::nullopt;
    }
    Finding finding;
    finding.severity = Severity::low;
    finding.title = "More than the doctor can count: " + counted(evidence.left_out, "event") + " in no finding";
    finding.observed = {{"left_out", evidence.left_out}};
    finding.why =
        "It counts for the first 10,000 destinations, the first 10,000 pairs of process and destination, and the "
        "ends of the first 1,000 listeners of a namespace. What came after them may be ill, too.";
    finding.effect = "Nothing to type: watch for a shorter time (-d; of a recording --from, --to).";
    finding.will_not_help = {"--netns: each namespace has room of its own"};
    return finding;
}

constexpr std::array rules = {
    Rule{"conntrack_full", conntrack_full},         Rule{"connects_refused", connects_refused},
    Rule{"connects_timed_out", connects_timed_out}, Rule{"dead_peers", dead_peers},
    Rule{"keepalive_late", keepalive_late},         Rule{"not_all_counted", not_all_counted},
};

}  // namespace

std::span<const Rule> rules_peers() {
    return rules;
}

}  // namespace tcptrail::report
