// SPDX-License-Identifier: Apache-2.0
#include "collect/hooks.h"

#include <cerrno>
#include <cstring>
#include <thread>

#include <bpf/btf.h>
#include <sched.h>
#include <sys/mount.h>
#include <unistd.h>

#include "collect/skeleton.h"

namespace tcptrail::collect {
namespace {

/// Loads and attaches a program that does nothing: the only answer that holds for fentry on this function.
bool fentry_works(const char* function) {
    const int id = libbpf_find_vmlinux_btf_id(function, BPF_TRACE_FENTRY);
    if (id <= 0) return false;
    bpf_insn program[2]{};
    program[0].code = BPF_ALU64 | BPF_MOV | BPF_K;  // r0 = 0
    program[1].code = BPF_JMP | BPF_EXIT;
    LIBBPF_OPTS(bpf_prog_load_opts, options);
    options.expected_attach_type = BPF_TRACE_FENTRY;
    options.attach_btf_id = static_cast<__u32>(id);
    const int fd = bpf_prog_load(BPF_PROG_TYPE_TRACING, "tcptrail_probe", "GPL", program, 2, &options);
    if (fd < 0) return false;
    const int link = bpf_raw_tracepoint_open(nullptr, fd);
    if (link >= 0) close(link);
    close(fd);
    return link >= 0;
}

/// Arguments of a kernel tracepoint, the leading void* of its BTF prototype included; 0: not known.
unsigned tracepoint_params(const char* type_name) {
    btf* kernel = btf__load_vmlinux_btf();
    if (!kernel) return 0;
    unsigned params = 0;
    const int id = btf__find_by_name_kind(kernel, type_name, BTF_KIND_TYPEDEF);
    const btf_type* type = id > 0 ? btf__type_by_id(kernel, static_cast<__u32>(id)) : nullptr;
    if (type) type = btf__type_by_id(kernel, type->type);
    if (type && btf_is_ptr(type)) type = btf__type_by_id(kernel, type->type);
    if (type && btf_is_func_proto(type)) params = btf_vlen(type);
    btf__free(kernel);
    return params;
}

bool has_tracefs() {
    return access("/sys/kernel/tracing/events", X_OK) == 0 || access("/sys/kernel/debug/tracing/events", X_OK) == 0;
}

/// Both system calls' exits; 0 or -errno.
int attach_accept_tracepoints(tcptrail_bpf* skeleton) {
    skeleton->links.on_exit_accept = bpf_program__attach(skeleton->progs.on_exit_accept);
    if (!skeleton->links.on_exit_accept) return -errno;
    skeleton->links.on_exit_accept4 = bpf_program__attach(skeleton->progs.on_exit_accept4);
    if (!skeleton->links.on_exit_accept4) return -errno;
    return 0;
}

/// Runs in a thread of its own: its mounts are its own and go with it. 0 or -errno.
int attach_in_private_mounts(tcptrail_bpf* skeleton) {
    if (unshare(CLONE_FS | CLONE_NEWNS) != 0) return -errno;
    if (mount(nullptr, "/", nullptr, MS_REC | MS_SLAVE, nullptr) != 0) return -errno;
    if (mount("tracefs", "/sys/kernel/tracing", "tracefs", 0, nullptr) != 0) return -errno;
    return attach_accept_tracepoints(skeleton);
}

void attach_accept(tcptrail_bpf* skeleton, Hooks& hooks, std::vector<std::string>& notes) {
    int error = 0;
    if (has_tracefs())
        error = attach_accept_tracepoints(skeleton);
    else
        std::thread([&] { error = attach_in_private_mounts(skeleton); }).join();
    if (error == 0) return;
    hooks.accept = "none";
    notes.push_back(std::string("accepts are not seen (no fentry, and the accept tracepoints: ") +
                    std::strerror(-error) + "): owners of accepted connections come from the listener");
}

}  // namespace

Hooks choose_hooks(tcptrail_bpf* skeleton, bool tracepoint_only) {
    auto& programs = skeleton->progs;
    const auto probe = [&](const char* function) { return !tracepoint_only && fentry_works(function); };
    Hooks hooks;

    const bool graft = probe("security_sock_graft");
    bpf_program__set_autoload(programs.on_sock_graft, graft);
    bpf_program__set_autoload(programs.on_exit_accept, !graft);
    bpf_program__set_autoload(programs.on_exit_accept4, !graft);
    hooks.accept = graft ? "fentry" : "tracepoint";

    const bool scheduled = probe("inet_twsk_hashdance_schedule");
    const bool hashed = scheduled || probe("inet_twsk_hashdance");
    const bool whole = hashed && probe("inet_twsk_kill");
    bpf_program__set_autoload(programs.on_hashdance_schedule, whole && scheduled);
    bpf_program__set_autoload(programs.on_hashdance, whole && !scheduled);
    bpf_program__set_autoload(programs.on_kill, whole);
    bpf_program__set_autoload(programs.on_deschedule, whole && probe("inet_twsk_deschedule_put"));
    hooks.time_wait = whole ? "fentry" : "model";

    const bool reason = tracepoint_params("btf_trace_tcp_send_reset") >= 4;
    bpf_program__set_autoload(programs.on_send_reset_v1, !reason);
    bpf_program__set_autoload(programs.on_send_reset_v2, reason);
    hooks.reset = reason ? "tp_btf+reason" : "tp_btf";
    return hooks;
}

Result<bool> attach_hooks(tcptrail_bpf* skeleton, Hooks& hooks, std::vector<std::string>& notes) {
    auto& programs = skeleton->progs;
    auto& links = skeleton->links;
    struct Pair {
        bpf_program* program;
        bpf_link** link;
    };
    // on_set_state before its backup: they run in the order in which they were attached.
    const Pair pairs[] = {
        {programs.on_set_state, &links.on_set_state},
        {programs.on_set_state_backup, &links.on_set_state_backup},
        {programs.on_destroy, &links.on_destroy},
        {programs.on_sock_graft, &links.on_sock_graft},
        {programs.on_receive_reset, &links.on_receive_reset},
        {programs.on_send_reset_v1, &links.on_send_reset_v1},
        {programs.on_send_reset_v2, &links.on_send_reset_v2},
        {programs.on_rename, &links.on_rename},
        {programs.on_hashdance, &links.on_hashdance},
        {programs.on_hashdance_schedule, &links.on_hashdance_schedule},
        {programs.on_deschedule, &links.on_deschedule},
        {programs.on_kill, &links.on_kill},
        {programs.each_socket, &links.each_socket},
        {programs.each_file, &links.each_file},
    };
    for (const Pair& pair : pairs) {
        if (!bpf_program__autoload(pair.program)) continue;
        *pair.link = bpf_program__attach(pair.program);
        if (!*pair.link)
            return fail(Exit::not_allowed, std::string("cannot attach ") + bpf_program__name(pair.program) + " (" +
                                               bpf_program__section_name(pair.program) + "): " + std::strerror(errno));
    }
    if (bpf_program__autoload(programs.on_exit_accept)) attach_accept(skeleton, hooks, notes);
    return true;
}

}  // namespace tcptrail::collect
