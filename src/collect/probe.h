// SPDX-License-Identifier: Apache-2.0
// Small trials on the kernel, and a place of our own in its file tree to make them in.
#pragma once

#include <cstdint>
#include <functional>
#include <string>

#include <bpf/bpf.h>

namespace tcptrail::collect {

/// Loads a program that does nothing for this place (an id of the kernel's BTF): 0 or -errno.
int loads(bpf_attach_type type, std::uint32_t btf_id);

/// What to say to somebody whom the kernel forbids BPF.
std::string needs_rights(int error);

/// Runs `then` in a thread that has a file system of `type` mounted at `target`: the mount is its own and goes with it.
/// 0, or -errno of the mount or of `then`.
int with_mount(const char* type, const char* target, const std::function<int()>& then);

}  // namespace tcptrail::collect
