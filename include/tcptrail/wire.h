/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * The record stream: what the BPF programs, the iterators and the collector write, what a recording holds,
 * and what the decoder reads. Plain C, shared by bpf/ and src/.
 *
 * - A record is a tt_head and what its type says follows; `size` is the whole record's, a multiple of 8.
 * - Byte order: the machine's (a recording names it); addresses are network order, as in sock_common;
 *   ports are host order.
 * - `time` is CLOCK_MONOTONIC in nanoseconds; TT_START carries what turns it into wall time. It is bpf_ktime_get_ns() of the
 *   hook, but for transitions that only a packet or a timer makes (is_stamped() in bpf/tcptrail.bpf.c): there it is
 *   tcp_sock.tcp_clock_cache, ktime_get_ns() of when the kernel began with that packet.
 * - A reader accepts a longer record than it knows (fields are only appended) and skips types it does not know.
 */
#ifndef TCPTRAIL_WIRE_H
#define TCPTRAIL_WIRE_H

#ifdef __bpf__
#include <linux/types.h>
typedef __u8 tt_u8;
typedef __u16 tt_u16;
typedef __u32 tt_u32;
typedef __u64 tt_u64;
#else
#include <stdint.h>
typedef uint8_t tt_u8;
typedef uint16_t tt_u16;
typedef uint32_t tt_u32;
typedef uint64_t tt_u64;
#endif

#define TT_COMM 16 /* TASK_COMM_LEN */

enum tt_type {
    /* from hooks, through the ring buffer */
    TT_STEP = 1,     /* tt_step: a transition of a socket whose addresses went before */
    TT_OPEN = 2,     /* tt_open: a transition with the addresses */
    TT_CLOSE = 3,    /* tt_close: a transition to CLOSE, with the facts that say why */
    TT_ENDPOINT = 4, /* tt_open: the addresses alone, no transition; before a TT_CLOSE while addresses may be unknown */
    TT_PROCESS = 5,  /* tt_process: who an actor id is; before the actor's first use and after a rename */
    TT_ACCEPT = 6,   /* tt_step: `actor` took the connection out of the accept queue; states are unused */
    TT_RESET = 7,    /* tt_reset: a RST was sent or received for this socket */
    TT_DESTROY = 8,  /* tt_step: the full socket is gone (inet_csk_destroy_sock); sent where it tells something */
    TT_TIMEWAIT = 9, /* tt_timewait: fentry's view of time-wait sockets */
    /* from iterators, in snapshots */
    TT_SOCKET = 16, /* tt_socket: one socket as iter/tcp sees it */
    TT_HOLDER = 17, /* tt_holder: one file descriptor that refers to a TCP socket, from iter/task_file */
    /* from the collector */
    TT_START = 32,    /* tt_start, then text lines "key=value\n": the run's first record */
    TT_TICK = 33,     /* tt_head: nothing happened until `time` */
    TT_SNAPSHOT = 34, /* tt_snapshot: a snapshot begins or ends */
    TT_COUNTERS = 35, /* tt_counters: how complete the stream is so far */
    TT_NETNS = 36,    /* tt_netns, then text lines "key=value\n": settings or counters of one namespace */
    TT_CGROUP = 37,   /* tt_cgroup, then the path: names a cgroup id, or one process's container */
    TT_END = 38,      /* tt_head: the run's last record; ages and windows end here */
    /* from the reader of a recording, never in one */
    TT_GAP = 48, /* tt_head: what stood here is not in the files: a slow disk's, or damaged, or in a file not given */
};

enum tt_flags {
    TT_F_OWNED = 1 << 0,      /* sk_lock.owned: the current task made the transition */
    TT_F_BACKUP = 1 << 1,     /* written by the backup program: the recursion guard kept the main one from it */
    TT_F_HAS_SOCKET = 1 << 2, /* sk->sk_socket was set: a process has, or had until now, a descriptor */
    TT_F_SENT = 1 << 3,       /* TT_RESET: the RST was sent, else received */
    TT_F_LOOKED = 1 << 3,     /* a transition with TT_F_OWNED: the task was in a system call that looks at files (read,
                               * readlink, stat, …), as those do that look through /proc/PID/fd or iter/task_file. Such a
                               * one holds another's file for a moment; when the owner closes it just then, the kernel
                               * closes the socket in the looker's name */
    TT_F_END = 1 << 4,        /* TT_SNAPSHOT: the end, else the beginning */
    TT_F_KTHREAD = 1 << 5,    /* TT_PROCESS, TT_HOLDER: a kernel thread */
    TT_F_COUNTERS = 1 << 6,   /* TT_NETNS: counters, else settings */
    TT_F_OWNERS = 1 << 6,     /* TT_COUNTERS: all that lost_other has grown by since the last one told of owners only */
    TT_F_CONTAINER = 1 << 6,  /* TT_CGROUP: the text is a v1 path of process `tgid`, else the v2 path of `id` */
    TT_F_BOUND = 1 << 7,      /* the local port was chosen by the process (SOCK_BINDPORT_LOCK), not by connect() */
};

struct tt_head {
    tt_u16 size;     /* bytes, this head included */
    tt_u8 type;      /* enum tt_type */
    tt_u8 flags;     /* enum tt_flags */
    tt_u8 old_state; /* kernel state numbers, include/net/tcp_states.h; 0 where there is none */
    tt_u8 new_state;
    tt_u16 lport; /* host order; 0 until connect() has chosen one */
    tt_u64 time;  /* ns, CLOCK_MONOTONIC */
};

struct tt_step {
    struct tt_head head;
    tt_u64 cookie; /* sock_common.skc_cookie, as `ss -e` prints it */
    tt_u64 actor;  /* actor id (tt_process.id) of the current task if TT_F_OWNED and no kernel thread, else 0 */
};

struct tt_open {
    struct tt_step step;
    tt_u32 netns;    /* inode number of the socket's network namespace */
    tt_u16 family;   /* AF_INET 2, AF_INET6 10 */
    tt_u16 rport;    /* host order */
    tt_u8 laddr[16]; /* network order; IPv4 in the first four bytes, the rest zero */
    tt_u8 raddr[16];
    tt_u64 listener; /* cookie of the listener that this socket was cloned from; 0: none or not known */
};

enum tt_close_flags {
    TT_C_DEAD = 1 << 0,     /* SOCK_DEAD: no process has it any more */
    TT_C_DONE = 1 << 1,     /* SOCK_DONE: the peer's FIN has come */
    TT_C_LINGER2 = 1 << 2,  /* tcp_sock.linger2 < 0: no FIN_WAIT2 is kept */
    TT_C_KEEPOPEN = 1 << 3, /* SOCK_KEEPOPEN: keepalive is on */
    TT_C_LINGER = 1 << 4,   /* SOCK_LINGER */
    TT_C_ACKED = 1 << 5,    /* a request socket whose peer has completed the handshake: the accept queue had no room */
};

struct tt_close {
    struct tt_step step;
    tt_u64 bytes_acked;    /* tcp_sock.bytes_acked: counts SYN and FIN too */
    tt_u64 bytes_received; /* tcp_sock.bytes_received: counts FIN too */
    tt_u32 netns;
    tt_u32 unread;          /* rcv_nxt - copied_seq: bytes that the process never read; a FIN counts one */
    tt_u32 total_retrans;   /* segments, tcp_sock.total_retrans */
    tt_u32 srtt_us;         /* tcp_sock.srtt_us >> 3 */
    tt_u32 tw_count;        /* time-wait sockets of the namespace just now */
    tt_u32 tw_max;          /* sysctl tcp_max_tw_buckets; ~0: not known (kernels before 6.1) */
    tt_u16 sk_err;          /* errno */
    tt_u16 sk_err_soft;     /* errno */
    tt_u16 segs_out;        /* saturated */
    tt_u16 fin_timeout_s;   /* how long a FIN_WAIT2 would be kept: linger2 or sysctl tcp_fin_timeout */
    tt_u8 shutdown;         /* 1 RCV, 2 SEND */
    tt_u8 close_flags;      /* enum tt_close_flags */
    tt_u8 retransmits;      /* icsk_retransmits: tries of the segment at the head */
    tt_u8 probes_out;       /* icsk_probes_out */
    tt_u32 user_timeout_ms; /* icsk_user_timeout */
};

struct tt_process {
    struct tt_head head;
    tt_u64 id;       /* (task.start_boottime >> 10) << 22 | tid */
    tt_u64 start_ns; /* start of the thread group leader, ns since boot (CLOCK_BOOTTIME) */
    tt_u64 cgroup;   /* cgroup v2 id */
    tt_u32 tgid;
    tt_u32 netns;         /* of the process */
    char comm[TT_COMM];   /* of the thread group leader */
    char thread[TT_COMM]; /* of the thread itself */
};

struct tt_reset {
    struct tt_head head; /* old_state: the socket's state at that moment */
    tt_u64 cookie;
    tt_u32 reason; /* enum sk_rst_reason; 0 where the kernel gives none */
    tt_u32 pad;
};

enum tt_timewait_event {
    TT_TW_ENTER = 1,  /* tcp_time_wait() was called for the full socket; old_state: TIME_WAIT or FIN_WAIT2 */
    TT_TW_HASHED = 2, /* the time-wait socket stands */
    TT_TW_KILLED = 3, /* it is gone */
    TT_TW_EARLY = 4,  /* it goes before its timer (inet_twsk_deschedule_put); TT_TW_KILLED follows */
};

struct tt_timewait {
    struct tt_head head;
    tt_u64 cookie;
    tt_u32 event; /* enum tt_timewait_event */
    tt_u32 netns;
};

struct tt_socket {
    struct tt_head head; /* new_state: the state; old_state: tw_substate of a time-wait socket, else 0 */
    tt_u64 cookie;
    tt_u32 netns;
    tt_u16 family;
    tt_u16 rport;
    tt_u8 laddr[16];
    tt_u8 raddr[16];
    tt_u64 inode;       /* of the socket's file; 0: no process has it */
    tt_u64 bytes_acked; /* as in tt_close */
    tt_u64 bytes_received;
    tt_u32 unread;
    tt_u32 total_retrans; /* of a request socket: SYN-ACKs sent again */
    tt_u32 srtt_us;
    tt_u32 remaining_ms; /* time-wait: until its timer; else 0 */
    tt_u32 last_recv_ms; /* since data or FIN last came: tcp_sock.rcv_tstamp of a full socket; LISTEN: since it sent a
                             * SYN cookie, to a second; ~0: not known, or never */
    tt_u32 ack_backlog;  /* LISTEN: accept queue now */
    tt_u32 max_ack_backlog; /* LISTEN: its limit */
    tt_u32 syn_qlen;        /* LISTEN: request sockets now */
    tt_u32 syn_young;       /* LISTEN: those that never retransmitted */
    tt_u32 drops;           /* sk_drops */
    tt_u32 uid;
    tt_u8 close_flags; /* enum tt_close_flags */
    tt_u8 shutdown;
    tt_u8 reuseport; /* sk_reuseport */
    tt_u8 v6only;
    tt_u64 listener;    /* as in tt_open; of a request socket too */
    tt_u32 keepalive_s; /* TCP_KEEPIDLE; 0: the namespace's tcp_keepalive_time. Counts with TT_C_KEEPOPEN alone */
    tt_u8 reuse;        /* SO_REUSEADDR; of a time-wait socket too */
    tt_u8 pad[3];
};

struct tt_holder {
    struct tt_process process; /* head.type TT_HOLDER; thread empty */
    tt_u64 cookie;
    tt_u32 fd;
    tt_u32 socket_netns; /* the socket's, which may not be the process's; 0: not told */
};

struct tt_start {
    struct tt_head head;
    tt_u64 realtime_offset_ns; /* CLOCK_REALTIME - CLOCK_MONOTONIC */
    tt_u64 boottime_offset_ns; /* CLOCK_BOOTTIME - CLOCK_MONOTONIC */
    /* text: version, kernel, machine, boot_id, cpus, hook.*, report_every_ns */
};

enum tt_snapshot_what {
    TT_SNAP_SOCKETS = 1 << 0, /* iter/tcp of namespace `netns`, all states */
    TT_SNAP_HOLDERS = 1 << 1, /* iter/task_file, all processes */
    TT_SNAP_FIRST = 1 << 2,   /* the one at the start of the run */
    TT_SNAP_RESYNC = 1 << 3,  /* made because something was lost */
    TT_SNAP_REPORT = 1 << 4,  /* made for a report */
    TT_SNAP_MARK = 1 << 5,    /* end of a whole set, all namespaces: reports may be cut here */
    TT_SNAP_LAST = 1 << 6,    /* the run ends with this one: its report is cut at TT_END */
};

struct tt_snapshot {
    struct tt_head head;
    tt_u32 what;  /* enum tt_snapshot_what */
    tt_u32 netns; /* with TT_SNAP_SOCKETS */
};

struct tt_counters {
    struct tt_head head;
    tt_u64 lost; /* transitions for which the ring had no room */
    /* other records for which it had none (processes, accepts, resets, addresses), and those that were not written because
     * the recursion guard skipped their program */
    tt_u64 lost_other;
    tt_u64 missed;  /* transitions that no program saw: recursion misses less what the backup caught; what both
                          programs wrote (the tracker drops it, and knows) counts below: signed, in two's complement */
    tt_u64 counted; /* LISTEN -> SYN_RECV transitions that were counted and not sent (kernels before 6.13) */
};

struct tt_netns {
    struct tt_head head;
    tt_u32 netns;
    tt_u32 pad;
};

struct tt_cgroup {
    struct tt_head head;
    tt_u64 id;       /* cgroup v2 id */
    tt_u64 start_ns; /* with TT_F_CONTAINER: start of the process */
    tt_u32 tgid;     /* with TT_F_CONTAINER */
    tt_u32 pad;
};

#ifdef __cplusplus
#define TT_SIZE(type, bytes) static_assert(sizeof(struct type) == (bytes), "size of " #type)
#else
#define TT_SIZE(type, bytes) _Static_assert(sizeof(struct type) == (bytes), "size of " #type)
#endif
TT_SIZE(tt_head, 16);
TT_SIZE(tt_step, 32);
TT_SIZE(tt_open, 80);
TT_SIZE(tt_close, 88);
TT_SIZE(tt_process, 80);
TT_SIZE(tt_reset, 32);
TT_SIZE(tt_timewait, 32);
TT_SIZE(tt_socket, 152);
TT_SIZE(tt_holder, 96);
TT_SIZE(tt_start, 32);
TT_SIZE(tt_snapshot, 24);
TT_SIZE(tt_counters, 48);
TT_SIZE(tt_netns, 24);
TT_SIZE(tt_cgroup, 40);

#endif
