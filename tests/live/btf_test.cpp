// SPDX-License-Identifier: Apache-2.0
// `--btf FILE`, and a machine that hides /sys/kernel/btf (in a mount namespace of the test's own).
#include <gtest/gtest.h>
#include <sched.h>
#include <sys/mount.h>
#include <unistd.h>

#include <fstream>
#include <sstream>

#include "harness.h"

namespace tcptrail::live {

namespace {

constexpr const char* kOwn = "/sys/kernel/btf/vmlinux";

/// A file that goes with the test.
class Copy {
public:
    explicit Copy(const std::string& bytes) : path_("/tmp/tcptrail-btf-" + std::to_string(getpid())) {
        std::ofstream(path_, std::ios::binary) << bytes;
    }
    ~Copy() { unlink(path_.c_str()); }
    const std::string& path() const { return path_; }

private:
    std::string path_;
};

std::string own_bytes() {
    std::ostringstream bytes;
    bytes << std::ifstream(kOwn, std::ios::binary).rdbuf();
    return bytes.str();
}

void hide_btf() {
    if (unshare(CLONE_NEWNS) != 0 || mount(nullptr, "/", nullptr, MS_REC | MS_SLAVE, nullptr) != 0 ||
        mount("tmpfs", "/sys/kernel/btf", "tmpfs", 0, nullptr) != 0) {
        raise("hide /sys/kernel/btf");
    }
}

/// One line that ends so, nothing on stdout.
void expect_refusal(const Output& output, int status, const std::string& end) {
    EXPECT_EQ(output.status, status);
    EXPECT_EQ(output.out, "");
    ASSERT_EQ(output.err_lines().size(), 1U) << output.err;
    EXPECT_TRUE(output.err.ends_with(end + "\n")) << output.err;
}

TEST(Btf, HiddenIsOneLineThatNamesTheWayOut) {
    REQUIRE_TRACING();
    expect_refusal(run_tcptrail({"trace", "-d", "1ms"}, hide_btf), 3,
                   "this kernel shows no BTF (/sys/kernel/btf/vmlinux: No such file or directory); --btf FILE takes it "
                   "from a file");
}

TEST(Btf, AFileServesWhereItIsHidden) {
    REQUIRE_TRACING();
    const Copy copy(own_bytes());
    const Output output = run_tcptrail({"trace", "--json", "-d", "1ms", "--btf", copy.path()}, hide_btf);
    EXPECT_EQ(output.status, 0) << output.err;
    EXPECT_EQ(output.err, "tcptrail: tracing\n");
    EXPECT_EQ(output.last_row()["type"], "trace_end");
    EXPECT_EQ(output.last_row()["hooks"], run_tcptrail({"trace", "--json", "-d", "1ms"}).last_row()["hooks"]);
    EXPECT_EQ(access(kOwn, R_OK), 0) << "the mount was not its own";
}

TEST(Btf, AMissingFileAndOneWithoutBtfAreRefused) {
    REQUIRE_TRACING();
    expect_refusal(run_tcptrail({"trace", "--btf", "/nonexistent"}), 1,
                   "--btf /nonexistent: No such file or directory");
    const Copy text("no types here");
    expect_refusal(run_tcptrail({"trace", "--btf", text.path()}), 1, "--btf " + text.path() + ": holds no BTF");
}

/// It would load, and read the wrong fields.
TEST(Btf, AnotherKernelsFileIsRefused) {
    REQUIRE_TRACING();
    std::string bytes = own_bytes();
    bytes[bytes.size() - 2] ^= 1;  // in the last name
    const Copy other(bytes);
    for (const BeforeExec& before : {BeforeExec(), BeforeExec(hide_btf)}) {
        const Output output = run_tcptrail({"trace", "--btf", other.path()}, before);
        EXPECT_NE(output.err.find("not the BTF of this kernel"), std::string::npos) << output.err;
        EXPECT_EQ(output.status, 1);
        EXPECT_EQ(output.err_lines().size(), 1U) << output.err;
    }
}

}  // namespace

}  // namespace tcptrail::live
