/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* What the programs and the collector share in memory, besides the records. */
#ifndef TCPTRAIL_SHARED_H
#define TCPTRAIL_SHARED_H

#include <tcptrail/wire.h>

#define TT_MAX_CPUS 1024 /* a power of two; more CPUs share slots, which costs duplicates and loses nothing */
#define TT_MAX_NETNS 16

/* No helper's number; see rdonly_cast(). */
#define TT_CALL_RDONLY_CAST 0x74740001

/* Where a listener is found that is alone there: neither of a SO_REUSEPORT group nor bound to a device. */
struct tt_listening {
    tt_u32 netns; /* inode number */
    tt_u16 lport; /* host order */
    tt_u16 family;
    tt_u8 laddr[16]; /* as in tt_open; all zero: any */
};
#define TT_LISTENING 4096 /* at most; a listener beyond has a tt_origin */

/* Per socket: BPF_MAP_TYPE_SK_STORAGE, copied from a listener to its children. */
struct tt_origin {
    tt_u64 listener;       /* its cookie; 0: look into the listeners' map */
    tt_u32 unaccepted_end; /* the connection ended before a process had it: TT_DESTROY is wanted */
    tt_u32 pad;
};

/* Which call the main program saw last; one cache line a CPU. */
struct tt_token {
    const void *sk;
    tt_u64 states;
};
struct tt_tokens {
    struct tt_token by_context[2]; /* [sk_lock.owned] */
    tt_u64 pad[4];
};

/* Constant from load on: the verifier drops what is switched off. */
struct tt_filter {
    tt_u32 families;    /* bit 0: IPv4, bit 1: IPv6; 0: all */
    tt_u32 netns_count; /* 0: all */
    tt_u32 netns[TT_MAX_NETNS];
    tt_u32 lports; /* 1: `lport_set` counts */
    tt_u32 rports;
};

/*
 * One log of records, for one CPU or a few: this head, then `log_bytes` bytes and TT_LOG_SLACK more, because a record runs
 * past the end rather than wrap. Positions only grow; a record lies at position & (log_bytes - 1).
 * The lines of the writers and of the reader are apart.
 */
struct tt_log {
    tt_u64 reserved;   /* programs: bytes handed to writers so far; a record is complete once its first word is not 0 */
    tt_u64 lost;       /* programs: transitions without room */
    tt_u64 lost_other; /* programs: other records without room */
    tt_u64 caught;     /* programs: calls that the main program was kept from, as the backup saw it */
    tt_u64 counted;    /* programs: LISTEN -> SYN_RECV that carried no address of the child: counted, not sent */
    tt_u64 pad0[3];
    tt_u64 read; /* reader: all before it was read and is zero again */
    tt_u64 pad1[7];
};
#define TT_LOG_SLACK 128 /* the longest record that a program writes fits */

/* Read by every call, written seldom: no counter is in here. Written by the programs unless said otherwise. */
struct tt_shared {
    tt_u64 epoch;          /* on_rename and every so many TT_PROCESS: each is news again */
    tt_u32 enabled;        /* collector */
    tt_u32 addresses;      /* 1: addresses go with every transition (until the first snapshot; after a loss) */
    tt_u32 child_complete; /* LISTEN -> SYN_RECV carries the child's own cookie and addresses (kernel 6.13 and later) */
    tt_u32 ends_awaited;   /* sockets whose tt_origin.unaccepted_end is set: on_destroy looks for them only then */
    tt_u32 reader; /* our own tgid, of the initial PID namespace: an iterator may drop a file's last reference */
    tt_u32 pad32;
    tt_u64 pad[4]; /* a line of its own */
} __attribute__((aligned(64)));

/* The programs' alone. */
struct tt_told {
    tt_u64 count;  /* TT_PROCESS records */
    tt_u64 pad[7]; /* no line that every call reads */
} __attribute__((aligned(64)));

#endif
