// SPDX-License-Identifier: Apache-2.0
// Rules about listeners: queues that overflow, and floods.
#include <algorithm>
#include <array>
#include <bit>

#include "report/port_forecast.h"
#include "report/rule_words.h"
#include "report/rules.h"

namespace tcptrail::report {
namespace {

constexpr std::uint64_t flood_from = 200;  // handshakes left open
constexpr double flood_per_s = 20;
constexpr std::uint64_t flood_ratio = 4;  // left open for each one completed
constexpr std::size_t most_sources = 5;

constexpr const char* not_netdev = "netdev_max_backlog: that queue is for packets, long before TCP";

std::string place(const ListenerFacts& listener) {
    return to_string(listener.laddr, listener.family, listener.lport);
}

/// By how much sk_drops grew: it counts some packets twice (once as listen drop, once as packet), so it says who dropped
/// most and not how many.
std::uint64_t dropped_by(const NetnsEvidence& evidence, const ListenerFacts& listener) {
    if (!evidence.before) {
        return 0;
    }
    for (const ListenerFacts& then : evidence.before->listeners) {
        if (then.cookie == listener.cookie) {
            return listener.drops - then.drops;
        }
    }
    return listener.drops;  // made in the window
}

const ListenerFacts* most_dropping(const NetnsEvidence& evidence) {
    const ListenerFacts* most = nullptr;
    for (const ListenerFacts& listener : evidence.now.listeners) {
        if (dropped_by(evidence, listener) > (most != nullptr ? dropped_by(evidence, *most) : 0)) {
            most = &listener;
        }
    }
    return most;
}

std::uint64_t somaxconn(const NetnsEvidence& evidence) {
    return static_cast<std::uint64_t>(setting(evidence, "net.core.somaxconn", 4096));
}

/// Who cut the backlog to what it is: the sysctl, or the program asked for no more.
bool cut_by_somaxconn(const NetnsEvidence& evidence, const ListenerFacts& listener) {
    return listener.accept_limit >= somaxconn(evidence);
}

/// What makes a listener's queues longer.
void lengthen(const NetnsEvidence& evidence, const ListenerFacts& listener, Finding& finding) {
    if (cut_by_somaxconn(evidence, listener)) {
        const std::uint64_t better = std::max<std::uint64_t>(4096, std::bit_ceil(2 * somaxconn(evidence)));
        finding.command = sysctl_command(evidence, {{"net.core.somaxconn", std::to_string(better)}});
        finding.effect = "listen() may ask for up to " + std::to_string(better) + ". Restart " + words(listener.who) +
                         " afterwards, with as large a backlog: the limit is read when it calls listen().";
    } else {
        finding.effect = "Nothing to type: give " + words(listener.who) +
                         " a larger backlog in listen() (it asked for " + std::to_string(listener.accept_limit) +
                         ", somaxconn allows " + std::to_string(somaxconn(evidence)) +
                         ") and restart it; or let it accept faster, if the queue never empties.";
    }
}

struct Handshakes {
    std::uint64_t cookies_sent = 0;
    std::uint64_t cookies_back = 0;
    std::uint64_t dropped = 0;  // for want of room in the SYN queue, where cookies are off
    std::uint64_t half_open = 0;
    std::uint64_t completed = 0;

    std::uint64_t left_open() const {
        return (cookies_sent > cookies_back ? cookies_sent - cookies_back : 0) + dropped + half_open;
    }
};

Handshakes handshakes(const NetnsEvidence& evidence) {
    Handshakes sum;
    sum.cookies_sent = evidence.grown("TcpExt.SyncookiesSent");
    sum.cookies_back = evidence.grown("TcpExt.SyncookiesRecv");
    sum.dropped = evidence.grown("TcpExt.TCPReqQFullDrop");
    for (const auto& [port, count] : evidence.now.half_open) {
        sum.half_open += count;
    }
    for (const auto& [port, count] : evidence.accepted) {
        sum.completed += count;
    }
    return sum;
}

bool is_flood(const NetnsEvidence& evidence, const Handshakes& sum) {
    const std::uint64_t open = sum.left_open();
    // Where the accept queue is full, handshakes are left open by us.
    const std::uint64_t ours = evidence.grown("TcpExt.ListenOverflows");
    return open >= flood_from && evidence.per_s(open) >= flood_per_s && open >= flood_ratio * sum.completed &&
           ours * 2 < open;
}

const ListenerFacts* most_half_open(const NetnsEvidence& evidence) {
    const ListenerFacts* most = nullptr;
    for (const ListenerFacts& listener : evidence.now.listeners) {
        if (most == nullptr || listener.half_open > most->half_open) {
            most = &listener;
        }
    }
    return most;
}

std::vector<Facts> sources(const NetnsEvidence& evidence) {
    std::vector<std::pair<Address, std::uint64_t>> sorted(evidence.now.half_open_sources.begin(),
                                                          evidence.now.half_open_sources.end());
    std::stable_sort(sorted.begin(), sorted.end(), [](const auto& a, const auto& b) { return a.second > b.second; });
    std::vector<Facts> rows;
    for (const auto& [address, count] : sorted) {
        if (rows.size() < most_sources) {
            rows.push_back({{"raddr", to_string(address, evidence.now.half_open_family)}, {"half_open", count}});
        }
    }
    return rows;
}

std::optional<Finding> accept_queue_overflow(const NetnsEvidence& evidence) {
    const std::uint64_t overflows = evidence.grown("TcpExt.ListenOverflows");
    if (overflows == 0) {
        return std::nullopt;
    }
    const ListenerFacts* listener = most_dropping(evidence);
    Finding finding;
    const bool full = listener != nullptr && listener->accept_queue > listener->accept_limit;
    finding.severity = full || evidence.per_s(overflows) >= 1 ? Severity::high : Severity::medium;
    finding.observed = {{"overflows", overflows},
                        {"drops", evidence.grown("TcpExt.ListenDrops")},
                        {"somaxconn", somaxconn(evidence)},
                        {"tcp_abort_on_overflow", setting(evidence, "net.ipv4.tcp_abort_on_overflow", 0) != 0}};
    finding.why =
        setting(evidence, "net.ipv4.tcp_abort_on_overflow", 0) != 0
            ? "The process does not accept as fast as connections come; with tcp_abort_on_overflow clients get a RST."
            : "The process does not accept as fast as connections come; the kernel drops SYNs and clients wait 1 s, 3 "
              "s, 7 s … to try again.";
    if (listener == nullptr) {
        finding.title = "An accept queue overflowed " + counted(overflows, "time") + "; its listener is gone";
        finding.effect = "Nothing to type: a larger backlog in its listen(), or a faster accept().";
    } else {
        finding.title = "The accept queue of " + words(listener->who) + " at " + place(*listener) +
                        " overflows: " + std::to_string(listener->accept_queue) + " waiting, limit " +
                        std::to_string(listener->accept_limit) + ", " + counted(overflows, "connection") +
                        " turned away";
        const bool cut = cut_by_somaxconn(evidence, *listener);
        finding.observed.insert(finding.observed.begin(), {{"owner", listener->who},
                                                           {"laddr", to_string(listener->laddr, listener->family)},
                                                           {"lport", std::uint64_t{listener->lport}},
                                                           {"accept_queue", std::uint64_t{listener->accept_queue}},
                                                           {"limit", std::uint64_t{listener->accept_limit}},
                                                           {"limit_by", std::string(cut ? "somaxconn" : "listen")}});
        lengthen(evidence, *listener, finding);
        if (!cut) {
            finding.will_not_help.emplace_back("somaxconn: it allows more than listen() asked for");
        }
    }
    finding.will_not_help.emplace_back("tcp_max_syn_backlog: these handshakes were done, they wait for accept()");
    finding.will_not_help.emplace_back(not_netdev);
    return finding;
}

std::optional<Finding> syn_flood(const NetnsEvidence& evidence) {
    const Handshakes sum = handshakes(evidence);
    const ListenerFacts* listener = most_half_open(evidence);
    if (listener == nullptr || !is_flood(evidence, sum)) {
        return std::nullopt;
    }
    const std::int64_t cookies = setting(evidence, "net.ipv4.tcp_syncookies", 1);
    Finding finding;
    finding.severity = Severity::high;
    finding.title = "SYN flood on " + place(*listener) + " (" + words(listener->who) +
                    "): " + counted(sum.left_open(), "handshake") + " begun and not completed, " +
                    std::to_string(sum.completed) + " completed";
    finding.observed = {{"owner", listener->who},
                        {"laddr", to_string(listener->laddr, listener->family)},
                        {"lport", std::uint64_t{listener->lport}},
                        {"half_open", sum.half_open},
                        {"left_open_per_s", rounded(evidence.per_s(sum.left_open()))},
                        {"completed", sum.completed},
                        {"syn_cookies_sent", sum.cookies_sent},
                        {"syn_cookies_returned", sum.cookies_back},
                        {"dropped", sum.dropped},
                        {"tcp_syncookies", static_cast<std::uint64_t>(cookies)},
                        {"sources", sources(evidence)}};
    if (cookies == 0) {
        finding.why = "The queue of half-open connections is full of these, so SYNs of real clients are dropped.";
        finding.command = sysctl_command(evidence, {{"net.ipv4.tcp_syncookies", "1"}});
        finding.effect = "With a full queue the kernel answers without remembering: real clients get through.";
    } else {
        finding.why =
            "SYN cookies keep real clients coming in, without window scaling and SACK where the client sends no "
            "timestamps; "
            "the rest costs CPU and the answers cost bandwidth.";
        finding.effect =
            "Nothing to type here: the cookies hold. Drop the sources upstream or in nftables; they may be forged.";
    }
    finding.will_not_help = {"tcp_max_syn_backlog, somaxconn: a longer queue is full a moment later",
                             "tcp_synack_retries: the flood does not wait for them"};
    return finding;
}

std::optional<Finding> syn_cookies_in_use(const NetnsEvidence& evidence) {
    const Handshakes sum = handshakes(evidence);
    if (sum.cookies_sent == 0 || is_flood(evidence, sum) ||
        setting(evidence, "net.ipv4.tcp_syncookies", 1) == 2) {  // 2: always, by choice
        return std::nullopt;
    }
    const ListenerFacts* listener = most_half_open(evidence);
    Finding finding;
    finding.severity = Severity::medium;
    finding.title =
        "The SYN queue was full " + counted(sum.cookies_sent, "time") + ": the kernel fell back on SYN cookies";
    finding.observed = {
        {"syn_cookies_sent", sum.cookies_sent},
        {"syn_cookies_returned", sum.cookies_back},
        {"completed", sum.completed},
        {"half_open", sum.half_open},
        {"tcp_max_syn_backlog", static_cast<std::uint64_t>(setting(evidence, "net.ipv4.tcp_max_syn_backlog", 0))}};
    finding.why =
        "More handshakes are under way than the listener's backlog holds. Clients get in; those that send no "
        "timestamps lose "
        "window scaling and SACK.";
    if (listener != nullptr) {
        finding.observed.insert(finding.observed.begin(), {{"owner", listener->who},
                                                           {"laddr", to_string(listener->laddr, listener->family)},
                                                           {"lport", std::uint64_t{listener->lport}},
                                                           {"limit", std::uint64_t{listener->accept_limit}}});
        lengthen(evidence, *listener, finding);
    } else {
        finding.effect = "Nothing to type: a larger backlog in listen().";
    }
    finding.will_not_help = {"tcp_max_syn_backlog: with cookies on, the listener's backlog is what bites",
                             "tcp_syncookies=0: then these SYNs are dropped"};
    return finding;
}

std::optional<Finding> syncookies_off(const NetnsEvidence& evidence) {
    if (setting(evidence, "net.ipv4.tcp_syncookies", 1) != 0) {
        return std::nullopt;
    }
    const Handshakes sum = handshakes(evidence);
    const auto open_to_others =
        std::find_if(evidence.now.listeners.begin(), evidence.now.listeners.end(),
                     [](const ListenerFacts& listener) { return !is_loopback(listener.laddr, listener.family); });
    if ((open_to_others == evidence.now.listeners.end() && sum.dropped == 0) || is_flood(evidence, sum)) {
        return std::nullopt;
    }
    Finding finding;
    finding.severity = sum.dropped != 0 ? Severity::high : Severity::low;
    finding.title = sum.dropped != 0
                        ? "tcp_syncookies is off and the SYN queue is full: " + counted(sum.dropped, "SYN") + " dropped"
                        : "tcp_syncookies is off: a full SYN queue shuts clients out";
    finding.observed = {{"tcp_syncookies", std::uint64_t{0}},
                        {"dropped", sum.dropped},
                        {"half_open", sum.half_open},
                        {"listeners", static_cast<std::uint64_t>(evidence.now.listeners.size())}};
    if (open_to_others != evidence.now.listeners.end()) {
        finding.observed.push_back({"example", place(*open_to_others)});
    }
    finding.why = "A few hundred forged SYNs a minute fill a listener's queue, and then nobody gets in.";
    finding.command = sysctl_command(evidence, {{"net.ipv4.tcp_syncookies", "1"}});
    finding.effect = "Nothing changes until a queue is full; then the kernel answers with cookies and does not drop.";
    finding.will_not_help = {"tcp_max_syn_backlog: it only moves the moment"};
    return finding;
}

constexpr std::array rules = {
    Rule{"syn_flood", syn_flood},
    Rule{"accept_queue_overflow", accept_queue_overflow},
    Rule{"syn_cookies_in_use", syn_cookies_in_use},
    Rule{"syncookies_off", syncookies_off},
};

}  // namespace

std::span<const Rule> rules_listen() {
    return rules;
}

}  // namespace tcptrail::report
