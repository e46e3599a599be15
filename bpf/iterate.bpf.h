/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * The iterators: what stands in the kernel now, as records in the same words as the hooks'. One read of
 * iter/tcp shows the namespace of the thread that created the iterator; iter/task_file shows all processes.
 */
#ifndef TCPTRAIL_ITERATE_H
#define TCPTRAIL_ITERATE_H

static __always_inline __u32 jiffies_to_ms(__u64 jiffies) {
    __u64 ms = jiffies * 1000 / hz;
    return ms > 0xfffffffe ? 0xfffffffe : ms;
}

/* Since the listener last sent a SYN cookie, to a second: tcp_synq_overflow() keeps that for syncookies' own sake. */
static __always_inline __u32 since_syn_cookie(struct sock *sk, struct tcp_sock *tp) {
    __u32 stamp;
    if (BPF_CORE_READ_BITFIELD_PROBED(sk, __sk_common.skc_reuseport)) /* one for the group */
        stamp = BPF_CORE_READ(sk, sk_reuseport_cb, synq_overflow_ts);
    else
        stamp = tp->rx_opt.ts_recent_stamp;
    return stamp ? jiffies_to_ms((__u32)((__u32)bpf_jiffies64() - stamp)) : ~0U;
}

static __always_inline void read_full_socket(struct tt_socket *row, struct tcp_sock *tp) {
    struct sock *sk = (struct sock *)tp;
    row->cookie = bpf_get_socket_cookie(sk);
    row->head.lport = sk->__sk_common.skc_num;
    row->close_flags = sock_flags(&sk->__sk_common);
    row->shutdown = sk->sk_shutdown;
    row->reuseport = BPF_CORE_READ_BITFIELD_PROBED(sk, __sk_common.skc_reuseport);
    row->drops = BPF_CORE_READ(sk, sk_drops.counter);
    struct socket *socket = sk->sk_socket;
    if (socket) {
        row->head.flags |= TT_F_HAS_SOCKET;
        row->inode = BPF_CORE_READ(socket, file, f_inode, i_ino);
    }
    if (BPF_CORE_READ_BITFIELD_PROBED(sk, sk_userlocks) & SOCK_BINDPORT_LOCK)
        row->head.flags |= TT_F_BOUND;
    if (row->head.new_state == TCP_LISTEN) {
        row->ack_backlog = sk->sk_ack_backlog;
        row->max_ack_backlog = sk->sk_max_ack_backlog;
        row->syn_qlen = tp->inet_conn.icsk_accept_queue.qlen.counter;
        row->syn_young = tp->inet_conn.icsk_accept_queue.young.counter;
        row->last_recv_ms = since_syn_cookie(sk, tp);
        note_listener(sk, sk->__sk_common.skc_net.net, row->cookie, row->head.lport,
                      !row->reuseport && !sk->__sk_common.skc_bound_dev_if);
        return;
    }
    struct tt_origin *found = bpf_sk_storage_get(&origin, sk, 0, 0);
    if (found)
        row->listener = found->listener;
    row->bytes_acked = tp->bytes_acked;
    row->bytes_received = tp->bytes_received;
    row->unread = tp->rcv_nxt - tp->copied_seq;
    row->total_retrans = tp->total_retrans;
    row->srtt_us = tp->srtt_us >> 3;
    row->keepalive_s = tp->keepalive_time / hz;
    row->last_recv_ms = jiffies_to_ms((__u32)((__u32)bpf_jiffies64() - tp->rcv_tstamp));
}

static __always_inline void read_timewait(struct tt_socket *row, struct tcp_timewait_sock *tw) {
    row->head.old_state = tw->tw_sk.tw_substate;
    __s64 left = (__s64)tw->tw_sk.tw_timer.expires - (__s64)bpf_jiffies64();
    row->remaining_ms = left > 0 ? jiffies_to_ms(left) : 0;
}

static __always_inline void read_request(struct tt_socket *row, struct tcp_request_sock *request) {
    struct request_sock *req = &request->req.req;
    row->total_retrans = BPF_CORE_READ_BITFIELD_PROBED(req, num_timeout);
    if (BPF_CORE_READ_BITFIELD_PROBED(&request->req, acked))
        row->close_flags |= TT_C_ACKED;
    row->listener = BPF_CORE_READ(req, __req_common.skc_listener, __sk_common.skc_cookie.counter);
}

SEC("iter/tcp")
int each_socket(struct bpf_iter__tcp *ctx) {
    struct sock_common *skc = ctx->sk_common;
    if (!skc)
        return 0;
    struct tt_socket row = {};
    row.head = make_head(sizeof(row), TT_SOCKET, 0);
    row.head.new_state = skc->skc_state;
    row.head.lport = skc->skc_num;
    row.head.time = bpf_ktime_get_ns();
    row.cookie = skc->skc_cookie.counter;
    row.netns = skc->skc_net.net->ns.inum;
    row.family = skc->skc_family;
    row.rport = bpf_ntohs(skc->skc_dport);
    row.uid = ctx->uid;
    row.last_recv_ms = ~0U;
    row.reuse = BPF_CORE_READ_BITFIELD_PROBED(skc, skc_reuse) != 0;
    row.v6only = BPF_CORE_READ_BITFIELD_PROBED(skc, skc_ipv6only);
    read_addresses(row.laddr, row.raddr, skc);
    struct tcp_sock *tp = bpf_skc_to_tcp_sock(skc);
    if (tp) {
        read_full_socket(&row, tp);
    } else {
        struct tcp_timewait_sock *tw = bpf_skc_to_tcp_timewait_sock(skc);
        if (tw) {
            read_timewait(&row, tw);
        } else {
            struct tcp_request_sock *request = bpf_skc_to_tcp_request_sock(skc);
            if (request)
                read_request(&row, request);
        }
    }
    bpf_seq_write(ctx->meta->seq, &row, sizeof(row));
    return 0;
}

SEC("iter/task_file")
int each_file(struct bpf_iter__task_file *ctx) {
    struct task_struct *task = ctx->task; /* local copies: the verifier wants these tested, not ctx's */
    struct file *file = ctx->file;
    if (!task || !file)
        return 0;
    if (!shared.reader)
        shared.reader = bpf_get_current_pid_tgid() >> 32;
    struct socket *socket = bpf_sock_from_file(file);
    if (!socket)
        return 0;
    struct sock *sk = socket->sk;
    if (!sk)
        return 0;
    __u16 family = BPF_CORE_READ(sk, __sk_common.skc_family);
    if ((family != AF_INET && family != AF_INET6) || BPF_CORE_READ(sk, sk_protocol) != IPPROTO_TCP)
        return 0;
    struct tt_holder row = {};
    struct task_struct *leader = task->group_leader;
    row.process.head = make_head(sizeof(row), TT_HOLDER, leader->flags & PF_KTHREAD ? TT_F_KTHREAD : 0);
    row.process.head.new_state = BPF_CORE_READ(sk, __sk_common.skc_state);
    row.process.head.time = bpf_ktime_get_ns();
    read_process(&row.process, leader);
    row.cookie = bpf_get_socket_cookie(sk); /* assigns one: its namespace may be read after this */
    row.fd = ctx->fd;
    row.socket_netns = BPF_CORE_READ(sk, __sk_common.skc_net.net, ns.inum);
    bpf_seq_write(ctx->meta->seq, &row, sizeof(row));
    return 0;
}

#endif
