// SPDX-License-Identifier: Apache-2.0
// The running kernel's description of its own types: which hooks it has, and with which arguments.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

#include <bpf/bpf.h>
#include <bpf/btf.h>

#include <tcptrail/result.h>

namespace tcptrail::collect {

class KernelBtf {
public:
    /// From /sys/kernel/btf/vmlinux; where that is not to be had, from `file`, which the kernel must know as its own.
    static Result<KernelBtf> load(const std::string& file);

    /// The kernel keeps its BTF from us, and libbpf has to be shown the file that load() took.
    bool hidden() const { return hidden_; }

    /// What a program for `target` attaches to; 0: this kernel has none of that name.
    std::uint32_t id_of(std::string_view target, bpf_attach_type type) const;

    /// Of a function of the kernel's; 0: it has none of that name.
    std::uint32_t function(const std::string& name) const;

    /// The leading arguments there are `wanted`, words such as "sock* int": a pointer by what it points to, any integer
    /// and any enum as int.
    bool takes(std::uint32_t id, std::string_view wanted) const;

private:
    std::uint32_t find(const std::string& name, std::uint32_t kind) const;

    struct Free {
        void operator()(btf* types) const { btf__free(types); }
    };
    std::unique_ptr<btf, Free> types_;
    bool hidden_ = false;
};

}  // namespace tcptrail::collect
