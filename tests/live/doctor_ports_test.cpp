// SPDX-License-Identifier: Apache-2.0
// `tcptrail doctor`: the rules about local ports. In each pair the second namespace is one step short of the case.
#include <arpa/inet.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include <cerrno>

#include "doctor.h"
#include "stage.h"

namespace tcptrail::live {
namespace {

constexpr const char* kRange = "net/ipv4/ip_local_port_range";
constexpr const char* kReuse = "net/ipv4/tcp_tw_reuse";
constexpr std::uint16_t kInRange = 45001;

/// Listens on 127.0.0.1 without SO_REUSEADDR.
Fd plain_listener(std::uint16_t port, bool reuse) {
    Fd fd = fresh_socket(Net::v4);
    if (reuse) {
        set_option(fd.get(), SOL_SOCKET, SO_REUSEADDR, 1);
    }
    sockaddr_in local{};
    local.sin_family = AF_INET;
    local.sin_port = htons(port);
    local.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    if (bind(fd.get(), reinterpret_cast<const sockaddr*>(&local), sizeof local) != 0 || listen(fd.get(), 16) != 0) {
        raise("listen on port " + std::to_string(port));
    }
    return fd;
}

/// Whether a server that starts now gets the port.
bool can_listen(std::uint16_t port, bool reuse) {
    try {
        plain_listener(port, reuse);
        return true;
    } catch (const std::runtime_error&) {
        return false;
    }
}

TEST(Doctor, PortsExhausted) {
    REQUIRE_TRACING();
    Ward ward;
    for (Arena* arena : {&ward.ill, &ward.well}) {
        arena->sysctl(kRange, "45000 45019");
        arena->sysctl(kReuse, "0");
        serve(*arena);
    }
    ward.begin();
    const Who client = ward.ill.spawn("tt-client", [] {
        come_and_go(20);
        for (int i = 0; i < 3; ++i) {
            const Fd fd = fresh_socket(Net::v4);
            if (try_connect(fd.get(), Net::v4, kPort) != EADDRNOTAVAIL) {
                throw std::runtime_error("a port was left");
            }
        }
    });
    ward.ill.join(client);
    ward.well.join(ward.well.spawn("tt-client", [] { come_and_go(20); }));  // all of them, and none too many
    ward.end();
    EXPECT_EQ(ward.found(ward.ill), (Ids{"ports_exhausted"})) << ward.output().out;
    EXPECT_EQ(ward.found(ward.well), (Ids{"ports_near_exhaustion"})) << ward.output().out;
    const Json finding = ward.finding(ward.ill, "ports_exhausted");
    EXPECT_EQ(finding["severity"], "high");
    EXPECT_EQ(finding["observed"]["failed_connects"], 3);
    EXPECT_EQ(finding["observed"]["available"], 20);
    EXPECT_EQ(finding["observed"]["time_wait"], 20);
    EXPECT_EQ(finding["observed"]["rport"], kPort);
    EXPECT_EQ(finding["observed"]["owner"]["pid"], client.pid);
    ASSERT_EQ(finding["observed"]["holders"].size(), 1U);
    EXPECT_EQ(finding["observed"]["holders"][0]["owner"]["pid"], client.pid);
    EXPECT_EQ(finding["observed"]["holders"][0]["ports"], 20);
    const auto command = finding["command"].get<std::string>();
    EXPECT_TRUE(command.starts_with("nsenter --net=/")) << command;
    EXPECT_TRUE(command.ends_with(" sysctl -w net.ipv4.tcp_tw_reuse=1")) << command;
}

TEST(Doctor, PortsNearExhaustion) {
    REQUIRE_TRACING();
    Ward ward;
    for (Arena* arena : {&ward.ill, &ward.well}) {
        arena->sysctl(kRange, "45000 45199");
        serve(*arena);
    }
    ward.ill.sysctl(kReuse, "0");
    ward.well.sysctl(kReuse, "2");  // on loopback a port serves again after a second
    ward.begin();
    const Who ill = ward.ill.spawn("tt-client", [] { come_and_go(60, 25); });
    const Who well = ward.well.spawn("tt-client", [] { come_and_go(60, 25); });
    ward.ill.join(ill);
    ward.well.join(well);
    ward.end();
    EXPECT_EQ(ward.found(ward.ill), (Ids{"ports_near_exhaustion"})) << ward.output().out;
    EXPECT_EQ(ward.found(ward.well), Ids{}) << ward.output().out;
    const Json finding = ward.finding(ward.ill, "ports_near_exhaustion");
    EXPECT_EQ(finding["severity"], "high");
    EXPECT_EQ(finding["observed"]["time_wait"], 60);
    EXPECT_EQ(finding["observed"]["available"], 200);
}

TEST(Doctor, ReuseWouldHelp) {
    REQUIRE_TRACING();
    Ward ward;
    for (Arena* arena : {&ward.ill, &ward.well}) {
        arena->sysctl(kRange, "45000 45099");
        arena->sysctl(kReuse, arena == &ward.ill ? "0" : "2");
        serve(*arena);
        arena->join(arena->spawn("tt-client", [] { come_and_go(30); }));
    }
    sleep_ms(1500);  // old enough for tcp_tw_reuse
    ward.begin();
    ward.end();
    EXPECT_EQ(ward.found(ward.ill), (Ids{"tw_reuse_would_help"})) << ward.output().out;
    EXPECT_EQ(ward.found(ward.well), Ids{}) << ward.output().out;
    const Json finding = ward.finding(ward.ill, "tw_reuse_would_help");
    EXPECT_EQ(finding["observed"]["time_wait"], 30);
    EXPECT_EQ(finding["observed"]["available"], 100);
}

/// A listener in the port range goes away, and an outgoing connection gets a port: its port, or another.
TEST(Doctor, ListenerPortTaken) {
    REQUIRE_TRACING();
    Ward ward;
    const Cue listening, go, gone, leave;
    for (Arena* arena : {&ward.ill, &ward.well}) {
        serve(*arena);
        arena->spawn("tt-former", [&] {
            Fd listener = plain_listener(kInRange, true);
            listening.give();
            go.take();
            listener.close();
            gone.give();
            leave.take();
        });
        listening.take();
        // Its port is nobody's choice while it stands, nor what this rule is about.
        arena->sysctl("net/ipv4/ip_local_reserved_ports", std::to_string(kInRange));
    }
    ward.begin();
    go.give(2);
    gone.take();
    gone.take();
    for (Arena* arena : {&ward.ill, &ward.well}) {
        const std::string port = std::to_string(arena == &ward.ill ? kInRange : kInRange + 2);
        arena->sysctl("net/ipv4/ip_local_reserved_ports", "\n");
        arena->sysctl(kRange, port + " " + port);
        const Cue connected;
        arena->spawn("tt-client", [&] {
            const Fd fd = dial(Net::v4, kPort);
            connected.give();
            leave.take();
        });
        connected.take();
        arena->sysctl(kRange, "45000 45099");
        Shared<bool> answer;
        arena->inside([&] { *answer = can_listen(kInRange, true); });
        EXPECT_EQ(*answer, arena == &ward.well) << "the scene is not what it says";
    }
    ward.end();
    leave.give(4);
    EXPECT_EQ(ward.found(ward.ill), (Ids{"listener_port_taken"})) << ward.output().out;
    EXPECT_EQ(ward.found(ward.well), Ids{}) << ward.output().out;
    const Json finding = ward.finding(ward.ill, "listener_port_taken");
    EXPECT_EQ(finding["observed"]["lport"], kInRange);
    EXPECT_EQ(finding["observed"]["listener"]["comm"], "tt-former");
    EXPECT_EQ(finding["observed"]["holder"]["comm"], "tt-client");
}

/// A server that closes first and goes away; whether it comes back depends on SO_REUSEADDR.
TEST(Doctor, ListenerPortKeptByTimeWait) {
    REQUIRE_TRACING();
    Ward ward;
    ward.begin();
    for (Arena* arena : {&ward.ill, &ward.well}) {
        const bool reuse = arena == &ward.well;
        const Cue listening;
        const Who server = arena->spawn("tt-server", [&] {
            const Fd listener = plain_listener(kPort, reuse);
            listening.give();
            for (int i = 0; i < 5; ++i) {
                const Fd fd = accept_from(listener.get());
                shutdown_write(fd.get());
                await_eof(fd.get());
            }
        });
        listening.take();
        arena->join(arena->spawn("tt-client", [] {
            for (int i = 0; i < 5; ++i) {
                const Fd fd = dial(Net::v4, kPort);
                await_eof(fd.get());
            }
        }));
        arena->join(server);
        arena->settle();
        Shared<bool> answer;
        arena->inside([&] { *answer = can_listen(kPort, reuse); });
        EXPECT_EQ(*answer, reuse) << "the scene is not what it says";
    }
    ward.end();
    EXPECT_EQ(ward.found(ward.ill), (Ids{"listener_port_time_wait"})) << ward.output().out;
    EXPECT_EQ(ward.found(ward.well), Ids{}) << ward.output().out;
    const Json finding = ward.finding(ward.ill, "listener_port_time_wait");
    EXPECT_EQ(finding["observed"]["lport"], kPort);
    EXPECT_EQ(finding["observed"]["without_so_reuseaddr"], 5);
    EXPECT_EQ(finding["command"], nullptr);
}

TEST(Doctor, ListenerInThePortRange) {
    REQUIRE_TRACING();
    Ward ward;
    const Cue listening, leave;
    for (Arena* arena : {&ward.ill, &ward.well}) {
        arena->sysctl(kRange, "45000 45099");
        if (arena == &ward.well) {
            arena->sysctl("net/ipv4/ip_local_reserved_ports", std::to_string(kInRange));
        }
        arena->spawn("tt-server", [&] {
            const Fd listener = plain_listener(kInRange, true);
            const Fd any = plain_listener(0, true);  // takes what is free: no restart will miss it
            listening.give();
            leave.take();
        });
        listening.take();
    }
    ward.begin();
    ward.end();
    leave.give(2);
    EXPECT_EQ(ward.found(ward.ill), (Ids{"listener_in_port_range"})) << ward.output().out;
    EXPECT_EQ(ward.found(ward.well), Ids{}) << ward.output().out;
    const Json finding = ward.finding(ward.ill, "listener_in_port_range");
    EXPECT_EQ(finding["severity"], "low");
    ASSERT_EQ(finding["observed"]["listeners"].size(), 1U);
    EXPECT_EQ(finding["observed"]["listeners"][0]["lport"], kInRange);
    const auto command = finding["command"].get<std::string>();
    EXPECT_TRUE(command.ends_with(" sysctl -w net.ipv4.ip_local_reserved_ports=45001")) << command;
}

}  // namespace
}  // namespace tcptrail::live
