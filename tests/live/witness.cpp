// SPDX-License-Identifier: Apache-2.0
#include "witness.h"

#include <linux/bpf.h>
#include <linux/perf_event.h>
#include <netinet/tcp.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstddef>
#include <cstdlib>
#include <cstring>
#include <vector>

#include "other_tracer.h"
#include "sockets.h"

namespace tcptrail::live {

namespace {

constexpr const char* kName = "inet_sock_set_state";
constexpr int kReads = 10'000;

Fd bpf(bpf_cmd command, bpf_attr& attr) {
    return Fd(static_cast<int>(syscall(SYS_bpf, command, &attr, sizeof attr)));
}

std::uint64_t pointer(const void* to) {
    return reinterpret_cast<std::uint64_t>(to);
}

/// The number that tracefs gives the tracepoint; 0: not to be had. tracefs is mounted for a child alone.
int tracepoint_id() {
    int ends[2];
    if (pipe(ends) != 0) {
        return 0;
    }
    const Fd from(ends[0]);
    Fd to(ends[1]);
    const pid_t child = fork();
    if (child == 0) {
        int id = 0;
        if (mount_tracefs_apart()) {
            id = std::atoi(read_file(std::string("/sys/kernel/tracing/events/sock/") + kName + "/id").c_str());
        }
        const auto written = write(to.get(), &id, sizeof id);
        _exit(written == sizeof id ? 0 : 1);
    }
    to = Fd();
    int id = 0;
    const bool told = read(from.get(), &id, sizeof id) == sizeof id;
    waitpid(child, nullptr, 0);
    return told ? id : 0;
}

bpf_insn insn(int code, int to, int from, int offset, int value) {
    bpf_insn out{};
    out.code = static_cast<std::uint8_t>(code);
    out.dst_reg = static_cast<std::uint8_t>(to) & 0xfU;
    out.src_reg = static_cast<std::uint8_t>(from) & 0xfU;
    out.off = static_cast<std::int16_t>(offset);
    out.imm = value;
    return out;
}

/// What the program counts.
struct Counts {
    std::uint64_t calls;
    std::uint64_t closed_by_tracers;
};

}  // namespace

struct Witness::Counters {
    std::vector<Fd> kernels;  // one for each CPU
    Fd map;                   // one value: Counts
    Fd program;
    Fd link;
    std::uint64_t calls_before = 0;  // the kernel's count when all were open
    std::uint64_t before = 0;        // the difference then

    bool open_program() {
        bpf_attr attr{};
        attr.map_type = BPF_MAP_TYPE_ARRAY;
        attr.key_size = sizeof(std::uint32_t);
        attr.value_size = sizeof(Counts);
        attr.max_entries = 1;
        map = bpf(BPF_MAP_CREATE, attr);
        std::int32_t name[2];
        std::memcpy(name, "tcptrail", sizeof name);
        constexpr int kNewState = 16;  // of the tracepoint's arguments
        constexpr int kComm = -16;     // on the stack
        const bpf_insn code[] = {
            insn(BPF_ALU64 | BPF_MOV | BPF_X, BPF_REG_6, BPF_REG_1, 0, 0),
            insn(BPF_LD | BPF_DW | BPF_IMM, BPF_REG_7, BPF_PSEUDO_MAP_VALUE, 0, map.get()),
            insn(0, 0, 0, 0, 0),
            insn(BPF_ALU64 | BPF_MOV | BPF_K, BPF_REG_8, 0, 0, 1),
            insn(BPF_STX | BPF_DW | BPF_ATOMIC, BPF_REG_7, BPF_REG_8, offsetof(Counts, calls), BPF_ADD),
            insn(BPF_LDX | BPF_DW | BPF_MEM, BPF_REG_1, BPF_REG_6, kNewState, 0),
            insn(BPF_JMP | BPF_JEQ | BPF_K, BPF_REG_1, 0, 1, TCP_FIN_WAIT1),  // to the comm
            insn(BPF_JMP | BPF_JNE | BPF_K, BPF_REG_1, 0, 9, TCP_LAST_ACK),   // to the end
            insn(BPF_ALU64 | BPF_MOV | BPF_X, BPF_REG_1, BPF_REG_10, 0, 0),
            insn(BPF_ALU64 | BPF_ADD | BPF_K, BPF_REG_1, 0, 0, kComm),
            insn(BPF_ALU64 | BPF_MOV | BPF_K, BPF_REG_2, 0, 0, -kComm),
            insn(BPF_JMP | BPF_CALL, 0, 0, 0, BPF_FUNC_get_current_comm),
            insn(BPF_LDX | BPF_DW | BPF_MEM, BPF_REG_1, BPF_REG_10, kComm, 0),
            insn(BPF_LD | BPF_DW | BPF_IMM, BPF_REG_2, 0, 0, name[0]),
            insn(0, 0, 0, 0, name[1]),
            insn(BPF_JMP | BPF_JNE | BPF_X, BPF_REG_1, BPF_REG_2, 1, 0),  // to the end
            insn(BPF_STX | BPF_DW | BPF_ATOMIC, BPF_REG_7, BPF_REG_8, offsetof(Counts, closed_by_tracers), BPF_ADD),
            insn(BPF_ALU64 | BPF_MOV | BPF_K, BPF_REG_0, 0, 0, 0),
            insn(BPF_JMP | BPF_EXIT, 0, 0, 0, 0),
        };
        attr = {};
        attr.prog_type = BPF_PROG_TYPE_RAW_TRACEPOINT;
        attr.insns = pointer(code);
        attr.insn_cnt = std::size(code);
        attr.license = pointer("GPL");
        program = bpf(BPF_PROG_LOAD, attr);
        attr = {};
        attr.raw_tracepoint.name = pointer(kName);
        attr.raw_tracepoint.prog_fd = static_cast<std::uint32_t>(program.get());
        link = bpf(BPF_RAW_TRACEPOINT_OPEN, attr);
        return static_cast<bool>(link);
    }

    bool open_kernels(int id) {
        perf_event_attr attr{};
        attr.size = sizeof attr;
        attr.type = PERF_TYPE_TRACEPOINT;
        attr.config = static_cast<std::uint64_t>(id);
        for (long cpu = 0; cpu < sysconf(_SC_NPROCESSORS_ONLN); ++cpu) {
            kernels.emplace_back(
                static_cast<int>(syscall(SYS_perf_event_open, &attr, -1, cpu, -1, PERF_FLAG_FD_CLOEXEC)));
            if (!kernels.back()) {
                return false;
            }
        }
        return true;
    }

    std::uint64_t seen_by_kernel() const {
        std::uint64_t sum = 0;
        for (const Fd& fd : kernels) {
            std::uint64_t count = 0;
            sum += read(fd.get(), &count, sizeof count) == sizeof count ? count : 0;
        }
        return sum;
    }

    Counts counts() const {
        const std::uint32_t key = 0;
        Counts counts{};
        bpf_attr attr{};
        attr.map_fd = static_cast<std::uint32_t>(map.get());
        attr.key = pointer(&key);
        attr.value = pointer(&counts);
        syscall(SYS_bpf, BPF_MAP_LOOKUP_ELEM, &attr, sizeof attr);
        return counts;
    }

    /// With what its own recursion guard kept from it.
    std::uint64_t seen_by_program() const {
        bpf_prog_info info{};
        bpf_attr attr{};
        attr.info.bpf_fd = static_cast<std::uint32_t>(program.get());
        attr.info.info_len = sizeof info;
        attr.info.info = pointer(&info);
        syscall(SYS_bpf, BPF_OBJ_GET_INFO_BY_FD, &attr, sizeof attr);
        return counts().calls + info.recursion_misses;
    }

    /// What the kernel saw more than the program, modulo 2^64: of a moment in which nothing was counted, because a reader
    /// that is held up between the two would take what came meanwhile for calls of one of them only.
    std::uint64_t difference() const {
        std::uint64_t programs = seen_by_program();
        for (int left = kReads; true; --left) {
            const std::uint64_t kernel = seen_by_kernel();
            const std::uint64_t now = seen_by_program();
            if (now == programs || left == 0) {
                return kernel - now;
            }
            programs = now;
        }
    }
};

Witness::Witness() {
    const auto because = [this](const char* what) { hindrance_ = std::string(what) + ": " + std::strerror(errno); };
    const int id = tracepoint_id();
    auto counters = std::make_unique<Counters>();
    if (id == 0) {
        hindrance_ = "tracefs does not tell the tracepoint's number";
    } else if (!counters->open_program()) {
        because("a BPF program that counts");
    } else if (!counters->open_kernels(id)) {
        because("a perf counter");
    } else {
        counters->calls_before = counters->seen_by_kernel();
        counters->before = counters->difference();
        counters_ = std::move(counters);
    }
}

Witness::~Witness() = default;

std::uint64_t Witness::calls() const {
    return counters_ ? counters_->seen_by_kernel() - counters_->calls_before : 0;
}

std::uint64_t Witness::unseen() const {
    if (!counters_) {
        return 0;
    }
    const std::uint64_t more = counters_->difference() - counters_->before;
    return static_cast<std::int64_t>(more) > 0 ? more : 0;
}

std::uint64_t Witness::closed_by_tracers() const {
    return counters_ ? counters_->counts().closed_by_tracers : 0;
}

}  // namespace tcptrail::live
