// SPDX-License-Identifier: Apache-2.0
#include "privileges.h"

#include <grp.h>
#include <linux/capability.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cstdlib>
#include <fstream>

#include "sockets.h"

namespace tcptrail::live {

namespace {

constexpr int kPerfmon = 38;
constexpr int kBpf = 39;

void drop_bounding_but_bpf() {
    for (int cap = 0; prctl(PR_CAPBSET_READ, cap, 0, 0, 0) >= 0; ++cap) {
        if (cap != kPerfmon && cap != kBpf && prctl(PR_CAPBSET_READ, cap, 0, 0, 0) == 1 &&
            prctl(PR_CAPBSET_DROP, cap, 0, 0, 0) != 0) {
            raise("drop capability " + std::to_string(cap));
        }
    }
}

void set_bpf_caps() {
    __user_cap_header_struct head{_LINUX_CAPABILITY_VERSION_3, 0};
    __user_cap_data_struct data[2]{};
    data[1].effective = data[1].permitted = data[1].inheritable = 1U << (kPerfmon - 32) | 1U << (kBpf - 32);
    if (syscall(SYS_capset, &head, data) != 0) {
        raise("capset");
    }
}

}  // namespace

void become_nobody() {
    if (setgroups(0, nullptr) != 0 || setresgid(kNobody, kNobody, kNobody) != 0 ||
        setresuid(kNobody, kNobody, kNobody) != 0) {
        raise("become nobody");
    }
}

void drop_sys_nice() {
    if (prctl(PR_CAPBSET_DROP, CAP_SYS_NICE, 0, 0, 0) != 0) {
        raise("drop CAP_SYS_NICE");
    }
}

void keep_bpf_as_root() {
    drop_bounding_but_bpf();
    set_bpf_caps();
}

void keep_bpf_as_nobody() {
    drop_bounding_but_bpf();
    if (prctl(PR_SET_KEEPCAPS, 1, 0, 0, 0) != 0) {
        raise("PR_SET_KEEPCAPS");
    }
    become_nobody();
    set_bpf_caps();
    for (const int cap : {kPerfmon, kBpf}) {
        if (prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, cap, 0, 0) != 0) {
            raise("PR_CAP_AMBIENT_RAISE");
        }
    }
}

PublicCopy::PublicCopy(const std::string& binary) {
    char folder[] = "/tmp/tcptrail-live-XXXXXX";
    if (mkdtemp(folder) == nullptr || chmod(folder, 0755) != 0) {
        raise("mkdtemp");
    }
    folder_ = folder;
    path_ = folder_ + "/tcptrail";
    std::ofstream(path_, std::ios::binary) << std::ifstream(binary, std::ios::binary).rdbuf();
    if (chmod(path_.c_str(), 0755) != 0) {
        raise("copy " + binary);
    }
}

PublicCopy::~PublicCopy() {
    unlink(path_.c_str());
    rmdir(folder_.c_str());
}

}  // namespace tcptrail::live
