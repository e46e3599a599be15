// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
/*
 * The hooks. Each program: filter, read, emit. bpf/README.md has the table of them.
 */
#include "emit.bpf.h"

char LICENSE[] SEC("license") = "Dual BSD/GPL";

const volatile struct tt_filter filter;
const volatile __u32 hz = 250; /* jiffies a second; the collector knows */
const volatile __u32 has_second_backup;
__u64 lport_set[65536 / 64]; /* written by the collector before `enabled` */
__u64 rport_set[65536 / 64];

/*
 * Which call the main program saw last, by CPU and by kind of context (sk_lock.owned): the backup program runs right
 * after it for the same call and emits when it finds another one here, because then the kernel's recursion guard has
 * skipped the main program. A softirq call that interrupts a process's call uses the other slot.
 */
struct tt_tokens tokens[TT_MAX_CPUS];
struct tt_tokens backup_tokens[TT_MAX_CPUS]; /* the same of the backup, for the second backup */

static __always_inline struct tt_token *token_slot(struct tt_tokens *of, int owned) {
    return &of[bpf_get_smp_processor_id() & (TT_MAX_CPUS - 1)].by_context[owned];
}

static __always_inline void leave_token(struct tt_token *token, struct sock *sk, int old, int new) {
    token->sk = sk;
    token->states = (__u32)old << 8 | (__u32) new;
}

/* A token serves once. */
static __always_inline int take_token(struct tt_token *token, struct sock *sk, int old, int new) {
    if (token->sk != sk || token->states != ((__u32)old << 8 | (__u32) new))
        return 0;
    token->sk = 0;
    return 1;
}

static __always_inline int has_port(const __u64 *set, __u16 port) {
    return set[port >> 6] >> (port & 63) & 1;
}

static __always_inline int is_listed_netns(__u32 inum) {
    int found = 0;
#pragma unroll
    for (__u32 i = 0; i < TT_MAX_NETNS; i++)
        found |= i < filter.netns_count && filter.netns[i] == inum;
    return found;
}

/* Without a list nothing of it is read. */
static __always_inline int is_wanted_netns(const struct net *net) {
    return !filter.netns_count || is_listed_netns(netns_number(net));
}

static __always_inline int wanted(struct sock *sk, const struct net *net, int old, int new) {
    if (filter.families) {
        __u32 bit = sk->__sk_common.skc_family == AF_INET ? 1 : 2;
        if (!(filter.families & bit))
            return 0;
    }
    if (!is_wanted_netns(net))
        return 0;
    if (filter.rports && new != TCP_LISTEN && old != TCP_LISTEN &&
        !has_port(rport_set, bpf_ntohs(sk->__sk_common.skc_dport)))
        return 0;
    if (filter.lports) {
        /* 0 before connect() has chosen one: what follows SYN_SENT tells user space whether it was wanted. */
        __u16 port = sk->__sk_common.skc_num;
        if (new == TCP_CLOSE) { /* skc_num is 0 again */
            struct tcp_sock *tp = bpf_skc_to_tcp_sock(sk);
            if (tp)
                port = bpf_ntohs(tp->inet_conn.icsk_inet.inet_sport);
        }
        if (port && old != TCP_SYN_SENT && !has_port(lport_set, port))
            return 0;
    }
    return 1;
}

/* Everything of a step but its head's first word, which completes it. */
static __always_inline void fill_step(struct tt_step *step, struct sock *sk, __u64 now, __u64 actor) {
    step->head.time = now;
    step->cookie = sock_cookie(sk);
    step->actor = actor;
}

static __always_inline struct tt_head step_head(struct sock *sk, __u16 size, __u8 type, __u8 flags, int old, int new) {
    struct tt_head head = make_head(size, type, flags);
    head.old_state = old;
    head.new_state = new;
    head.lport = sk->__sk_common.skc_num;
    return head;
}

static __always_inline void fill_endpoint(struct tt_open *open, struct sock *sk, const struct net *net) {
    open->netns = netns_number(net);
    open->family = sk->__sk_common.skc_family;
    open->rport = bpf_ntohs(sk->__sk_common.skc_dport);
    read_addresses(open->laddr, open->raddr, &sk->__sk_common);
}

static __always_inline __u64 listener_of(struct sock *sk) {
    if (!sk->sk_bpf_storage) /* nearly always: spare the call */
        return 0;
    struct tt_origin *found = bpf_sk_storage_get(&origin, sk, 0, 0);
    return found ? found->listener : 0;
}

/* Of a socket that was just born of it. */
static __always_inline __u64 parent_of(struct sock *child, const struct net *net) {
    __u64 listener = listener_of(child);
    if (listener)
        return listener;
    struct tt_listening at = listening_at(&child->__sk_common, net, child->__sk_common.skc_num);
    __u64 *found = bpf_map_lookup_elem(&listening, &at);
    if (!found) {
        __builtin_memset(at.laddr, 0, sizeof(at.laddr));
        found = bpf_map_lookup_elem(&listening, &at);
    }
    return found ? *found : 0;
}

static __always_inline void emit_open(struct tt_log *log, struct sock *sk, const struct net *net, int old, int new,
                                      __u8 flags, __u64 now, __u64 actor) {
    __u64 listener = 0;
    if (old == TCP_LISTEN || old == TCP_SYN_RECV)
        listener = parent_of(sk, net);
    struct tt_open *open = reserve_transition(log, sizeof(*open));
    if (!open)
        return;
    fill_step(&open->step, sk, now, actor);
    fill_endpoint(open, sk, net);
    open->listener = listener;
    commit(&open->step.head, step_head(sk, sizeof(*open), TT_OPEN, flags, old, new));
}

static __always_inline void emit_endpoint(struct tt_log *log, struct sock *sk, const struct net *net, __u16 lport,
                                          __u64 now) {
    __u64 listener = listener_of(sk);
    struct tt_open *open = reserve(log, sizeof(*open));
    if (!open)
        return;
    fill_step(&open->step, sk, now, 0);
    fill_endpoint(open, sk, net);
    open->listener = listener;
    struct tt_head head = make_head(sizeof(*open), TT_ENDPOINT, 0);
    head.lport = lport;
    commit(&open->step.head, head);
}

static __always_inline void emit_close(struct tt_log *log, struct sock *sk, const struct net *net, int old, __u8 flags,
                                       __u64 now, __u64 actor) {
    struct tcp_sock *tp = bpf_skc_to_tcp_sock(sk);
    if (!tp)
        return;
    __u16 lport = bpf_ntohs(tp->inet_conn.icsk_inet.inet_sport); /* skc_num is 0 again by now */
    if (!(flags & TT_F_HAS_SOCKET) && !(sk->__sk_common.skc_flags & SOCK_DEAD_BIT)) {
        /* created for those that stood in the queue before the trace */
        struct tt_origin *found = bpf_sk_storage_get(&origin, sk, 0, BPF_SK_STORAGE_GET_F_CREATE);
        if (found && !found->unaccepted_end) {
            found->unaccepted_end = 1;
            __sync_fetch_and_add(&shared.ends_awaited, 1);
        }
    }
    if (old == TCP_LISTEN)
        forget_listener(sk, net, sock_cookie(sk), lport);
    if (shared.addresses)
        emit_endpoint(log, sk, net, lport, now);
    struct tt_close *close = reserve_transition(log, sizeof(*close));
    if (!close)
        return;
    fill_step(&close->step, sk, now, actor);
    close->bytes_acked = tp->bytes_acked;
    close->bytes_received = tp->bytes_received;
    close->netns = netns_number(net);
    close->unread = tp->rcv_nxt - tp->copied_seq;
    close->total_retrans = tp->total_retrans;
    close->srtt_us = tp->srtt_us >> 3;
    if (bpf_core_field_exists(net->ipv4.tcp_death_row.tw_refcount)) { /* 6.1 and later */
        close->tw_count = net->ipv4.tcp_death_row.tw_refcount.refs.counter - 1;
        close->tw_max = net->ipv4.tcp_death_row.sysctl_max_tw_buckets;
    } else {
        close->tw_max = ~0U;
    }
    close->sk_err = sk->sk_err;
    close->sk_err_soft = sk->sk_err_soft;
    __u32 segs = tp->segs_out;
    close->segs_out = segs > 0xffff ? 0xffff : segs;
    int linger2 = tp->linger2;
    __u32 fin_timeout = linger2 > 0 ? linger2 : net->ipv4.sysctl_tcp_fin_timeout; /* jiffies */
    close->fin_timeout_s = fin_timeout / hz;
    close->shutdown = sk->sk_shutdown;
    close->close_flags = sock_flags(&sk->__sk_common) | (linger2 < 0 ? TT_C_LINGER2 : 0);
    close->retransmits = tp->inet_conn.icsk_retransmits;
    close->probes_out = tp->inet_conn.icsk_probes_out;
    close->user_timeout_ms = tp->inet_conn.icsk_user_timeout;
    struct tt_head head = step_head(sk, sizeof(*close), TT_CLOSE, flags, old, TCP_CLOSE);
    head.lport = lport;
    commit(&close->step.head, head);
}

/*
 * Whether the kernel read its clock into the socket when it began with the packet, or the timer, that makes this transition: each
 * way to these pairs of states goes through tcp_rcv_established(), tcp_rcv_state_process(), tcp_write_timer_handler() or
 * tcp_keepalive_timer(), which call tcp_mstamp_refresh() first, with the socket locked. Not so what a process does, which may
 * own the socket (connect() under TCP_REPAIR) or not (close() of a listener ends its children).
 */
static __always_inline int is_stamped(struct sock *sk, int old, int new) {
    switch (new) {
        case TCP_ESTABLISHED: return old == TCP_SYN_SENT || old == TCP_SYN_RECV;
        case TCP_CLOSE_WAIT: return old == TCP_ESTABLISHED;
        case TCP_FIN_WAIT2:
        case TCP_CLOSING: return old == TCP_FIN_WAIT1;
        case TCP_CLOSE: /* without an error: a TT_RESET that came before has a later time */
            return (old == TCP_FIN_WAIT2 || old == TCP_CLOSING || old == TCP_LAST_ACK) && !sk->sk_err;
        default: return 0;
    }
}

/* When it happened, by the kernel's own stamp where there is one: to read the clock takes a third of this program's time. */
static __always_inline __u64 time_of(struct sock *sk, int old, int new, int owned) {
    if (bpf_core_field_exists(struct tcp_sock, tcp_clock_cache) && !owned && is_stamped(sk, old, new)) {
        struct tcp_sock *tp = bpf_skc_to_tcp_sock(sk);
        if (tp)
            return tp->tcp_clock_cache;
    }
    return bpf_ktime_get_ns();
}

static __always_inline void transition(struct sock *sk, int old, int new, __u8 flags) {
    if (sk->sk_protocol != IPPROTO_TCP || old == new)
        return;
    /* Here and not where they are used: the verifier looks each load of a pointer up in all of the kernel's types, anew on
     * each path to it, and that was half of the time it took to start. */
    const struct net *net = sk->__sk_common.skc_net.net;
    int has_socket = sk->sk_socket != 0;
    if (!wanted(sk, net, old, new))
        return;
    struct tt_log *log = this_log();
    if (!log)
        return;
    if (old == TCP_LISTEN && new == TCP_SYN_RECV) {
        if (!sk->__sk_common.skc_dport) { /* still a copy of the listener, its cookie too */
            COUNT(log, counted);
            return;
        }
        if (!shared.child_complete)
            shared.child_complete = 1;
    }
    int owned = sk->sk_lock.owned != 0;
    __u64 now = time_of(sk, old, new, owned);
    __u64 actor = 0;
    if (has_socket)
        flags |= TT_F_HAS_SOCKET;
    if (old == TCP_CLOSE && BPF_CORE_READ_BITFIELD(sk, sk_userlocks) & SOCK_BINDPORT_LOCK)
        flags |= TT_F_BOUND;
    if (owned) {
        flags |= TT_F_OWNED;
        actor = current_actor(log, now);
        int closes = new == TCP_FIN_WAIT1 || new == TCP_LAST_ACK || new == TCP_CLOSE;
        if (closes && only_looks(bpf_get_current_task_btf()))
            flags |= TT_F_LOOKED;
    }
    if (new == TCP_CLOSE) {
        emit_close(log, sk, net, old, flags, now, actor);
        return;
    }
    if (new == TCP_LISTEN) {
        int alone = !BPF_CORE_READ_BITFIELD(sk, __sk_common.skc_reuseport) && !sk->__sk_common.skc_bound_dev_if;
        note_listener(sk, net, sock_cookie(sk), sk->__sk_common.skc_num, alone);
    }
    if (old == TCP_CLOSE || old == TCP_LISTEN || (old == TCP_SYN_RECV && !shared.child_complete) || shared.addresses) {
        emit_open(log, sk, net, old, new, flags, now, actor);
        return;
    }
    struct tt_step *step = reserve_transition(log, sizeof(*step));
    if (!step)
        return;
    fill_step(step, sk, now, actor);
    commit(&step->head, step_head(sk, sizeof(*step), TT_STEP, flags, old, new));
}

SEC("tp_btf/inet_sock_set_state")
int BPF_PROG(on_set_state, struct sock *sk, int old, int new) {
    leave_token(token_slot(tokens, sk->sk_lock.owned != 0), sk, old, new);
    if (!shared.enabled)
        return 0;
    transition(sk, old, new, 0);
    return 0;
}

static __always_inline void catch_up(struct sock *sk, int old, int new) {
    struct tt_log *log = this_log();
    if (log)
        COUNT(log, caught);
    if (shared.enabled)
        transition(sk, old, new, TT_F_BACKUP);
}

/* Attached after on_set_state, so it runs after it. */
SEC("tp_btf/inet_sock_set_state")
int BPF_PROG(on_set_state_backup, struct sock *sk, int old, int new) {
    int owned = sk->sk_lock.owned != 0;
    if (has_second_backup)
        leave_token(token_slot(backup_tokens, owned), sk, old, new);
    if (!take_token(token_slot(tokens, owned), sk, old, new))
        catch_up(sk, old, new);
    return 0;
}

/*
 * Attached after the backup, where the kernel preempts programs: one task may then be held up in the main program and one
 * in the backup, and the guard skips both for whoever comes next on this CPU.
 */
SEC("tp_btf/inet_sock_set_state")
int BPF_PROG(on_set_state_second, struct sock *sk, int old, int new) {
    int owned = sk->sk_lock.owned != 0;
    int by_backup = take_token(token_slot(backup_tokens, owned), sk, old, new);
    int by_main = take_token(token_slot(tokens, owned), sk, old, new);
    if (!by_backup && !by_main)
        catch_up(sk, old, new);
    return 0;
}

SEC("tp_btf/tcp_destroy_sock")
int BPF_PROG(on_destroy, struct sock *sk) {
    if (!shared.enabled)
        return 0;
    if (!shared.addresses && !shared.ends_awaited) /* nearly always: keep it cheap */
        return 0;
    struct tt_origin *found = bpf_sk_storage_get(&origin, sk, 0, 0);
    int awaited = found && found->unaccepted_end;
    if (awaited)
        __sync_fetch_and_add(&shared.ends_awaited, -1);
    else if (!shared.addresses)
        return 0;
    if (!is_wanted_netns(sk->__sk_common.skc_net.net))
        return 0;
    struct tt_log *log = this_log();
    if (!log)
        return 0;
    __u64 now = bpf_ktime_get_ns();
    struct tt_step *step = reserve(log, sizeof(*step));
    if (!step)
        return 0;
    fill_step(step, sk, now, 0);
    commit(&step->head, step_head(sk, sizeof(*step), TT_DESTROY, 0, 0, 0));
    return 0;
}

static __always_inline void emit_accept(__u64 cookie, __u16 lport) {
    struct tt_log *log = this_log();
    if (!log)
        return;
    __u64 now = bpf_ktime_get_ns();
    __u64 actor = current_actor(log, now);
    struct tt_step *step = reserve(log, sizeof(*step));
    if (!step)
        return;
    step->head.time = now;
    step->cookie = cookie;
    step->actor = actor;
    struct tt_head head = make_head(sizeof(*step), TT_ACCEPT, TT_F_OWNED);
    head.lport = lport;
    commit(&step->head, head);
}

SEC("fentry/security_sock_graft")
int BPF_PROG(on_sock_graft, struct sock *sk, struct socket *parent) {
    __u16 family = sk->__sk_common.skc_family;
    if (!shared.enabled || (family != AF_INET && family != AF_INET6) || sk->sk_protocol != IPPROTO_TCP)
        return 0;
    if (!is_wanted_netns(sk->__sk_common.skc_net.net))
        return 0;
    emit_accept(sock_cookie(sk), sk->__sk_common.skc_num);
    return 0;
}

/*
 * bpf_rdonly_cast() makes plain loads of what would be a call each, and halves the program. It is no __ksym: for one that the
 * kernel lacks (before 6.2) libbpf 1.1 searches the kernel's modules, which takes CAP_SYS_ADMIN. The collector puts its number
 * where TT_CALL_RDONLY_CAST stands, and sets this; else the verifier drops the branch.
 */
const volatile __u32 has_rdonly_cast;

static __always_inline void *rdonly_cast(const void *address, __u64 type) {
    register const void *r1 asm("r1") = address;
    register __u64 r2 asm("r2") = type;
    register void *r0 asm("r0");
    asm volatile("call %[cast]"
                 : "=r"(r0), "+r"(r1), "+r"(r2)
                 : [cast] "i"(TT_CALL_RDONLY_CAST)
                 : "r3", "r4", "r5", "memory");
    return r0;
}
#define AS(type, address) ((const type *)rdonly_cast(address, bpf_core_type_id_kernel(type)))

/* As read_accepted(). */
static __always_inline int cast_accepted(const struct file *address) {
    const struct file *file = AS(struct file, address);
    const struct socket *socket = AS(struct socket, file->private_data);
    if (socket->file != address)
        return 0;
    const struct sock *sk = socket->sk;
    __u16 family = sk->__sk_common.skc_family;
    if ((family != AF_INET && family != AF_INET6) || sk->sk_protocol != IPPROTO_TCP)
        return 0;
    if (!is_wanted_netns(sk->__sk_common.skc_net.net))
        return 0;
    __u64 cookie = sk->__sk_common.skc_cookie.counter;
    if (cookie)
        emit_accept(cookie, sk->__sk_common.skc_num);
    return 0;
}

static __always_inline int read_accepted(struct file *file) {
    struct socket *socket = BPF_CORE_READ(file, private_data);
    if (BPF_CORE_READ(socket, file) != file) /* another thread has put something else at this number */
        return 0;
    struct sock *sk = BPF_CORE_READ(socket, sk);
    __u16 family = BPF_CORE_READ(sk, __sk_common.skc_family);
    if ((family != AF_INET && family != AF_INET6) || BPF_CORE_READ(sk, sk_protocol) != IPPROTO_TCP)
        return 0;
    if (filter.netns_count && !is_listed_netns(BPF_CORE_READ(sk, __sk_common.skc_net.net, ns.inum)))
        return 0;
    __u64 cookie = BPF_CORE_READ(sk, __sk_common.skc_cookie.counter);
    if (cookie)
        emit_accept(cookie, BPF_CORE_READ(sk, __sk_common.skc_num));
    return 0;
}

static __always_inline int accepted(long fd) {
    if (fd < 0 || !shared.enabled)
        return 0;
    struct task_struct *task = bpf_get_current_task_btf();
    struct file *file = 0;
    bpf_probe_read_kernel(&file, sizeof(file), task->files->fdt->fd + fd);
    return has_rdonly_cast ? cast_accepted(file) : read_accepted(file);
}

SEC("tracepoint/syscalls/sys_exit_accept")
int on_exit_accept(struct trace_event_raw_sys_exit *ctx) {
    return accepted(ctx->ret);
}

SEC("tracepoint/syscalls/sys_exit_accept4")
int on_exit_accept4(struct trace_event_raw_sys_exit *ctx) {
    return accepted(ctx->ret);
}

static __always_inline void emit_reset(const struct sock *sk, __u32 reason, __u8 flags) {
    if (!shared.enabled || !sk)
        return;
    __u64 cookie = sk->__sk_common.skc_cookie.counter;
    if (!cookie || !is_wanted_netns(sk->__sk_common.skc_net.net))
        return;
    struct tt_log *log = this_log();
    if (!log)
        return;
    __u64 now = bpf_ktime_get_ns();
    struct tt_reset *reset = reserve(log, sizeof(*reset));
    if (!reset)
        return;
    struct tt_head head = make_head(sizeof(*reset), TT_RESET, flags);
    head.old_state = sk->__sk_common.skc_state;
    head.lport = sk->__sk_common.skc_num;
    reset->head.time = now;
    reset->cookie = cookie;
    reset->reason = reason;
    commit(&reset->head, head);
}

SEC("tp_btf/tcp_receive_reset")
int BPF_PROG(on_receive_reset, struct sock *sk) {
    emit_reset(sk, 0, 0);
    return 0;
}

/* Before 6.10 the tracepoint gives no reason; asking for the third argument there would not load. */
SEC("tp_btf/tcp_send_reset")
int BPF_PROG(on_send_reset_v1, struct sock *sk, void *skb) {
    emit_reset(sk, 0, TT_F_SENT);
    return 0;
}

SEC("tp_btf/tcp_send_reset")
int BPF_PROG(on_send_reset_v2, struct sock *sk, void *skb, int reason) {
    emit_reset(sk, reason, TT_F_SENT);
    return 0;
}

/* A process or a thread gets another name (exec, prctl): say again who it is when it next acts. */
SEC("tp_btf/task_rename")
int BPF_PROG(on_rename, struct task_struct *task, const char *comm) {
    if (task->pid == task->tgid && task->signal->nr_threads > 1) {
        all_are_news(); /* every thread carries the leader's name */
        return 0;
    }
    known[task->pid & (KNOWN_SLOTS - 1)] = 0;
    return 0;
}

#include "iterate.bpf.h"
#include "timewait.bpf.h"
