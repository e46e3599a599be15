/* SPDX-License-Identifier: GPL-2.0 OR Apache-2.0 */
/* One CPU's log, as the program writes it and the reader maps it: this head, then the bytes. Positions only grow; the offset
 * is position & mask. Records are multiples of 8 bytes. */
#pragma once

#include <linux/types.h>
#ifndef __bpf__
#include <stdint.h>
#define LOG_U64 uint64_t
#define LOG_U32 uint32_t
#define LOG_U16 uint16_t
#define LOG_U8 uint8_t
#else
#define LOG_U64 __u64
#define LOG_U32 __u32
#define LOG_U16 __u16
#define LOG_U8 __u8
#endif

struct log_head {
    LOG_U64 head;  /* written by the program: everything before it is complete */
    LOG_U64 begun; /* written by the program before it reads the clock; begun > head: a record is being written */
    LOG_U64 lost;  /* written by the program: records without room */
    LOG_U64 pad0[5];
    LOG_U64 tail; /* written by the reader, on a line of its own */
    LOG_U64 pad1[7];
};

struct log_record {
    LOG_U16 size;
    LOG_U8 old, new_;
    LOG_U16 family;
    LOG_U16 unused;
    LOG_U64 time_ns, cookie;
    LOG_U16 lport, rport;
    LOG_U32 unused2;
    LOG_U8 laddr[16], raddr[16];
};
