// SPDX-License-Identifier: Apache-2.0
// `tcptrail doctor`: the rules about the other end and the way there.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sched.h>
#include <sys/mount.h>

#include <cerrno>
#include <cstdlib>
#include <fstream>
#include <sstream>

#include "doctor.h"
#include "stage.h"

namespace tcptrail::live {
namespace {

void be_refused(Arena& arena, int times) {
    arena.join(arena.spawn("tt-client", [times] {
        for (int i = 0; i < times; ++i) {
            const Fd fd = fresh_socket(Net::v4);
            if (try_connect(fd.get(), Net::v4, kPort) != ECONNREFUSED) {
                throw std::runtime_error("a connect was not refused");
            }
        }
    }));
}

TEST(Doctor, ConnectsRefused) {
    REQUIRE_TRACING();
    Ward ward;
    ward.begin();
    be_refused(ward.ill, 5);
    be_refused(ward.well, 4);
    ward.end();
    EXPECT_EQ(ward.found(ward.ill), (Ids{"connects_refused"})) << ward.output().out;
    EXPECT_EQ(ward.found(ward.well), Ids{}) << ward.output().out;
    const Json finding = ward.finding(ward.ill, "connects_refused");
    EXPECT_EQ(finding["severity"], "medium");
    ASSERT_EQ(finding["observed"]["destinations"].size(), 1U);
    EXPECT_EQ(finding["observed"]["destinations"][0]["rport"], kPort);
    EXPECT_EQ(finding["observed"]["destinations"][0]["failed"], 5);
}

/// A service that is down for a program that needs it is the first thing to say; one that mostly works is not.
TEST(Doctor, ConnectsAllRefused) {
    REQUIRE_TRACING();
    Ward ward;
    ward.begin();
    be_refused(ward.ill, 20);
    be_refused(ward.well, 5);
    serve(ward.well);
    ward.well.join(ward.well.spawn("tt-client", [] { come_and_go(50); }));  // and then it is up
    ward.end();
    EXPECT_EQ(ward.found(ward.ill), (Ids{"connects_refused"})) << ward.output().out;
    EXPECT_EQ(ward.found(ward.well), Ids{}) << ward.output().out;
    EXPECT_EQ(ward.finding(ward.ill, "connects_refused")["severity"], "high");
}

/// 127.1.0.0 and so on, where nobody listens.
void scan(Arena& arena, std::uint32_t hosts) {
    arena.join(arena.spawn("tt-client", [hosts] {
        for (std::uint32_t i = 0; i < hosts; ++i) {
            const Fd fd = fresh_socket(Net::v4);
            sockaddr_in to{};
            to.sin_family = AF_INET;
            to.sin_port = htons(kPort);
            to.sin_addr.s_addr = htonl(0x7f010000 + i);
            if (connect(fd.get(), reinterpret_cast<const sockaddr*>(&to), sizeof to) == 0 || errno != ECONNREFUSED) {
                throw std::runtime_error("a connect was not refused");
            }
        }
    }));
}

TEST(Doctor, WhatItHasNoRoomForItSays) {
    REQUIRE_TRACING();
    Ward ward;
    ward.begin();
    scan(ward.ill, 10'003);
    scan(ward.well, 1'000);
    ward.end();
    EXPECT_EQ(ward.found(ward.ill), (Ids{"not_all_counted"})) << ward.output().out;
    EXPECT_EQ(ward.found(ward.well), Ids{}) << ward.output().out;
    EXPECT_EQ(ward.finding(ward.ill, "not_all_counted")["observed"]["left_out"], 3);
}

/// A listener that never gets the SYN, and connects that wait for it half a second.
void wait_in_vain(Arena& arena, int connects) {
    const Cue listening, leave;
    const Who server = arena.spawn("tt-server", [&] {
        const Fd listener = listen_on(Net::v4, kPort);
        make_deaf(listener.get(), Deaf::to_all);
        listening.give();
        leave.take(60000);
    });
    listening.take();
    arena.join(arena.spawn("tt-client", [connects] {
        std::vector<Fd> fds;
        for (int i = 0; i < connects; ++i) {
            fds.push_back(fresh_socket(Net::v4));
            set_option(fds.back().get(), IPPROTO_TCP, TCP_USER_TIMEOUT, 500);
            set_nonblocking(fds.back().get());
            try_connect(fds.back().get(), Net::v4, kPort);
        }
        for (const Fd& fd : fds) {
            if (connect_result(fd.get()) != ETIMEDOUT) {
                throw std::runtime_error("a connect did not time out");
            }
        }
    }));
    leave.give();
    arena.join(server);
}

TEST(Doctor, ConnectsTimedOut) {
    REQUIRE_TRACING();
    Ward ward;
    ward.begin();
    wait_in_vain(ward.ill, 3);
    wait_in_vain(ward.well, 2);
    ward.end();
    EXPECT_EQ(ward.found(ward.ill), (Ids{"connects_timed_out"})) << ward.output().out;
    EXPECT_EQ(ward.found(ward.well), Ids{}) << ward.output().out;
    const Json finding = ward.finding(ward.ill, "connects_timed_out");
    EXPECT_EQ(finding["observed"]["failed"], 3);
}

/// The peer goes deaf while data is under way, for good or for a while.
void lose_the_peer(Arena& arena, bool for_good) {
    const Cue listening, deaf, hear, leave;
    const Who server = arena.spawn("tt-server", [&] {
        const Fd listener = listen_on(Net::v4, kPort);
        listening.give();
        const Fd fd = accept_from(listener.get());
        put(fd.get(), 1);
        make_deaf(fd.get(), Deaf::to_all);
        deaf.give();
        hear.take();
        make_hear(fd.get());
        leave.take();
    });
    listening.take();
    const Who client = arena.spawn("tt-client", [&] {
        const Fd fd = dial(Net::v4, kPort);
        get(fd.get(), 1);
        set_option(fd.get(), IPPROTO_TCP, TCP_USER_TIMEOUT, for_good ? 700 : 10000);
        deaf.take();
        put(fd.get(), 10);
        if (for_good) {
            await_state(fd.get(), TCP_CLOSE);
        } else {
            sleep_ms(300);  // a retransmission or two
            hear.give();
            await_acked(fd.get());
        }
    });
    arena.join(client);
    if (for_good) {
        hear.give();
    }
    leave.give();
    arena.join(server);
}

TEST(Doctor, DeadPeers) {
    REQUIRE_TRACING();
    Ward ward;
    ward.begin();
    lose_the_peer(ward.ill, true);
    lose_the_peer(ward.well, false);
    ward.end();
    EXPECT_EQ(ward.found(ward.ill), (Ids{"dead_peers"})) << ward.output().out;
    EXPECT_EQ(ward.found(ward.well), Ids{}) << ward.output().out;
    const Json finding = ward.finding(ward.ill, "dead_peers");
    EXPECT_EQ(finding["severity"], "medium");
    EXPECT_EQ(finding["observed"]["opened_by_us"], 1);
    EXPECT_EQ(finding["observed"]["opened_by_peers"], 0);
}

/// nf_conntrack_max is the whole machine's. The binary sees another number in these two namespaces, by a mount namespace of
/// its own; each network namespace has a file of its own there.
BeforeExec with_conntrack_max(const Ward& ward, int entries) {
    return [&ward, entries] {
        const char* limit = "/proc/sys/net/netfilter/nf_conntrack_max";
        if (!unshare_mounts() || mount("tmpfs", "/mnt", "tmpfs", 0, nullptr) != 0) {
            raise("a mount namespace");
        }
        std::ofstream("/mnt/max") << entries << "\n";
        const Fd home(open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC));
        for (const int netns : {ward.ill.netns_fd(), ward.well.netns_fd(), home.get()}) {
            if (setns(netns, CLONE_NEWNET) != 0 ||
                (netns != home.get() && mount("/mnt/max", limit, nullptr, MS_BIND, nullptr) != 0)) {
                raise("another nf_conntrack_max");
            }
        }
    };
}

TEST(Doctor, ConntrackFull) {
    REQUIRE_TRACING();
    REQUIRE_PROGRAM("nft");
    if (!std::ifstream("/proc/sys/net/netfilter/nf_conntrack_max")) {
        GTEST_SKIP() << "needs the kernel's connection tracker (nf_conntrack)";
    }
    Ward ward;
    for (Arena* arena : {&ward.ill, &ward.well}) {
        const Output nft = run_program({"nft",
                                        "add table inet t; add chain inet t c { type filter hook input priority 0; }; "
                                        "add rule inet t c ct state invalid counter"},
                                       arena->netns_fd());
        ASSERT_EQ(nft.status, 0) << nft.err;
        serve(*arena);
        const int connections = arena == &ward.ill ? 20 : 15;
        arena->join(arena->spawn("tt-client", [connections] { come_and_go(connections); }));
    }
    ward.begin(with_conntrack_max(ward, 20));
    ward.end();
    EXPECT_EQ(ward.found(ward.ill), (Ids{"conntrack_full"})) << ward.output().out;
    EXPECT_EQ(ward.found(ward.well), Ids{}) << ward.output().out;
    const Json finding = ward.finding(ward.ill, "conntrack_full");
    EXPECT_EQ(finding["severity"], "high");
    EXPECT_EQ(finding["observed"]["nf_conntrack_count"], 20);
    EXPECT_EQ(finding["command"], "sysctl -w net.netfilter.nf_conntrack_max=40");
}

void ip_in(const Arena& arena, const std::string& words) {
    std::vector<std::string> argv{"ip"};
    std::istringstream in(words);
    for (std::string word; in >> word;) {
        argv.push_back(word);
    }
    const Output output = run_program(argv, arena.netns_fd());
    if (output.status != 0) {
        throw std::runtime_error(words + ": " + output.err);
    }
}

/// Connects to the other end of the wire, sets keepalive or not, and says nothing.
Who stay_silent(Arena& arena, const char* peer, int keepidle_s, const Cue& leave) {
    const Cue connected;
    const std::string address = peer;
    const Who who = arena.spawn("tt-silent", [&, address, keepidle_s] {
        const Fd fd = dial_to(address, kPort);
        if (keepidle_s > 0) {
            set_option(fd.get(), IPPROTO_TCP, TCP_KEEPIDLE, keepidle_s);
        }
        set_option(fd.get(), SOL_SOCKET, SO_KEEPALIVE, 1);
        connected.give();
        leave.take(90000);
    });
    connected.take();
    return who;
}

/// Takes more than a minute: that is how long a connection must have been silent to count. By hand, not in ctest.
TEST(Doctor, SlowKeepaliveLate) {
    REQUIRE_TRACING();
    REQUIRE_PROGRAM("ip");
    Ward ward;
    Arena other;
    const Cue listening, leave;
    ip_in(ward.ill,
          "link add tt0 type veth peer name tt1 netns /proc/" + std::to_string(other.holder_pid()) + "/ns/net");
    ip_in(ward.ill, "addr add 10.99.0.1/24 dev tt0");
    ip_in(ward.ill, "link set tt0 up");
    ip_in(other, "addr add 10.99.0.2/24 dev tt1");
    ip_in(other, "link set tt1 up");
    ip_in(ward.well,
          "link add tt2 type veth peer name tt3 netns /proc/" + std::to_string(other.holder_pid()) + "/ns/net");
    ip_in(ward.well, "addr add 10.98.0.1/24 dev tt2");
    ip_in(ward.well, "link set tt2 up");
    ip_in(other, "addr add 10.98.0.2/24 dev tt3");
    ip_in(other, "link set tt3 up");
    other.spawn("tt-server", [&] {
        const Fd listener = listen_on(Net::mapped, kPort);
        listening.give();
        std::vector<Fd> fds;
        for (int i = 0; i < 2; ++i) {
            fds.push_back(accept_from(listener.get()));
        }
        leave.take(90000);
    });
    listening.take();
    const Who silent = stay_silent(ward.ill, "10.99.0.2", 0, leave);  // the system's 7200 s
    stay_silent(ward.well, "10.98.0.2", 240, leave);
    sleep_ms(61000);
    ward.begin();
    ward.end();
    leave.give(3);
    EXPECT_EQ(ward.found(ward.ill), (Ids{"keepalive_late"})) << ward.output().out;
    EXPECT_EQ(ward.found(ward.well), Ids{}) << ward.output().out;
    const Json finding = ward.finding(ward.ill, "keepalive_late");
    EXPECT_EQ(finding["severity"], "low");
    EXPECT_EQ(finding["observed"]["connections"], 1);
    EXPECT_EQ(finding["observed"]["owner"]["pid"], silent.pid);
    EXPECT_GE(finding["observed"]["longest_idle_s"], 60);
}

}  // namespace
}  // namespace tcptrail::live
