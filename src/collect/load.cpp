// SPDX-License-Identifier: Apache-2.0
#include "collect/load.h"

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <ctime>
#include <fstream>
#include <utility>

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "collect/probe.h"

#ifndef TCPTRAIL_VERSION
#define TCPTRAIL_VERSION "0.1.0"
#endif

namespace tcptrail::collect {
namespace {

std::function<void(std::string_view)> libbpf_log;
std::string first_warning;    // of the load under way
std::string refused_program;  // that the kernel would not take, as libbpf names it

int on_libbpf_message(libbpf_print_level level, const char* format, va_list arguments) {
    char text[4096];
    const int length = std::vsnprintf(text, sizeof(text), format, arguments);
    if (length < 0) return 0;
    if (level == LIBBPF_WARN && first_warning.empty()) {
        first_warning = text;
        first_warning.resize(std::min(first_warning.find('\n'), first_warning.size()));
    }
    constexpr std::string_view program = "libbpf: prog '";
    if (level == LIBBPF_WARN && refused_program.empty() && std::string_view(text).starts_with(program)) {
        refused_program = text + program.size();
        refused_program.resize(std::min(refused_program.find('\''), refused_program.size()));
    }
    if (libbpf_log) libbpf_log(text);
    return length;
}

/// For -v, as libbpf's own words are.
void tell(const std::string& line) {
    if (libbpf_log) libbpf_log(line);
}

utsname kernel_name() {
    utsname name{};
    uname(&name);
    return name;
}

Error load_error(int error) {
    if (error == EPERM || error == EACCES)
        // With the rights the verifier says EACCES too; that is a kernel we do not fit, and its message tells.
        if (geteuid() != 0 || error == EPERM) return {Exit::not_allowed, needs_rights(error)};
    return {Exit::not_allowed, std::string("this kernel (") + kernel_name().release + ") does not take the programs: " +
                                   std::strerror(error) + (first_warning.empty() ? "" : "; " + first_warning)};
}

/// Major, minor. One that cannot be read is taken for a new one.
std::pair<int, int> kernel_version() {
    int major = 0;
    int minor = 0;
    const bool read = std::sscanf(kernel_name().release, "%d.%d", &major, &minor) == 2;
    return read ? std::pair(major, minor) : std::pair(1000, 0);
}

Result<bool> check_kernel(const Options& options) {
    if (kernel_version() < std::pair(5, 15))
        return fail(Exit::not_allowed, std::string("needs Linux 5.15 or later, this is ") + kernel_name().release);
    if (options.netns.size() > TT_MAX_NETNS)
        return fail(Exit::usage, "at most " + std::to_string(TT_MAX_NETNS) + " network namespaces");
    return true;
}

void set_constants(tcptrail_bpf& skeleton, const Options& options) {
    tt_filter& filter = skeleton.rodata->filter;
    filter.families = options.ipv4 == options.ipv6 ? 0 : options.ipv4 ? 1 : 2;
    filter.netns_count = static_cast<tt_u32>(options.netns.size());
    std::copy(options.netns.begin(), options.netns.end(), filter.netns);
    filter.lports = !options.lports.empty();
    filter.rports = !options.rports.empty();
    for (const std::uint16_t port : options.lports) skeleton.bss->lport_set[port / 64] |= 1ULL << (port % 64);
    for (const std::uint16_t port : options.rports) skeleton.bss->rport_set[port / 64] |= 1ULL << (port % 64);

    timespec jiffy{};  // the coarse clock advances once a jiffy
    clock_getres(CLOCK_MONOTONIC_COARSE, &jiffy);
    if (jiffy.tv_nsec > 0)
        skeleton.rodata->hz = static_cast<__u32>((1'000'000'000 + jiffy.tv_nsec / 2) / jiffy.tv_nsec);
}

void set_logs(tcptrail_bpf& skeleton, const LogLayout& layout) {
    skeleton.rodata->log_bytes = layout.bytes;
    skeleton.rodata->log_count = layout.count;
    bpf_map__set_max_entries(skeleton.maps.logs, layout.count);
    bpf_map__set_value_size(skeleton.maps.logs, static_cast<__u32>(layout.value_bytes()));
}

/// What rdonly_cast() needs; see there.
bool give_rdonly_cast(tcptrail_bpf& skeleton, const KernelBtf& kernel) {
    const std::uint32_t id = kernel.function("bpf_rdonly_cast");
    if (id == 0) return false;
    for (bpf_program* program : {skeleton.progs.on_exit_accept, skeleton.progs.on_exit_accept4}) {
        const bpf_insn* const begin = bpf_program__insns(program);
        std::vector<bpf_insn> code(begin, begin + bpf_program__insn_cnt(program));
        for (bpf_insn& instruction : code) {
            if (instruction.code != (BPF_JMP | BPF_CALL) || instruction.imm != TT_CALL_RDONLY_CAST) continue;
            instruction.src_reg = BPF_PSEUDO_KFUNC_CALL;
            instruction.imm = static_cast<__s32>(id);
        }
        if (bpf_program__set_insns(program, code.data(), code.size()) != 0) return false;
    }
    skeleton.rodata->has_rdonly_cast = true;
    return true;
}

/// libbpf looks for the kernel's BTF where the kernel keeps it: where that is hidden, it finds `file` there.
int load(tcptrail_bpf& skeleton, const KernelBtf& kernel, const std::string& file) {
    if (!kernel.hidden()) return tcptrail_bpf__load(&skeleton);
    const int fd = open(file.c_str(), O_RDONLY | O_CLOEXEC);  // its path may lead through what the mount covers
    if (fd < 0) return -errno;
    const int error = with_mount("tmpfs", "/sys/kernel", [&] {
        const std::string target = "/proc/self/fd/" + std::to_string(fd);
        if (mkdir("/sys/kernel/btf", 0755) != 0 || symlink(target.c_str(), "/sys/kernel/btf/vmlinux") != 0)
            return -errno;
        return tcptrail_bpf__load(&skeleton);
    });
    close(fd);
    return error;
}

std::uint64_t misses_of(const bpf_program* program) {
    bpf_prog_info info{};
    __u32 size = sizeof(info);
    return bpf_obj_get_info_by_fd(bpf_program__fd(program), &info, &size) == 0 ? info.recursion_misses : 0;
}

std::string words(const Service& service) {
    return service.way + (service.lost.empty() ? "" : " (lost: " + service.lost + ")");
}

}  // namespace

void set_libbpf_log(std::function<void(std::string_view)> log) {
    libbpf_log = std::move(log);
}

Result<Loaded> load_programs(const Options& options) {
    if (auto fits = check_kernel(options); !fits) return tl::unexpected<Error>(fits.error());
    libbpf_set_print(on_libbpf_message);
    const auto kernel = KernelBtf::load(options.btf_file);
    if (!kernel) return tl::unexpected<Error>(kernel.error());
    HookWishes wishes{options.tracepoint_only, options.final_snapshot, options.without, {}};
    if (kernel_version() < std::pair(7, 0))
        wishes.refused["on_set_state_second"] = "not needed: this kernel does not preempt programs on tracepoints";
    bool may_cast = true;
    // What the kernel refuses in earnest, its trials notwithstanding, is left out the next time.
    while (true) {
        Loaded out;
        out.skeleton.reset(tcptrail_bpf__open());
        if (!out.skeleton)
            return fail(Exit::failed, std::string("cannot open the BPF object: ") + std::strerror(errno));
        set_constants(*out.skeleton, options);
        out.logs = choose_layout(options.buffer_bytes);
        set_logs(*out.skeleton, out.logs);
        auto hooks = choose_hooks(out.skeleton.get(), *kernel, wishes);
        if (!hooks) return tl::unexpected<Error>(hooks.error());
        out.hooks = std::move(*hooks);
        const bool casts = may_cast && give_rdonly_cast(*out.skeleton, *kernel);
        first_warning.clear();  // those of the trials are answers
        refused_program.clear();
        if (const int error = load(*out.skeleton, *kernel, options.btf_file)) {
            if (casts && refused_program.starts_with("on_exit_accept")) {
                tell(refused_program + " is refused with bpf_rdonly_cast: " + std::strerror(-error));
                may_cast = false;
                continue;
            }
            if (refused_program.empty() || !wishes.refused.emplace(refused_program, std::strerror(-error)).second)
                return tl::unexpected<Error>(load_error(-error));
            tell(refused_program + " is refused: " + std::strerror(-error));
            continue;
        }
        if (!attach_hooks(out.skeleton.get(), wishes)) continue;
        for (const Service& service : out.hooks.services) tell(service.need + ": " + words(service));
        return out;
    }
}

std::uint64_t main_program_misses(const Loaded& loaded) {
    return misses_of(loaded.skeleton->progs.on_set_state);
}

OtherMisses other_program_misses(const Loaded& loaded) {
    const auto& p = loaded.skeleton->progs;
    const auto sum_of = [](std::initializer_list<const bpf_program*> programs) {
        std::uint64_t sum = 0;
        for (const bpf_program* program : programs)
            if (bpf_program__autoload(program)) sum += misses_of(program);
        return sum;
    };
    return {sum_of({p.on_sock_graft, p.on_exit_accept, p.on_exit_accept4, p.on_rename}),
            sum_of({p.on_receive_reset, p.on_send_reset_v1, p.on_send_reset_v2, p.on_hashdance, p.on_hashdance_schedule,
                    p.on_kill})};
}

std::string start_text(const Loaded& loaded, const Options& options) {
    const utsname name = kernel_name();
    std::string boot_id;
    std::ifstream("/proc/sys/kernel/random/boot_id") >> boot_id;
    std::string text;
    const auto add = [&](const std::string& key, const std::string& value) { text += key + "=" + value + "\n"; };
    add("version", TCPTRAIL_VERSION);
    add("kernel", name.release);
    add("machine", name.machine);
    add("boot_id", boot_id);
    for (const Service& service : loaded.hooks.services) add("hook." + service.need, words(service));
    add("cpus", std::to_string(sysconf(_SC_NPROCESSORS_ONLN)));
    if (options.ipv4 != options.ipv6 || !options.lports.empty() || !options.rports.empty()) add("filter", "ends");
    if (options.report_every.count() > 0) add("report_every_ns", std::to_string(options.report_every.count()));
    return text;
}

}  // namespace tcptrail::collect
