// SPDX-License-Identifier: Apache-2.0
#include "collect/kernel_btf.h"

#include <cerrno>
#include <cstring>
#include <vector>

#include <bpf/libbpf.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "collect/probe.h"

namespace tcptrail::collect {
namespace {

constexpr const char* kernel_file = "/sys/kernel/btf/vmlinux";

/// The kernel's own bytes, asked for by system call; empty: it has none, or does not give them (CAP_SYS_ADMIN).
std::vector<char> bytes_in_kernel() {
    // The kernel numbers its BTF when a program first needs it.
    (void)loads(BPF_TRACE_RAW_TP, 1);
    __u32 id = 0;
    while (bpf_btf_get_next_id(id, &id) == 0) {
        const int fd = bpf_btf_get_fd_by_id(id);
        if (fd < 0) return {};
        char name[16]{};
        bpf_btf_info info{};
        __u32 size = sizeof(info);
        info.name = reinterpret_cast<__u64>(name);
        info.name_len = sizeof(name);
        std::vector<char> bytes;
        if (bpf_obj_get_info_by_fd(fd, &info, &size) == 0 && info.kernel_btf && !std::strcmp(name, "vmlinux")) {
            bytes.resize(info.btf_size);
            bpf_btf_info whole{};
            size = sizeof(whole);
            whole.btf = reinterpret_cast<__u64>(bytes.data());
            whole.btf_size = info.btf_size;
            if (bpf_obj_get_info_by_fd(fd, &whole, &size) != 0) bytes.clear();
        }
        close(fd);
        if (!bytes.empty()) return bytes;
    }
    return {};
}

bool same_bytes(const btf* types, const char* bytes, std::size_t length) {
    __u32 size = 0;
    const void* raw = btf__raw_data(types, &size);
    return raw && size == length && std::memcmp(raw, bytes, length) == 0;
}

std::string release() {
    utsname name{};
    uname(&name);
    return name.release;
}

/// The type without its qualifiers and names for it.
const btf_type* plain(const btf* types, __u32 id) {
    const btf_type* type = btf__type_by_id(types, id);
    while (type && (btf_is_mod(type) || btf_is_typedef(type))) type = btf__type_by_id(types, type->type);
    return type;
}

std::string argument(const btf* types, __u32 id) {
    const btf_type* type = plain(types, id);
    if (!type) return "void";
    if (btf_is_ptr(type)) {
        const btf_type* pointed = plain(types, type->type);
        return std::string(pointed ? btf__name_by_offset(types, pointed->name_off) : "void") + "*";
    }
    return btf_is_int(type) || btf_is_any_enum(type) ? "int" : "other";
}

}  // namespace

Result<KernelBtf> KernelBtf::load(const std::string& file) {
    KernelBtf out;
    std::unique_ptr<btf, Free> own;
    if (access(kernel_file, R_OK) == 0) own.reset(btf__parse(kernel_file, nullptr));
    const int error = errno;
    if (file.empty()) {
        if (!own)
            return fail(Exit::not_allowed, std::string("this kernel shows no BTF (") + kernel_file + ": " +
                                               std::strerror(error) + "); --btf FILE takes it from a file");
        out.types_ = std::move(own);
        return out;
    }
    if (access(file.c_str(), R_OK) != 0) return fail(Exit::failed, "--btf " + file + ": " + std::strerror(errno));
    out.types_.reset(btf__parse(file.c_str(), nullptr));
    if (!out.types_) return fail(Exit::failed, "--btf " + file + ": holds no BTF");
    // Another kernel's would load and read the wrong fields.
    std::vector<char> bytes;
    if (own) {
        __u32 size = 0;
        const auto* raw = static_cast<const char*>(btf__raw_data(own.get(), &size));
        bytes.assign(raw, raw + size);
    } else {
        bytes = bytes_in_kernel();
        out.hidden_ = true;
    }
    if (bytes.empty())
        return fail(Exit::not_allowed, "this kernel has no BTF, or needs CAP_SYS_ADMIN to tell whether " + file +
                                           " is its own: --btf cannot help");
    if (!same_bytes(out.types_.get(), bytes.data(), bytes.size()))
        return fail(Exit::failed, "--btf " + file + ": not the BTF of this kernel (" + release() + ")");
    return out;
}

std::uint32_t KernelBtf::find(const std::string& name, std::uint32_t kind) const {
    const int id = btf__find_by_name_kind(types_.get(), name.c_str(), kind);
    return id > 0 ? static_cast<std::uint32_t>(id) : 0;
}

std::uint32_t KernelBtf::id_of(std::string_view target, bpf_attach_type type) const {
    const std::string name(target);
    if (type == BPF_TRACE_RAW_TP) return find("btf_trace_" + name, BTF_KIND_TYPEDEF);
    return function(type == BPF_TRACE_ITER ? "bpf_iter_" + name : name);
}

std::uint32_t KernelBtf::function(const std::string& name) const {
    return find(name, BTF_KIND_FUNC);
}

bool KernelBtf::takes(std::uint32_t id, std::string_view wanted) const {
    const btf_type* type = btf__type_by_id(types_.get(), id);
    const bool tracepoint = type && btf_is_typedef(type);  // of a pointer to its prototype, which begins with a void*
    if (tracepoint) type = plain(types_.get(), type->type);
    if (type) type = btf__type_by_id(types_.get(), type->type);
    if (!type || !btf_is_func_proto(type)) return false;
    unsigned at = tracepoint ? 1 : 0;
    while (!wanted.empty()) {
        const std::string_view word = wanted.substr(0, wanted.find(' '));
        wanted.remove_prefix(std::min(wanted.size(), word.size() + 1));
        if (at >= btf_vlen(type) || argument(types_.get(), btf_params(type)[at].type) != word) return false;
        at += 1;
    }
    return true;
}

}  // namespace tcptrail::collect
