// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0
// The independent count that the tracers are measured against: TCP proper, a real change of state, one namespace or all.
// What its own recursion guard kept from it stands in the program's recursion_misses; count + misses is what the kernel made.
#include "core_types.bpf.h"

const volatile __u32 only_netns = 0; /* inode of the namespace; 0 = all */

struct {
    __uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
    __uint(max_entries, 1);
    __type(key, __u32);
    __type(value, __u64);
} transitions SEC(".maps");

SEC("tp_btf/inet_sock_set_state")
int BPF_PROG(bench_count, const struct sock* sk, int old, int new) {
    __u32 zero = 0;
    __u64* n;

    if (sk->sk_protocol != IPPROTO_TCP || old == new) return 0;
    if (only_netns && sk->__sk_common.skc_net.net->ns.inum != only_netns) return 0;
    n = bpf_map_lookup_elem(&transitions, &zero);
    if (n) (*n)++; /* this program never interrupts itself on one CPU: its guard sees to that */
    return 0;
}
