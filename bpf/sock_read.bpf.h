/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* Reads of sockets and tasks. Every change of byte order is here. */
#ifndef TCPTRAIL_SOCK_READ_H
#define TCPTRAIL_SOCK_READ_H

#include "kernel_types.bpf.h"

#include <bpf/bpf_core_read.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>

#include <tcptrail/wire.h>

static __always_inline __u64 sock_cookie(struct sock *sk) {
    __u64 cookie = sk->__sk_common.skc_cookie.counter;
    return cookie ? cookie : bpf_get_socket_cookie(sk); /* assigns one */
}

/* Into zeroed memory. */
static __always_inline void read_addresses(tt_u8 *laddr, tt_u8 *raddr, const struct sock_common *skc) {
    __u32 *local = (__u32 *)laddr, *remote = (__u32 *)raddr;
    if (skc->skc_family == AF_INET6) {
#pragma unroll
        for (int i = 0; i < 4; i++) {
            local[i] = skc->skc_v6_rcv_saddr.in6_u.u6_addr32[i];
            remote[i] = skc->skc_v6_daddr.in6_u.u6_addr32[i];
        }
        return;
    }
    local[0] = skc->skc_rcv_saddr;
    remote[0] = skc->skc_daddr;
}

/* Both the layout before 6.0 (sk_shutdown etc. are bytes there too) and after serve by CO-RE alone. */
static __always_inline __u8 sock_flags(const struct sock_common *skc) {
    unsigned long flags = skc->skc_flags;
    __u8 out = 0;
    if (flags & SOCK_DEAD_BIT)
        out |= TT_C_DEAD;
    if (flags & SOCK_DONE_BIT)
        out |= TT_C_DONE;
    if (flags & SOCK_KEEPOPEN_BIT)
        out |= TT_C_KEEPOPEN;
    if (flags & SOCK_LINGER_BIT)
        out |= TT_C_LINGER;
    return out;
}

/* One number for a thread in all its life: start in units of 1024 ns since boot (42 bits: 52 days until it wraps), tid. */
static __always_inline __u64 actor_id(__u64 start_boottime, __u32 tid) {
    return start_boottime >> 10 << 22 | (tid & 0x3fffff);
}

/* Seldom run: probed, because the verifier is slow to judge a load of a pointer (see transition()). */
static __always_inline void read_process(struct tt_process *out, struct task_struct *task) {
    struct task_struct *leader = BPF_CORE_READ(task, group_leader);
    out->id = actor_id(task->start_boottime, task->pid);
    out->start_ns = BPF_CORE_READ(leader, start_boottime);
    out->cgroup = BPF_CORE_READ(task, cgroups, dfl_cgrp, kn, id);
    out->tgid = task->tgid;
    out->netns = BPF_CORE_READ(task, nsproxy, net_ns, ns.inum); /* nsproxy is NULL in a dying task */
    bpf_core_read(out->comm, TT_COMM, &leader->comm);
    bpf_core_read(out->thread, TT_COMM, &task->comm);
}

/*
 * Whether the task is in a system call that looks at files and closes none (TT_F_LOOKED says why that counts). A task that
 * was killed in one closes its own. By the numbers of x86_64 and arm64; a 32-bit task's close may count as a look.
 */
static __always_inline int only_looks(struct task_struct *task) {
    if (task->flags & (PF_EXITING | PF_IO_WORKER))
        return 0;
    struct pt_regs *regs = (struct pt_regs *)bpf_task_pt_regs(task);
#if defined(__TARGET_ARCH_x86)
    __u64 call = regs->orig_ax;
    if (call < 64) /* read, open, stat, fstat, lstat, ioctl, pread64, readv */
        return (1ULL << 0 | 1ULL << 2 | 1ULL << 4 | 1ULL << 5 | 1ULL << 6 | 1ULL << 16 | 1ULL << 17 | 1ULL << 19) >>
                   call &
               1;
    /* getdents, readlink, getdents64, openat, newfstatat, readlinkat, kcmp, bpf, statx, openat2, pidfd_getfd */
    return call == 78 || call == 89 || call == 217 || call == 257 || call == 262 || call == 267 || call == 312 ||
           call == 321 || call == 332 || call == 437 || call == 438;
#elif defined(__TARGET_ARCH_arm64)
    int call = regs->syscallno;
    /* ioctl, openat, getdents64, read, readv, pread64, readlinkat, newfstatat, fstat, kcmp, bpf, statx, openat2, pidfd_getfd */
    return call == 29 || call == 56 || call == 61 || call == 63 || call == 65 || call == 67 || call == 78 ||
           call == 79 || call == 80 || call == 272 || call == 280 || call == 291 || call == 437 || call == 438;
#else
    (void)regs;
    return 0;
#endif
}

#endif
