// SPDX-License-Identifier: Apache-2.0
#include "collect/hooks.h"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <string_view>

#include <unistd.h>

#include "collect/probe.h"
#include "collect/skeleton.h"

namespace tcptrail::collect {
namespace {

struct Hook {
    bpf_program* program;
    bpf_link** link;
    std::string_view arguments;  // that the program reads; see KernelBtf::takes
};

/// All of its hooks load and attach, or the next way is tried.
struct Way {
    std::string_view name;  // in TT_START and trace_end; the tracker knows "fentry…" and "none…"
    std::vector<Hook> hooks;
    std::string_view lost;  // what this way does not tell and the first one does
};

struct Need {
    std::string_view name;
    std::vector<Way> ways;  // the first choice, then its fallbacks
    std::string_view lost;  // where no way serves
    enum { useful, for_snapshots, always } required = useful;
};

/// Every need, in the order in which its programs are attached: the backup runs after the main program.
std::vector<Need> needs_of(tcptrail_bpf& skeleton) {
    auto& p = skeleton.progs;
    auto& l = skeleton.links;
    constexpr std::string_view tw = "inet_timewait_sock*";
    return {
        {"transition", {{"tp_btf", {{p.on_set_state, &l.on_set_state, "sock* int int"}}, ""}}, "", Need::always},
        {"backup",
         {{"tp_btf+second",  // where load.cpp does not refuse it
           {{p.on_set_state_backup, &l.on_set_state_backup, "sock* int int"},
            {p.on_set_state_second, &l.on_set_state_second, "sock* int int"}},
           ""},
          {"tp_btf", {{p.on_set_state_backup, &l.on_set_state_backup, "sock* int int"}}, ""}},
         "transitions that the recursion guard hides are counted as missed, not shown"},
        {"destroy",
         {{"tp_btf", {{p.on_destroy, &l.on_destroy, "sock*"}}, ""}},
         "who accepts a connection after its end; an end that was lost is found by the next snapshot"},
        {"accept",
         {{"fentry", {{p.on_sock_graft, &l.on_sock_graft, "sock* socket*"}}, ""},
          {"tracepoint",
           {{p.on_exit_accept, &l.on_exit_accept, ""}, {p.on_exit_accept4, &l.on_exit_accept4, ""}},
           "accepts by io_uring, whose owner is known when it acts"}},
         "who accepts; the owner is the listener's until another process acts"},
        {"reset_sent",
         {{"tp_btf+reason", {{p.on_send_reset_v2, &l.on_send_reset_v2, "sock* sk_buff* int"}}, ""},
          {"tp_btf", {{p.on_send_reset_v1, &l.on_send_reset_v1, "sock* sk_buff*"}}, "the kernel's reason for a RST"}},
         "whether it was late_data_rst, keepalive_timeout or resource"},
        {"reset_received",
         {{"tp_btf", {{p.on_receive_reset, &l.on_receive_reset, "sock*"}}, ""}, {"sk_err", {}, ""}},
         ""},
        {"rename",
         {{"tp_btf", {{p.on_rename, &l.on_rename, "task_struct*"}}, ""},
          {"repeat", {}, ""}},  // each event says its process again
         ""},
        {"time_wait",
         {{"fentry", {{p.on_hashdance_schedule, &l.on_hashdance_schedule, tw}, {p.on_kill, &l.on_kill, tw}}, ""},
          {"fentry", {{p.on_hashdance, &l.on_hashdance, tw}, {p.on_kill, &l.on_kill, tw}}, ""},  // before 6.11
          {"model", {}, "the end of TIME_WAIT is inferred; when the table is full, who got in is undecided"}},
         ""},
        {"sockets",
         {{"iter/tcp", {{p.each_socket, &l.each_socket, ""}}, ""}},
         "sockets that stood before the trace, until they change",
         Need::for_snapshots},
        {"holders",
         {{"iter/task_file", {{p.each_file, &l.each_file, ""}}, ""}},
         "owners of sockets that stood before the trace",
         Need::for_snapshots},
    };
}

std::string_view section(const bpf_program* program) {
    return bpf_program__section_name(program);
}

/// "inet_sock_set_state" of "tp_btf/inet_sock_set_state".
std::string_view target(const bpf_program* program) {
    const std::string_view name = section(program);
    return name.substr(name.find('/') + 1);
}

bool is_fentry(const bpf_program* program) {
    return bpf_program__expected_attach_type(program) == BPF_TRACE_FENTRY;
}

/// Empty if nothing speaks against the hook, else what does.
std::string objection(const Hook& hook, const KernelBtf& kernel, const HookWishes& wishes) {
    if (const auto found = wishes.refused.find(bpf_program__name(hook.program)); found != wishes.refused.end())
        return found->second;
    if (wishes.tracepoint_only && is_fentry(hook.program)) return "--hooks tracepoint";
    if (bpf_program__type(hook.program) != BPF_PROG_TYPE_TRACING) return {};
    const bpf_attach_type type = bpf_program__expected_attach_type(hook.program);
    const std::uint32_t id = kernel.id_of(target(hook.program), type);
    if (id == 0) return "this kernel has none";
    if (!kernel.takes(id, hook.arguments)) return "its arguments are not " + std::string(hook.arguments);
    const int error = loads(type, id);
    return error ? std::strerror(-error) : "";
}

/// Whether what is missing is the right to load such programs at all.
bool is_forbidden(const Need& need, const KernelBtf& kernel) {
    const auto forbidden = [&](const Hook& hook) {
        const bpf_attach_type type = bpf_program__expected_attach_type(hook.program);
        const std::uint32_t id = kernel.id_of(target(hook.program), type);
        return id != 0 && loads(type, id) == -EPERM;
    };
    return std::any_of(need.ways.begin(), need.ways.end(),
                       [&](const Way& way) { return std::any_of(way.hooks.begin(), way.hooks.end(), forbidden); });
}

bool contains(const std::vector<std::string>& names, std::string_view name) {
    return std::find(names.begin(), names.end(), name) != names.end();
}

void switch_on(const Way& way, bool on) {
    for (const Hook& hook : way.hooks) bpf_program__set_autoload(hook.program, on);
}

/// The first way that fits, nullptr: none does, and `why` says so of each.
const Way* choose_way(const Need& need, const KernelBtf& kernel, const HookWishes& wishes, std::string& why) {
    const bool wanted = !contains(wishes.without, need.name);
    if (!wanted) why = "--without-hook";
    for (const Way& way : need.ways) {
        switch_on(way, false);
        if (!wanted && !way.hooks.empty()) continue;
        std::string objections;
        for (const Hook& hook : way.hooks) {
            const std::string against = objection(hook, kernel, wishes);
            if (!against.empty() && objections.empty())
                objections = std::string(section(hook.program)) + ": " + against;
        }
        if (objections.empty()) return &way;
        why += (why.empty() ? "" : "; ") + objections;
    }
    return nullptr;
}

/// Where tracefs is not mounted, in a private mount: tracepoints are attached by their number in it.
int attach(const Hook& hook) {
    const auto attach_now = [&] {
        *hook.link = bpf_program__attach(hook.program);
        return *hook.link ? 0 : -errno;
    };
    const bool has_tracefs =
        access("/sys/kernel/tracing/events", X_OK) == 0 || access("/sys/kernel/debug/tracing/events", X_OK) == 0;
    if (bpf_program__type(hook.program) != BPF_PROG_TYPE_TRACEPOINT || has_tracefs) return attach_now();
    return with_mount("tracefs", "/sys/kernel/tracing", attach_now);
}

}  // namespace

Result<Hooks> choose_hooks(tcptrail_bpf* skeleton, const KernelBtf& kernel, const HookWishes& wishes) {
    Hooks hooks;
    const std::vector<Need> needs = needs_of(*skeleton);
    for (const std::string& name : wishes.without)
        if (std::none_of(needs.begin(), needs.end(), [&](const Need& need) { return need.name == name; }))
            return fail(Exit::usage, "--without-hook " + name + ": no such need; see src/collect/hooks.cpp");
    for (const Need& need : needs) {
        std::string why;
        for (const Way& way : need.ways) switch_on(way, false);
        const Way* way = choose_way(need, kernel, wishes, why);
        if (way) {
            switch_on(*way, true);
            hooks.services.push_back({std::string(need.name), std::string(way->name), std::string(way->lost)});
            continue;
        }
        const std::string note = "no hook serves " + std::string(need.name) + " (" + why + ")";
        if (need.required == Need::always)
            return fail(Exit::not_allowed, is_forbidden(need, kernel) ? needs_rights(EPERM) : note);
        if (need.required == Need::for_snapshots && wishes.snapshots)
            return fail(Exit::not_allowed, note + ", and this report needs it");
        hooks.services.push_back({std::string(need.name), "none", std::string(need.lost)});
        hooks.notes.push_back(note + "; lost: " + std::string(need.lost));
    }
    const auto way_of = [&](std::string_view need) {
        return std::find_if(hooks.services.begin(), hooks.services.end(),
                            [&](const Service& service) { return service.need == need; })
            ->way;
    };
    skeleton->rodata->forget_processes = way_of("rename") == "repeat";
    skeleton->rodata->has_second_backup = way_of("backup") == "tp_btf+second";
    return hooks;
}

bool attach_hooks(tcptrail_bpf* skeleton, HookWishes& wishes) {
    for (const Need& need : needs_of(*skeleton)) {
        for (const Way& way : need.ways) {
            for (const Hook& hook : way.hooks) {
                if (!bpf_program__autoload(hook.program) || *hook.link) continue;
                if (const int error = attach(hook)) {
                    wishes.refused[bpf_program__name(hook.program)] = std::strerror(-error);
                    return false;
                }
            }
        }
    }
    return true;
}

}  // namespace tcptrail::collect
