// SPDX-License-Identifier: Apache-2.0
// The generated skeleton, with what it needs before it. For collect/ alone.
#pragma once

#include <bpf/bpf.h>
#include <bpf/libbpf.h>

#include "shared.h"

#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wunused-function"
#include "tcptrail.skel.h"
#pragma GCC diagnostic pop
