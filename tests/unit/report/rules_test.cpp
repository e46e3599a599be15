// SPDX-License-Identifier: Apache-2.0
// The doctor's rules on literal facts: each with a case, and one that is a step short of it.
#include <gtest/gtest.h>

#include <functional>
#include <set>
#include <string>

#include "report/rule_words.h"
#include "report/rules.h"

namespace tcptrail::report {
namespace {

constexpr Address loopback{127, 0, 0, 1};
constexpr Address far_away{10, 0, 0, 9};
constexpr Address here{10, 0, 0, 1};
constexpr std::uint64_t window_ns = 10'000'000'000;

Who app() {
    Process process;
    process.pid = 100;
    process.comm = "app";
    process.start_ns = 1;
    return {process, Evidence::connect};
}

/// A healthy namespace, ten seconds of it, in which tcptrail itself stands.
NetnsEvidence healthy() {
    NetnsEvidence evidence;
    evidence.netns = 4026531840;
    evidence.window_ns = window_ns;
    evidence.now.complete = true;
    evidence.now.settings = {{"netns.path", "/proc/self/ns/net"},
                             {"net.core.somaxconn", "4096"},
                             {"net.ipv4.ip_local_port_range", "32768 60999"},
                             {"net.ipv4.ip_local_reserved_ports", ""},
                             {"net.ipv4.tcp_fin_timeout", "60"},
                             {"net.ipv4.tcp_max_tw_buckets", "131072"},
                             {"net.ipv4.tcp_syncookies", "1"},
                             {"net.ipv4.tcp_timestamps", "1"},
                             {"net.ipv4.tcp_tw_reuse", "2"},
                             {"net.ipv4.tcp_keepalive_time", "7200"},
                             {"net.ipv4.tcp_retries2", "15"}};
    evidence.before = evidence.now;
    return evidence;
}

void set(NetnsEvidence& evidence, const std::string& name, const std::string& value) {
    evidence.now.settings[name] = value;
}

/// A counter that grew by `by` in the window.
void grow(NetnsEvidence& evidence, const std::string& name, std::int64_t by) {
    evidence.before->counters[name] = 1000;
    evidence.now.counters[name] = 1000 + by;
}

/// Ports towards 10.0.0.9:80: `before` were in use when the window began, all in TIME_WAIT.
void ports_taken(NetnsEvidence& evidence, std::uint64_t before, std::uint64_t now, const Address& to = far_away) {
    const Destination destination{Family::ipv4, here, to, 80};
    PortsTowards use;
    use.time_wait = before;
    evidence.before->destinations[destination] = use;
    use.time_wait = now;
    use.holders[key_of(nullptr)] = {app(), now};
    evidence.now.destinations[destination] = use;
    evidence.now.time_wait_active = now;
}

/// Connections of app to 10.0.0.9:80 that ended in the window.
EndedGroup& ended(NetnsEvidence& evidence, std::uint64_t count, CloseReason reason, Role role = Role::active) {
    EndedGroup group;
    group.who = app();
    group.role = role;
    group.raddr = role == Role::active ? far_away : Address{};
    group.rport = role == Role::active ? 80 : 0;
    group.lport = role == Role::active ? 0 : 443;
    group.ended = count;
    group.reasons[reason] = count;
    evidence.ended.push_back(group);
    return evidence.ended.back();
}

void live_for(EndedGroup& group, std::uint64_t ns) {
    group.lifetimes_ns.add(ns);
    group.lifetimes_sum_ns += ns;
}

void connected(NetnsEvidence& evidence, std::uint64_t count) {
    evidence.connected[{Family::ipv4, far_away, 80}] = count;
}

ListenerFacts& listener(NetnsEvidence& evidence, std::uint16_t port, std::uint32_t limit = 128,
                        const Address& at = here) {
    ListenerFacts facts;
    facts.cookie = port;
    facts.laddr = at;
    facts.lport = port;
    facts.who = app();
    facts.accept_limit = limit;
    facts.chosen_port = true;
    evidence.now.listeners.push_back(facts);
    return evidence.now.listeners.back();
}

/// "high ports_exhausted", …
std::vector<std::string> found(const NetnsEvidence& evidence) {
    std::vector<std::string> lines;
    for (const Finding& finding : diagnose({evidence})) {
        lines.push_back(std::string(name(finding.severity)) + " " + std::string(finding.id));
    }
    return lines;
}

using Change = std::function<void(NetnsEvidence&)>;
struct Case {
    const char* says;  // what `ill` gives
    Change ill;
    Change well;  // gives nothing
};

const std::vector<Case>& cases() {
    using E = NetnsEvidence;
    static const std::vector<Case> all = {
        {"high ports_exhausted", [](E& e) { ended(e, 1, CloseReason::no_local_port); },
         [](E& e) { ended(e, 1, CloseReason::local_fin); }},
        {"high ports_near_exhaustion",  // 1000 a second need 60,000 ports
         [](E& e) {
             ports_taken(e, 0, 10'000);
             connected(e, 10'000);
             ended(e, 50, CloseReason::local_fin).time_wait = 50;
         },
         [](E& e) {  // 400 a second need 24,000
             ports_taken(e, 0, 4'000);
             connected(e, 4'000);
             ended(e, 50, CloseReason::local_fin).time_wait = 50;
         }},
        {"medium ports_near_exhaustion", [](E& e) { ports_taken(e, 23'000, 23'000); },
         [](E& e) {  // tcp_tw_reuse takes them over
             ports_taken(e, 23'000, 23'000);
             set(e, "net.ipv4.tcp_tw_reuse", "1");
         }},
        {"low tw_reuse_would_help", [](E& e) { ports_taken(e, 7'100, 7'100); },
         [](E& e) { ports_taken(e, 7'000, 7'000); }},
        {"medium listener_port_taken",
         [](E& e) {
             e.former[40'000] = {app(), {}, 1};
             e.now.local_ports[40'000].outgoing = 1;
         },
         [](E& e) {
             e.former[40'000] = {app(), {}, 1};
             e.now.local_ports[40'000].time_wait = 1;
         }},
        {"medium listener_port_time_wait",
         [](E& e) {
             e.former[443] = {app(), {}, 1};
             e.now.local_ports[443] = {2, 1, 0, {}};
         },
         [](E& e) {
             e.former[443] = {app(), {}, 1};
             e.now.local_ports[443] = {2, 0, 0, {}};
         }},
        {"low listener_in_port_range", [](E& e) { listener(e, 50'051); },
         [](E& e) {
             listener(e, 50'051);
             listener(e, 40'000).chosen_port = false;
             set(e, "net.ipv4.ip_local_reserved_ports", "50000-50100");
         }},
        {"medium time_wait_overflow", [](E& e) { grow(e, "TcpExt.TCPTimeWaitOverflow", 1); },
         [](E& e) { grow(e, "TcpExt.TCPTimeWaitOverflow", 0); }},
        {"medium tw_reuse_needs_timestamps",
         [](E& e) {
             ports_taken(e, 100, 100);
             set(e, "net.ipv4.tcp_tw_reuse", "1");
             set(e, "net.ipv4.tcp_timestamps", "0");
         },
         [](E& e) {
             ports_taken(e, 99, 99);
             set(e, "net.ipv4.tcp_tw_reuse", "1");
             set(e, "net.ipv4.tcp_timestamps", "0");
         }},
        {"low tw_reuse_of_no_use",
         [](E& e) {
             e.now.time_wait_passive = 1000;
             set(e, "net.ipv4.tcp_tw_reuse", "1");
         },
         [](E& e) {
             e.now.time_wait_passive = 1000;
             e.now.time_wait_active = 200;
             set(e, "net.ipv4.tcp_tw_reuse", "1");
         }},
        {"low time_wait_harmless", [](E& e) { e.now.time_wait_passive = 5000; },
         [](E& e) { e.now.time_wait_passive = 4999; }},
        {"low fin_timeout_lowered",
         [](E& e) {
             e.now.time_wait_passive = 100;
             set(e, "net.ipv4.tcp_fin_timeout", "59");
         },
         [](E& e) {  // it does what it is for
             e.now.time_wait_passive = 100;
             e.now.dead_fin_wait2 = 20;
             set(e, "net.ipv4.tcp_fin_timeout", "59");
         }},
        {"low tw_recycle_in_file", [](E& e) { set(e, "file.net.ipv4.tcp_tw_recycle", "/etc/sysctl.d/a:b.conf:12:1"); },
         [](E& e) { set(e, "file.net.ipv4.tcp_tw_reuse", "/etc/sysctl.d/a.conf:12:1"); }},
        {"high accept_queue_overflow", [](E& e) { grow(e, "TcpExt.ListenOverflows", 10); },
         [](E& e) {  // the last place is taken, and nobody was turned away
             listener(e, 443).accept_queue = 129;
         }},
        {"medium accept_queue_overflow",  // a burst, long over
         [](E& e) { grow(e, "TcpExt.ListenOverflows", 9); }, [](E& e) { grow(e, "TcpExt.ListenOverflows", 0); }},
        {"high syn_flood",
         [](E& e) {
             listener(e, 443).half_open = 128;
             e.now.half_open[443] = 128;
             grow(e, "TcpExt.SyncookiesSent", 1000);
             e.accepted[443] = 200;
         },
         [](E& e) {  // as many half-open, and they get through
             listener(e, 443).half_open = 128;
             e.now.half_open[443] = 128;
             e.accepted[443] = 20'000;
         }},
        {"medium syn_cookies_in_use",
         [](E& e) {
             listener(e, 443);
             grow(e, "TcpExt.SyncookiesSent", 1000);
             grow(e, "TcpExt.SyncookiesRecv", 990);
             e.accepted[443] = 2000;
         },
         [](E& e) {  // 2: always, by choice
             listener(e, 443);
             grow(e, "TcpExt.SyncookiesSent", 1000);
             grow(e, "TcpExt.SyncookiesRecv", 990);
             set(e, "net.ipv4.tcp_syncookies", "2");
         }},
        {"low syncookies_off",
         [](E& e) {
             listener(e, 443);
             set(e, "net.ipv4.tcp_syncookies", "0");
         },
         [](E& e) {
             listener(e, 443, 128, loopback);
             set(e, "net.ipv4.tcp_syncookies", "0");
         }},
        {"high syncookies_off",
         [](E& e) {
             set(e, "net.ipv4.tcp_syncookies", "0");
             grow(e, "TcpExt.TCPReqQFullDrop", 1);
         },
         [](E& e) { set(e, "net.ipv4.tcp_syncookies", "0"); }},
        {"medium close_wait_leak",
         [](E& e) {
             for (std::uint64_t cookie = 1; cookie <= 11; ++cookie) {
                 e.now.close_wait[cookie] = {app(), 1};
                 if (cookie <= 10) {
                     e.before->close_wait[cookie] = {app(), 1};
                 }
             }
         },
         [](E& e) {  // they come and go
             for (std::uint64_t cookie = 1; cookie <= 100; ++cookie) {
                 e.before->close_wait[cookie] = {app(), 1};
                 e.now.close_wait[cookie + 91] = {app(), 1};
             }
         }},
        {"medium close_wait_leak",  // begun within the window
         [](E& e) {
             for (std::uint64_t cookie = 1; cookie <= 10; ++cookie) {
                 e.now.close_wait[cookie] = {app(), 1, 5000};
             }
         },
         [](E& e) {
             for (std::uint64_t cookie = 1; cookie <= 100; ++cookie) {
                 e.now.close_wait[cookie] = {app(), 1, cookie < 10 ? 5000U : 4999U};
             }
         }},
        {"low fin_wait2_orphans", [](E& e) { e.now.dead_fin_wait2 = 1000; }, [](E& e) { e.now.dead_fin_wait2 = 999; }},
        {"low connections_not_reused", [](E& e) { live_for(ended(e, 200, CloseReason::local_fin), 500'000'000); },
         [](E& e) { live_for(ended(e, 200, CloseReason::local_fin), 1'500'000'000); }},
        {"low linger_resets", [](E& e) { ended(e, 10, CloseReason::linger_rst, Role::passive); },
         [](E& e) {
             ended(e, 10, CloseReason::linger_rst, Role::passive).ended = 101;
             ended(e, 9, CloseReason::linger_rst);
         }},
        {"low not_all_counted", [](E& e) { e.left_out = 1; }, [](E& e) { e.left_out = 0; }},
        {"medium connects_refused",
         [](E& e) {
             ended(e, 5, CloseReason::refused);
             connected(e, 45);
         },
         [](E& e) {
             ended(e, 5, CloseReason::refused);
             connected(e, 46);
         }},
        {"high connects_refused", [](E& e) { ended(e, 20, CloseReason::refused); },
         [](E& e) { ended(e, 4, CloseReason::refused); }},
        {"medium connects_timed_out", [](E& e) { ended(e, 3, CloseReason::connect_timeout); },
         [](E& e) { ended(e, 2, CloseReason::connect_timeout); }},
        {"medium connects_timed_out",  // the program's own time-out
         [](E& e) { live_for(ended(e, 3, CloseReason::connect_cancelled), 1'000'000'000); },
         [](E& e) { live_for(ended(e, 3, CloseReason::connect_cancelled), 300'000'000); }},
        {"medium dead_peers", [](E& e) { ended(e, 1, CloseReason::retransmit_timeout); },
         [](E& e) { ended(e, 9, CloseReason::last_ack_timeout, Role::passive); }},
        {"low dead_peers", [](E& e) { ended(e, 10, CloseReason::last_ack_timeout, Role::passive); },
         [](E& e) { ended(e, 1, CloseReason::rst_received); }},
        {"low keepalive_late",
         [](E& e) {
             e.now.idle.push_back({app(), Family::ipv4, far_away, 5432, 61, 241});
         },
         [](E& e) {
             e.now.idle.push_back({app(), Family::ipv4, far_away, 5432, 61, 240});
         }},
        {"medium conntrack_full",
         [](E& e) {
             set(e, "net.netfilter.nf_conntrack_max", "1000");
             e.now.counters["conntrack.count"] = 800;
         },
         [](E& e) {
             set(e, "net.netfilter.nf_conntrack_max", "1000");
             e.now.counters["conntrack.count"] = 799;
         }},
        {"high conntrack_full",
         [](E& e) {
             set(e, "net.netfilter.nf_conntrack_max", "1000");
             e.now.counters["conntrack.count"] = 500;
             grow(e, "conntrack.drop", 1);
         },
         [](E& e) { e.now.counters["conntrack.count"] = 500; }},
    };
    return all;
}

TEST(Rules, EachHasItsCaseAndNearlyHas) {
    for (const Case& each : cases()) {
        SCOPED_TRACE(each.says);
        NetnsEvidence ill = healthy();
        each.ill(ill);
        EXPECT_EQ(found(ill), std::vector<std::string>{each.says});
        NetnsEvidence well = healthy();
        each.well(well);
        EXPECT_EQ(found(well), std::vector<std::string>{});
    }
}

TEST(Rules, NoneIsWithoutACase) {
    std::set<std::string> tried;
    for (const Case& each : cases()) {
        const std::string says = each.says;
        tried.insert(says.substr(says.find(' ') + 1));
    }
    std::set<std::string> all;
    for (const Rule& rule : all_rules()) {
        EXPECT_TRUE(all.insert(std::string(rule.id)).second) << rule.id;
    }
    EXPECT_EQ(tried, all);
}

TEST(Rules, AHealthyNamespaceHasNone) {
    EXPECT_EQ(found(healthy()), std::vector<std::string>{});
    NetnsEvidence busy = healthy();  // nginx under wrk
    listener(busy, 80, 511).accept_queue = 300;
    busy.accepted[80] = 5000;
    ended(busy, 5000, CloseReason::remote_fin, Role::passive);
    connected(busy, 100);
    busy.now.time_wait_passive = 4000;
    EXPECT_EQ(found(busy), std::vector<std::string>{});
}

TEST(Rules, TheWorstComesFirst) {
    NetnsEvidence evidence = healthy();
    evidence.now.dead_fin_wait2 = 1000;
    ended(evidence, 20, CloseReason::refused);
    grow(evidence, "TcpExt.TCPTimeWaitOverflow", 5);
    EXPECT_EQ(found(evidence), (std::vector<std::string>{"high connects_refused", "medium time_wait_overflow",
                                                         "low fin_wait2_orphans"}));
}

/// Where no port is left TIME_WAIT is why, and is not told twice.
TEST(Rules, ReuseIsTheAdviceOfExhaustion) {
    NetnsEvidence evidence = healthy();
    ports_taken(evidence, 28'000, 28'232);
    ended(evidence, 7, CloseReason::no_local_port);
    const std::vector<Finding> findings = diagnose({evidence});
    ASSERT_EQ(findings.size(), 1U);
    EXPECT_EQ(findings[0].id, "ports_exhausted");
    EXPECT_EQ(findings[0].command, "sysctl -w net.ipv4.tcp_tw_reuse=1");
}

/// With live connections in the way it is the range; services in the new one are kept out of it.
TEST(Rules, MorePortsAreTheAdviceWhereTimeWaitIsNot) {
    NetnsEvidence evidence = healthy();
    ended(evidence, 7, CloseReason::no_local_port);
    const Destination to{Family::ipv4, here, far_away, 80};
    evidence.now.destinations[to].live = 28'232;
    listener(evidence, 11211);
    const std::vector<Finding> findings = diagnose({evidence});
    ASSERT_EQ(findings.size(), 1U);
    EXPECT_EQ(findings[0].command,
              "sysctl -w 'net.ipv4.ip_local_port_range=10240 65535' net.ipv4.ip_local_reserved_ports=11211");
}

TEST(Rules, CommandsEnterTheNamespace) {
    NetnsEvidence evidence = healthy();
    evidence.now.dead_fin_wait2 = 1000;
    set(evidence, "netns.path", "/proc/77/ns/net");
    EXPECT_EQ(diagnose({evidence}).at(0).command,
              "nsenter --net=/proc/77/ns/net sysctl -w net.ipv4.tcp_fin_timeout=15");
    evidence.now.settings.erase("netns.path");  // held by a socket alone
    EXPECT_EQ(diagnose({evidence}).at(0).command, std::nullopt);
}

TEST(Rules, LittlesLawGivesThePool) {
    NetnsEvidence evidence = healthy();
    EndedGroup& group = ended(evidence, 1000, CloseReason::local_fin);  // 100 a second
    live_for(group, 20'000'000);
    live_for(group, 60'000'000);  // 40 ms each: four at once
    const std::vector<Finding> findings = diagnose({evidence});
    ASSERT_EQ(findings.size(), 1U);
    EXPECT_EQ(findings[0].title,
              "app (pid 100) opens 100 connections a second to 10.0.0.9:80 and keeps none: a pool of "
              "4 would do");
}

TEST(Rules, ReservedPortsAndOddRanges) {
    const PortRange range = port_range(
        {{"net.ipv4.ip_local_port_range", "100 200"}, {"net.ipv4.ip_local_reserved_ports", "50-101,150,199-300"}});
    EXPECT_EQ(range.size(), 101U - 2 - 1 - 2);
    EXPECT_TRUE(range.has(102));
    EXPECT_FALSE(range.has(101));
    EXPECT_FALSE(range.has(201));
    EXPECT_EQ(port_range({}).size(), 28'232U);
}

}  // namespace
}  // namespace tcptrail::report
