// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0
// The floor: what it costs that anything at all is attached.
#include "core_types.bpf.h"

SEC("tp_btf/inet_sock_set_state")
int BPF_PROG(bench_empty, const struct sock* sk, int old, int new) {
    return 0;
}
