/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* The ring: reserve, count what found no room, submit without waking anybody. */
#ifndef TCPTRAIL_EMIT_H
#define TCPTRAIL_EMIT_H

#include "shared.h"
#include "sock_read.bpf.h"

struct {
    __uint(type, BPF_MAP_TYPE_RINGBUF);
    __uint(max_entries, 16 << 20); /* the collector sets it */
} ring SEC(".maps");

/* The cookie of the listener that a socket is, or was cloned from. The clone is made before the child's first event. */
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

#define COUNT(counter) __sync_fetch_and_add(&shared.counter, 1)

static __always_inline void *reserve(__u64 size) {
    void *record = bpf_ringbuf_reserve(&ring, size, 0);
    if (!record) {
        COUNT(lost_other);
        shared.addresses = 1;
    }
    return record;
}

static __always_inline void *reserve_transition(__u64 size) {
    void *record = bpf_ringbuf_reserve(&ring, size, 0);
    if (!record) {
        COUNT(lost);
        shared.addresses = 1;
    }
    return record;
}

static __always_inline void submit(void *record) {
    bpf_ringbuf_submit(record, BPF_RB_NO_WAKEUP);
}

static __always_inline void fill_head(struct tt_head *head, __u16 size, __u8 type, __u8 flags) {
    head->size = size;
    head->type = type;
    head->flags = flags;
}

/* The actor id of the current task; sends its TT_PROCESS when this is news. Kernel threads act for nobody: 0. */
static __always_inline __u64 current_actor(__u64 now) {
    struct task_struct *task = bpf_get_current_task_btf();
    if (task->flags & PF_KTHREAD)
        return 0;
    __u32 tid = task->pid;
    __u64 id = actor_id(task->start_boottime, tid);
    __u64 *slot = &known[tid & (KNOWN_SLOTS - 1)];
    __u64 mark = id + shared.epoch;
    if (*slot == mark)
        return id;
    struct tt_process *process = reserve(sizeof(*process));
    if (!process)
        return id;
    fill_head(&process->head, sizeof(*process), TT_PROCESS, 0);
    process->head.old_state = process->head.new_state = 0;
    process->head.lport = 0;
    process->head.time = now;
    read_process(process, task);
    submit(process);
    *slot = mark;
    return id;
}

#endif
