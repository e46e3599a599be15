// SPDX-License-Identifier: Apache-2.0
#include "collect/probe.h"

#include <cerrno>
#include <cstring>
#include <thread>

#include <sched.h>
#include <sys/mount.h>
#include <unistd.h>

namespace tcptrail::collect {

std::string needs_rights(int error) {
    return std::string("needs root, or CAP_BPF and CAP_PERFMON: ") + std::strerror(error);
}

int loads(bpf_attach_type type, std::uint32_t btf_id) {
    bpf_insn program[2]{};
    program[0].code = BPF_ALU64 | BPF_MOV | BPF_K;  // r0 = 0
    program[1].code = BPF_JMP | BPF_EXIT;
    LIBBPF_OPTS(bpf_prog_load_opts, options);
    options.expected_attach_type = type;
    options.attach_btf_id = btf_id;
    const int fd = bpf_prog_load(BPF_PROG_TYPE_TRACING, "tcptrail_probe", "GPL", program, 2, &options);
    if (fd < 0) return fd;
    close(fd);
    return 0;
}

int with_mount(const char* type, const char* target, const std::function<int()>& then) {
    int result = 0;
    std::thread([&] {
        if (unshare(CLONE_FS | CLONE_NEWNS) != 0 || mount(nullptr, "/", nullptr, MS_REC | MS_SLAVE, nullptr) != 0 ||
            mount(type, target, type, 0, nullptr) != 0)
            result = -errno;
        else
            result = then();
    }).join();
    return result;
}

}  // namespace tcptrail::collect
