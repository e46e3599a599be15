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

static __always_inline void read_process(struct tt_process *out, struct task_struct *task) {
    struct task_struct *leader = task->group_leader;
    out->id = actor_id(task->start_boottime, task->pid);
    out->start_ns = leader->start_boottime;
    out->cgroup = task->cgroups->dfl_cgrp->kn->id;
    out->tgid = task->tgid;
    out->netns = BPF_CORE_READ(task, nsproxy, net_ns, ns.inum); /* nsproxy is NULL in a dying task */
    bpf_core_read(out->comm, TT_COMM, &leader->comm);
    bpf_core_read(out->thread, TT_COMM, &task->comm);
}

#endif
