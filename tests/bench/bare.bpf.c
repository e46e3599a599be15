// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0
// The bare stream, our yardstick: reserve 64 bytes, fill them with what every event needs, submit without a wake-up.
// No owner, no loss handling, no backup: what streaming costs before it becomes a product.
#include "core_types.bpf.h"

struct bare_event {
    __u64 time_ns;
    __u64 cookie;
    __u8 old, new;
    __u16 family;
    __u16 lport, rport; /* lport in host order, rport in network order, as the kernel keeps them */
    __u8 laddr[16], raddr[16];
    __u64 unused;
};
_Static_assert(sizeof(struct bare_event) == 64, "the yardstick is 64 bytes");

struct {
    __uint(type, BPF_MAP_TYPE_RINGBUF);
    __uint(max_entries, 8 << 20);
} ring SEC(".maps");

__u64 lost; /* no room in the ring */

SEC("tp_btf/inet_sock_set_state")
int BPF_PROG(bench_bare, const struct sock* sk, int old, int new) {
    struct bare_event* e;

    if (sk->sk_protocol != IPPROTO_TCP || old == new) return 0;
    e = bpf_ringbuf_reserve(&ring, sizeof(*e), 0);
    if (!e) {
        __sync_fetch_and_add(&lost, 1);
        return 0;
    }
    e->time_ns = bpf_ktime_get_ns();
    e->cookie = bpf_get_socket_cookie((void*)sk);
    e->old = old;
    e->new = new;
    e->family = sk->__sk_common.skc_family;
    e->lport = sk->__sk_common.skc_num;
    e->rport = sk->__sk_common.skc_dport;
    if (e->family == AF_INET6) {
        __builtin_memcpy(e->laddr, &sk->__sk_common.skc_v6_rcv_saddr, 16);
        __builtin_memcpy(e->raddr, &sk->__sk_common.skc_v6_daddr, 16);
    } else {
        *(__u32*)e->laddr = sk->__sk_common.skc_rcv_saddr;
        *(__u32*)e->raddr = sk->__sk_common.skc_daddr;
    }
    bpf_ringbuf_submit(e, BPF_RB_NO_WAKEUP);
    return 0;
}
