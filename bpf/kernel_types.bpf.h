/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * The kernel's types, as far as the programs read them. CO-RE moves every access to where the running kernel has
 * the field, so the order and the gaps here mean nothing. No vmlinux.h, and no BTF of the machine that builds.
 */
#ifndef TCPTRAIL_KERNEL_TYPES_H
#define TCPTRAIL_KERNEL_TYPES_H

#include <linux/bpf.h>
#include <linux/types.h>

#define AF_INET 2
#define AF_INET6 10
#define IPPROTO_TCP 6
/* include/linux/sched.h */
#define PF_EXITING 0x00000004
#define PF_IO_WORKER 0x00000010
#define PF_KTHREAD 0x00200000

/* include/net/tcp_states.h */
enum {
    TCP_ESTABLISHED = 1,
    TCP_SYN_SENT,
    TCP_SYN_RECV,
    TCP_FIN_WAIT1,
    TCP_FIN_WAIT2,
    TCP_TIME_WAIT,
    TCP_CLOSE,
    TCP_CLOSE_WAIT,
    TCP_LAST_ACK,
    TCP_LISTEN,
    TCP_CLOSING,
    TCP_NEW_SYN_RECV,
};

/* enum sock_flags, include/net/sock.h: the bits used here never moved */
#define SOCK_DEAD_BIT (1UL << 0)
#define SOCK_DONE_BIT (1UL << 1)
#define SOCK_KEEPOPEN_BIT (1UL << 3)
#define SOCK_LINGER_BIT (1UL << 4)
#define SOCK_BINDPORT_LOCK 8 /* sk_userlocks, include/net/sock.h */

#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)

typedef struct {
    int counter;
} atomic_t;

typedef struct {
    long long counter;
} atomic64_t;

typedef struct {
    atomic_t refs;
} refcount_t;

struct ns_common {
    unsigned int inum;
};

struct inet_timewait_death_row {
    refcount_t tw_refcount;
    int sysctl_max_tw_buckets;
};

struct netns_ipv4 {
    struct inet_timewait_death_row tcp_death_row;
    int sysctl_tcp_fin_timeout;
};

struct net {
    struct ns_common ns;
    struct netns_ipv4 ipv4;
    __u64 net_cookie;
};

typedef struct {
    struct net *net;
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
    unsigned char skc_reuse : 4;
    unsigned char skc_reuseport : 1;
    unsigned char skc_ipv6only : 1;
    int skc_bound_dev_if;
    possible_net_t skc_net;
    struct in6_addr skc_v6_daddr;
    struct in6_addr skc_v6_rcv_saddr;
    atomic64_t skc_cookie;
    unsigned long skc_flags;
    struct sock *skc_listener; /* of a request socket; shares its place with skc_flags */
};

typedef struct {
    int owned;
} socket_lock_t;

struct inode {
    unsigned long i_ino;
};

struct file {
    struct inode *f_inode;
    void *private_data;
};

struct socket {
    struct file *file;
    struct sock *sk;
};

struct sock_reuseport {
    unsigned int synq_overflow_ts;
};

struct sock {
    struct sock_common __sk_common;
    socket_lock_t sk_lock;
    atomic_t sk_drops;
    int sk_err;
    int sk_err_soft;
    __u32 sk_ack_backlog;
    __u32 sk_max_ack_backlog;
    unsigned char sk_userlocks : 4;
    __u8 sk_shutdown;
    __u16 sk_protocol;
    struct socket *sk_socket;
    struct sock_reuseport *sk_reuseport_cb;
    void *sk_bpf_storage;
};

struct inet_sock {
    struct sock sk;
    __be16 inet_sport;
};

struct request_sock_queue {
    atomic_t qlen;
    atomic_t young;
};

struct inet_connection_sock {
    struct inet_sock icsk_inet;
    struct request_sock_queue icsk_accept_queue;
    __u32 icsk_user_timeout;
    __u8 icsk_retransmits;
    __u8 icsk_probes_out;
};

struct tcp_options_received {
    int ts_recent_stamp;
};

struct tcp_sock {
    struct inet_connection_sock inet_conn;
    struct tcp_options_received rx_opt;
    __u64 bytes_received;
    __u64 bytes_acked;
    __u32 rcv_nxt;
    __u32 copied_seq;
    __u32 segs_out;
    __u32 srtt_us;
    __u32 total_retrans;
    __u32 rcv_tstamp;
    __u64 tcp_clock_cache; /* CLOCK_MONOTONIC, ns, of the packet or timer at hand; 5.0 and later */
    unsigned int keepalive_time;
    int linger2;
};

struct timer_list {
    unsigned long expires;
};

struct inet_timewait_sock {
    struct sock_common __tw_common;
    volatile unsigned char tw_substate;
    __be16 tw_sport;
    struct timer_list tw_timer;
};

struct tcp_timewait_sock {
    struct inet_timewait_sock tw_sk;
};

struct request_sock {
    struct sock_common __req_common;
    unsigned char num_timeout : 7;
};

struct inet_request_sock {
    struct request_sock req;
    unsigned short acked : 1;
};

struct tcp_request_sock {
    struct inet_request_sock req;
};

struct kernfs_node {
    __u64 id;
};

struct cgroup {
    struct kernfs_node *kn;
};

struct css_set {
    struct cgroup *dfl_cgrp;
};

struct nsproxy {
    struct net *net_ns;
};

struct fdtable {
    unsigned int max_fds;
    struct file **fd;
};

struct files_struct {
    struct fdtable *fdt;
};

struct signal_struct {
    int nr_threads;
};

struct task_struct {
    unsigned int flags;
    int pid;
    int tgid;
    __u64 start_boottime;
    struct task_struct *group_leader;
    char comm[16];
    struct css_set *cgroups;
    struct nsproxy *nsproxy;
    struct files_struct *files;
    struct signal_struct *signal;
};

/* The number of the system call that the task is in. */
struct pt_regs {
#if defined(__TARGET_ARCH_arm64)
    int syscallno;
#else
    unsigned long orig_ax; /* x86 */
#endif
};

struct seq_file;

struct bpf_iter_meta {
    struct seq_file *seq;
    __u64 session_id;
    __u64 seq_num;
};

struct bpf_iter__tcp {
    struct bpf_iter_meta *meta;
    struct sock_common *sk_common;
    unsigned int uid;
};

struct bpf_iter__task_file {
    struct bpf_iter_meta *meta;
    struct task_struct *task;
    __u32 fd;
    struct file *file;
};

struct trace_event_raw_sys_exit {
    long id;
    long ret;
};

#pragma clang attribute pop

#endif
