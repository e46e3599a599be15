/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* The logs: reserve, count what found no room, commit without waking anybody. README.md says why this is safe. */
#ifndef TCPTRAIL_EMIT_H
#define TCPTRAIL_EMIT_H

#include "shared.h"
#include "sock_read.bpf.h"

/* Set by the collector before loading, together with the size of `logs`; both are powers of two. */
const volatile __u64 log_bytes = 4096; /* of one log */
const volatile __u32 log_count = 1;    /* fewer than CPUs is allowed: a log may have several writers */

/* The logs, a tt_log each; the collector maps them. */
struct {
    __uint(type, BPF_MAP_TYPE_ARRAY);
    __uint(map_flags, BPF_F_MMAPABLE);
    __uint(max_entries, 1);
    __uint(key_size, sizeof(__u32));
    __uint(value_size, sizeof(struct tt_log) + 4096 + TT_LOG_SLACK);
} logs SEC(".maps");

/* The cookies of listeners by what they listen on: their children are told by their own address. */
struct {
    __uint(type, BPF_MAP_TYPE_HASH);
    __uint(max_entries, TT_LISTENING);
    __type(key, struct tt_listening);
    __type(value, __u64);
} listening SEC(".maps");

/*
 * The cookie of the listener that a socket is, or was cloned from, where `listening` cannot tell: a copy for each child costs
 * the kernel two allocations, a tenth of what a short connection takes. It is made before the child's first event.
 */
struct {
    __uint(type, BPF_MAP_TYPE_SK_STORAGE);
    __uint(map_flags, BPF_F_NO_PREALLOC | BPF_F_CLONE);
    __type(key, int);
    __type(value, struct tt_origin);
} origin SEC(".maps");

/* Shared with the collector through .bss. */
struct tt_shared shared;

/* The last thread for each slot whose TT_PROCESS went out: its actor id plus the epoch. */
#define KNOWN_SLOTS 8192
__u64 known[KNOWN_SLOTS];
const volatile __u32 forget_processes; /* renames are not seen: an actor is news each time; the collector knows */

/* TT_PROCESS records so far. User space remembers the last so many and no more: TableLimits::processes is four times
 * this, Preamble::process_slots as many as KNOWN_SLOTS. So after each so many all are news again, the ones that live on too. */
#define TOLD_AT_MOST 16384
struct tt_told told;

/*
 * The inode numbers of network namespaces by their cookies, which are never given out twice: cookie << 32 | inode number.
 * The number itself stands in a line of struct net that every new socket of every CPU writes (the count of references):
 * two such misses a socket were a fifth of what on_set_state costs.
 */
#define NETNS_SLOTS 64
__u64 netns_numbers[NETNS_SLOTS];

static __always_inline __u32 netns_number(const struct net *net) {
    __u64 cookie = net->net_cookie;
    if (cookie >> 32)
        return net->ns.inum;
    __u64 *slot = &netns_numbers[cookie & (NETNS_SLOTS - 1)];
    __u64 number = *(volatile __u64 *)slot;
    if (number >> 32 == cookie && (__u32)number)
        return number;
    number = net->ns.inum;
    *(volatile __u64 *)slot = cookie << 32 | number;
    return number;
}

static __always_inline struct tt_listening listening_at(const struct sock_common *skc, const struct net *net,
                                                        __u16 lport) {
    struct tt_listening at = {};
    __u8 remote[16];
    at.netns = netns_number(net);
    at.lport = lport;
    at.family = skc->skc_family;
    read_addresses(at.laddr, remote, skc);
    return at;
}

/* BPF_NOEXIST: a listen() that fails for want of the address shows LISTEN too, for a moment. */
static __always_inline void note_listener(struct sock *sk, const struct net *net, __u64 cookie, __u16 lport,
                                          int alone) {
    if (alone) {
        struct tt_listening at = listening_at(&sk->__sk_common, net, lport);
        if (bpf_map_update_elem(&listening, &at, &cookie, BPF_NOEXIST) == 0)
            return;
        __u64 *known = bpf_map_lookup_elem(&listening, &at);
        if (known && *known == cookie)
            return;
    }
    struct tt_origin *own = bpf_sk_storage_get(&origin, sk, 0, BPF_SK_STORAGE_GET_F_CREATE);
    if (own)
        own->listener = cookie;
}

static __always_inline void forget_listener(struct sock *sk, const struct net *net, __u64 cookie, __u16 lport) {
    struct tt_listening at = listening_at(&sk->__sk_common, net, lport);
    __u64 *known = bpf_map_lookup_elem(&listening, &at);
    if (known && *known == cookie)
        bpf_map_delete_elem(&listening, &at);
}

#define COUNT(log, counter) __sync_fetch_and_add(&(log)->counter, 1)

/* Of this CPU. NULL never happens; the verifier wants it tested. */
static __always_inline struct tt_log *this_log(void) {
    __u32 index = bpf_get_smp_processor_id() & (log_count - 1);
    return bpf_map_lookup_elem(&logs, &index);
}

/* Zeroed room, or NULL. Who interrupts us here takes the room and we try again. */
static __always_inline void *claim(struct tt_log *log, __u64 size) {
#pragma clang loop unroll(disable)
    for (int i = 0; i < 16; i++) {
        __u64 at = *(volatile __u64 *)&log->reserved;
        if ((__s64)(at + size - *(volatile __u64 *)&log->read) > (__s64)log_bytes)
            return 0;
        if (__sync_val_compare_and_swap(&log->reserved, at, at + size) == at)
            return (void *)(log + 1) + (at & (log_bytes - 1) & ~7ULL);
    }
    return 0;
}

/* After a loss. Written once: every call of every CPU reads that line. */
static __always_inline void want_addresses(void) {
    if (!shared.addresses)
        shared.addresses = 1;
}

/* The clock that a record carries is read before its room is reserved: the reader's order rests on it. */
static __always_inline void *reserve(struct tt_log *log, __u64 size) {
    void *record = claim(log, size);
    if (!record) {
        COUNT(log, lost_other);
        want_addresses();
    }
    return record;
}

static __always_inline void *reserve_transition(struct tt_log *log, __u64 size) {
    void *record = claim(log, size);
    if (!record) {
        COUNT(log, lost);
        want_addresses();
    }
    return record;
}

/* Completes a record: writes its head's first word, after all else. */
static __always_inline void commit(struct tt_head *record, struct tt_head head) {
    __u64 first;
    __builtin_memcpy(&first, &head, sizeof(first));
#if defined(__TARGET_ARCH_x86) || defined(__TARGET_ARCH_s390)
    barrier(); /* stores stay in order there */
    *(volatile __u64 *)record = first;
#else
    __sync_lock_test_and_set((__u64 *)record, first); /* an exchange is a full barrier */
#endif
}

static __always_inline struct tt_head make_head(__u16 size, __u8 type, __u8 flags) {
    struct tt_head head = {.size = size, .type = type, .flags = flags};
    return head;
}

static __always_inline void all_are_news(void) {
    __sync_fetch_and_add(&shared.epoch, 0x9e3779b97f4a7c15ULL);
}

/*
 * The actor id of the current task; sends its TT_PROCESS when this is news. 0 for those that act for nobody: kernel
 * threads, and ourselves (iter/task_file holds the file it looks at; its process may close it at that moment).
 */
static __always_inline __u64 current_actor(struct tt_log *log, __u64 now) {
    struct task_struct *task = bpf_get_current_task_btf();
    if (task->flags & PF_KTHREAD || (tt_u32)task->tgid == shared.reader)
        return 0;
    __u32 tid = task->pid;
    __u64 id = actor_id(task->start_boottime, tid);
    __u64 *slot = &known[tid & (KNOWN_SLOTS - 1)];
    __u64 mark = id + shared.epoch;
    if (!forget_processes && *slot == mark)
        return id;
    struct tt_process *process = reserve(log, sizeof(*process));
    if (!process)
        return id;
    process->head.time = now;
    read_process(process, task);
    commit(&process->head, make_head(sizeof(*process), TT_PROCESS, 0));
    *slot = mark;
    if (__sync_fetch_and_add(&told.count, 1) % TOLD_AT_MOST == TOLD_AT_MOST - 1)
        all_are_news();
    return id;
}

#endif
