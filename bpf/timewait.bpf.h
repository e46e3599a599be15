/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* Time-wait sockets as fentry sees them, on kernels that allow it. Elsewhere the tracker's rules serve. */
#ifndef TCPTRAIL_TIMEWAIT_H
#define TCPTRAIL_TIMEWAIT_H

static __always_inline void emit_timewait(struct inet_timewait_sock *tw, __u32 event) {
    __u64 cookie = tw->__tw_common.skc_cookie.counter;
    if (!shared.enabled || !cookie || !is_wanted_netns(tw->__tw_common.skc_net.net))
        return;
    struct tt_log *log = this_log();
    if (!log)
        return;
    __u64 now = bpf_ktime_get_ns();
    struct tt_timewait *record = reserve(log, sizeof(*record));
    if (!record)
        return;
    struct tt_head head = make_head(sizeof(*record), TT_TIMEWAIT, 0);
    head.old_state = tw->tw_substate;
    head.new_state = TCP_TIME_WAIT;
    head.lport = tw->__tw_common.skc_num;
    record->head.time = now;
    record->cookie = cookie;
    record->event = event;
    record->netns = netns_number(tw->__tw_common.skc_net.net);
    commit(&record->head, head);
}

SEC("fentry/inet_twsk_hashdance")
int BPF_PROG(on_hashdance, struct inet_timewait_sock *tw) {
    emit_timewait(tw, TT_TW_HASHED);
    return 0;
}

/* The same function since 6.11. */
SEC("fentry/inet_twsk_hashdance_schedule")
int BPF_PROG(on_hashdance_schedule, struct inet_timewait_sock *tw) {
    emit_timewait(tw, TT_TW_HASHED);
    return 0;
}

SEC("fentry/inet_twsk_kill")
int BPF_PROG(on_kill, struct inet_timewait_sock *tw) {
    emit_timewait(tw, TT_TW_KILLED);
    return 0;
}

#endif
