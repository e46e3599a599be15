// SPDX-License-Identifier: Apache-2.0
// `tcptrail doctor`: the rules about TIME_WAIT, and the settings that people believe in.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <sched.h>
#include <sys/mount.h>

#include <fstream>

#include "doctor.h"
#include "scene.h"
#include "stage.h"

namespace tcptrail::live {
namespace {

constexpr const char* kReuse = "net/ipv4/tcp_tw_reuse";

void in_both(Ward& ward, const std::function<void(Arena&)>& action) {
    action(ward.ill);
    action(ward.well);
}

/// TIME_WAITs of connects, older than the window.
void older_clients(Arena& arena, int connections) {
    arena.sysctl("net/ipv4/tcp_rfc1337", "1");  // no late RST ends one
    serve(arena);
    arena.join(arena.spawn("tt-client", [connections] { come_and_go(connections); }));
}

/// TIME_WAITs of a listener, which stands; older than the window.
void older_servers(Arena& arena, int connections) {
    arena.sysctl("net/ipv4/tcp_rfc1337", "1");
    serve_and_close(arena);
    arena.join(arena.spawn("tt-client", [connections] {
        for (int i = 0; i < connections; ++i) {
            const Fd fd = dial(Net::v4, kPort);
            get(fd.get(), 1);
            await_eof(fd.get());
        }
    }));
}

TEST(Doctor, TimeWaitOverflow) {
    REQUIRE_TRACING();
    Ward ward;
    ward.ill.sysctl("net/ipv4/tcp_max_tw_buckets", "10");
    ward.well.sysctl("net/ipv4/tcp_max_tw_buckets", "50");
    in_both(ward, [](Arena& arena) { serve(arena); });
    ward.begin();
    for (Arena* arena : {&ward.ill, &ward.well}) {
        arena->join(arena->spawn("tt-client", [] { come_and_go(50); }));
    }
    const auto refused = ward.ill.netstat("TCPTimeWaitOverflow");
    EXPECT_EQ(refused, 40U) << "the scene is not what it says";
    EXPECT_EQ(ward.well.netstat("TCPTimeWaitOverflow"), 0U) << "the scene is not what it says";
    ward.end();
    EXPECT_EQ(ward.found(ward.ill), (Ids{"time_wait_overflow"})) << ward.output().out;
    EXPECT_EQ(ward.found(ward.well), Ids{}) << ward.output().out;
    const Json finding = ward.finding(ward.ill, "time_wait_overflow");
    EXPECT_EQ(finding["observed"]["overflow"], refused);
    EXPECT_EQ(finding["observed"]["time_wait"], 10);
    EXPECT_EQ(finding["observed"]["tcp_max_tw_buckets"], 10);
}

TEST(Doctor, ReuseNeedsTimestamps) {
    REQUIRE_TRACING();
    Ward ward;
    ward.ill.sysctl("net/ipv4/tcp_timestamps", "0");
    in_both(ward, [](Arena& arena) {
        arena.sysctl(kReuse, "1");
        older_clients(arena, 120);
    });
    ward.begin();
    ward.end();
    EXPECT_EQ(ward.found(ward.ill), (Ids{"tw_reuse_needs_timestamps"})) << ward.output().out;
    EXPECT_EQ(ward.found(ward.well), Ids{}) << ward.output().out;
    const Json finding = ward.finding(ward.ill, "tw_reuse_needs_timestamps");
    EXPECT_EQ(finding["observed"]["time_wait_of_connects"], 120);
}

TEST(Doctor, ReuseOfNoUseToAServer) {
    REQUIRE_TRACING();
    Ward ward;
    in_both(ward, [](Arena& arena) { arena.sysctl(kReuse, "1"); });
    older_servers(ward.ill, 1100);
    older_clients(ward.well, 1100);
    const int standing = ward.ill.sockstat("tw");
    ward.begin();
    ward.end();
    EXPECT_EQ(ward.found(ward.ill), (Ids{"tw_reuse_of_no_use"})) << ward.output().out;
    EXPECT_EQ(ward.found(ward.well), Ids{}) << ward.output().out;
    const Json finding = ward.finding(ward.ill, "tw_reuse_of_no_use");
    EXPECT_EQ(finding["observed"]["time_wait_of_listeners"], standing);
    EXPECT_EQ(finding["observed"]["time_wait_of_connects"], 0);
}

TEST(Doctor, TimeWaitHarmlessToAServer) {
    REQUIRE_TRACING();
    Ward ward;
    in_both(ward, [](Arena& arena) { arena.sysctl(kReuse, "0"); });
    older_servers(ward.ill, 6600);  // 770 or so meet the TIME_WAIT of an earlier one, and take its place
    older_clients(ward.well, 5600);
    const int standing = ward.ill.sockstat("tw");
    ASSERT_GT(standing, 5000) << "the scene is not what it says";
    ward.begin();
    ward.end();
    EXPECT_EQ(ward.found(ward.ill), (Ids{"time_wait_harmless"})) << ward.output().out;
    EXPECT_EQ(ward.found(ward.well), Ids{}) << ward.output().out;
    const Json finding = ward.finding(ward.ill, "time_wait_harmless");
    EXPECT_EQ(finding["severity"], "low");
    EXPECT_EQ(finding["command"], nullptr);
    EXPECT_EQ(finding["observed"]["time_wait_of_listeners"], standing);
}

TEST(Doctor, FinTimeoutLowered) {
    REQUIRE_TRACING();
    Ward ward;
    ward.ill.sysctl("net/ipv4/tcp_fin_timeout", "15");
    in_both(ward, [](Arena& arena) { older_clients(arena, 120); });
    ward.begin();
    ward.end();
    EXPECT_EQ(ward.found(ward.ill), (Ids{"fin_timeout_lowered"})) << ward.output().out;
    EXPECT_EQ(ward.found(ward.well), Ids{}) << ward.output().out;
    const Json finding = ward.finding(ward.ill, "fin_timeout_lowered");
    EXPECT_EQ(finding["observed"]["tcp_fin_timeout"], 15);
    EXPECT_EQ(finding["observed"]["time_wait"], 120);
}

/// The binary in the arena's namespace, with a /etc/sysctl.d of its own that nobody else sees.
BeforeExec with_sysctl_file(const Arena& arena, const std::string& text) {
    return [&arena, text] {
        if (setns(arena.netns_fd(), CLONE_NEWNET) != 0 || !unshare_mounts() ||
            mount("tmpfs", "/etc/sysctl.d", "tmpfs", 0, nullptr) != 0) {
            raise("a /etc/sysctl.d of its own");
        }
        std::ofstream("/etc/sysctl.d/10-tuning.conf") << text;
    };
}

TEST(Doctor, RecycleInAFile) {
    REQUIRE_TRACING();
    Ward ill;
    ill.begin(with_sysctl_file(ill.ill, "# tuning\nnet.ipv4.tcp_syncookies = 1\nnet/ipv4/tcp_tw_recycle = 1\n"));
    ill.end();
    EXPECT_EQ(ill.found(ill.ill), (Ids{"tw_recycle_in_file"})) << ill.output().out;
    EXPECT_EQ(ill.found(ill.well), Ids{}) << ill.output().out;
    const Json finding = ill.finding(ill.ill, "tw_recycle_in_file");
    EXPECT_EQ(finding["command"], "sed -i --follow-symlinks 3d '/etc/sysctl.d/10-tuning.conf'");
    Ward well;
    well.begin(with_sysctl_file(well.ill, "net.ipv4.tcp_tw_reuse = 1\n# net.ipv4.tcp_tw_recycle = 1\n"));
    well.end();
    EXPECT_EQ(well.found(well.ill), Ids{}) << well.output().out;
}

}  // namespace
}  // namespace tcptrail::live
