/* SPDX-License-Identifier: GPL-2.0 OR Apache-2.0
 * The few kernel fields that the benchmark's programs read, by name only: CO-RE finds their offsets in the running kernel's BTF.
 * Not a copy of a kernel header, and not of the machine that built it. */
#pragma once

#include <linux/bpf.h>
#include <linux/types.h>

#include <bpf/bpf_helpers.h>

#include <bpf/bpf_core_read.h>
#include <bpf/bpf_tracing.h>

#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)

typedef struct {
    long long counter;
} atomic64_t;

struct ns_common {
    unsigned int inum;
};

struct net {
    struct ns_common ns;
};

typedef struct {
    struct net* net;
} possible_net_t;

struct in6_addr {
    union {
        __u8 u6_addr8[16];
        __be32 u6_addr32[4];
    } in6_u;
};

struct sock_common {
    __be32 skc_daddr;
    __be32 skc_rcv_saddr;
    __be16 skc_dport;
    __u16 skc_num;
    unsigned short skc_family;
    volatile unsigned char skc_state;
    possible_net_t skc_net;
    struct in6_addr skc_v6_daddr;
    struct in6_addr skc_v6_rcv_saddr;
    atomic64_t skc_cookie;
    unsigned long skc_flags;
};

typedef struct {
    int owned;
} socket_lock_t;

struct sock {
    struct sock_common __sk_common;
    socket_lock_t sk_lock;
    __u16 sk_protocol; /* a bit-field before 5.6, which this benchmark does not serve */
    int sk_err;
    __u8 sk_shutdown;
};

struct tcp_sock {
    __u64 bytes_received;
    __u64 bytes_acked;
    __u64 bytes_sent;
    __u64 bytes_retrans;
    __u32 segs_in;
    __u32 segs_out;
    __u32 data_segs_in;
    __u32 data_segs_out;
    __u32 rcv_nxt;
    __u32 copied_seq;
    __u32 snd_nxt;
    __u32 snd_una;
    __u32 write_seq;
    __u32 srtt_us;
    __u32 total_retrans;
    __u32 retrans_out;
    __u32 packets_out;
    __u32 lost;
    __u32 snd_wnd;
    __u32 rcv_wnd;
};

struct task_struct {
    int pid;
    int tgid;
    __u64 start_boottime;
    char comm[16];
    struct task_struct* group_leader;
};

#pragma clang attribute pop

#define IPPROTO_TCP 6
#define AF_INET6 10

char LICENSE[] SEC("license") = "Dual BSD/GPL";
