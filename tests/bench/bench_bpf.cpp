// bench_bpf MODE: attaches one yardstick program, prints "ready", waits for SIGINT, prints one JSON object.
//   empty | bare | count [NETNS_INODE]   the programs of this folder
//   stats                                 attaches nothing: keeps the kernel's own timing of BPF programs on while it lives
// With BENCH_STATS=1 any mode keeps the timing on as well. The timing ends with the process: no sysctl is left behind.
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <sys/resource.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string_view>
#include <vector>

#include "bare.skel.h"
#include "count.skel.h"
#include "empty.skel.h"

namespace {

volatile std::sig_atomic_t g_stop = 0;
void on_signal(int) {
    g_stop = 1;
}

int fail(const char* what) {
    std::fprintf(stderr, "bench_bpf: %s: %s\n", what, std::strerror(errno));
    return 1;
}

void ready() {
    std::puts("ready");
    std::fflush(stdout);
}

void print_program(const bpf_program* program, std::uint64_t events, std::uint64_t lost) {
    bpf_prog_info info{};
    std::uint32_t size = sizeof info;
    bpf_obj_get_info_by_fd(bpf_program__fd(program), &info, &size);
    rusage used{};
    getrusage(RUSAGE_SELF, &used);
    std::printf(
        "{\"program\":\"%s\",\"run_cnt\":%llu,\"run_time_ns\":%llu,\"recursion_misses\":%llu,\"events\":%llu,\"lost\":%"
        "llu,\"user_s\":%.4f,\"system_s\":%.4f}\n",
        bpf_program__name(program), static_cast<unsigned long long>(info.run_cnt),
        static_cast<unsigned long long>(info.run_time_ns), static_cast<unsigned long long>(info.recursion_misses),
        static_cast<unsigned long long>(events), static_cast<unsigned long long>(lost),
        static_cast<double>(used.ru_utime.tv_sec) + static_cast<double>(used.ru_utime.tv_usec) / 1e6,
        static_cast<double>(used.ru_stime.tv_sec) + static_cast<double>(used.ru_stime.tv_usec) / 1e6);
}

void wait_for_signal() {
    while (!g_stop) pause();
}

int run_empty() {
    empty_bpf* s = empty_bpf__open_and_load();
    if (s == nullptr || empty_bpf__attach(s) != 0) return fail("empty");
    ready();
    wait_for_signal();
    empty_bpf__detach(s);
    print_program(s->progs.bench_empty, 0, 0);
    empty_bpf__destroy(s);
    return 0;
}

int count_event(void* context, void*, std::size_t) {
    ++*static_cast<std::uint64_t*>(context);
    return 0;
}

int run_bare() {
    bare_bpf* s = bare_bpf__open_and_load();
    if (s == nullptr || bare_bpf__attach(s) != 0) return fail("bare");
    std::uint64_t events = 0;
    ring_buffer* ring = ring_buffer__new(bpf_map__fd(s->maps.ring), count_event, &events, nullptr);
    if (ring == nullptr) return fail("ring_buffer__new");
    ready();
    while (!g_stop) {
        ring_buffer__consume(ring);
        usleep(20'000);  // nobody is woken for an event: 8 MiB hold about 90 ms at 1.3 million a second
    }
    bare_bpf__detach(s);
    ring_buffer__consume(ring);
    print_program(s->progs.bench_bare, events, s->bss->lost);
    ring_buffer__free(ring);
    bare_bpf__destroy(s);
    return 0;
}

int run_count(std::uint32_t netns) {
    count_bpf* s = count_bpf__open();
    if (s == nullptr) return fail("count");
    s->rodata->only_netns = netns;
    if (count_bpf__load(s) != 0 || count_bpf__attach(s) != 0) return fail("count");
    ready();
    wait_for_signal();
    count_bpf__detach(s);
    std::vector<std::uint64_t> per_cpu(static_cast<std::size_t>(libbpf_num_possible_cpus()));
    const std::uint32_t zero = 0;
    bpf_map_lookup_elem(bpf_map__fd(s->maps.transitions), &zero, per_cpu.data());
    std::uint64_t sum = 0;
    for (const auto n : per_cpu) sum += n;
    print_program(s->progs.bench_count, sum, 0);
    count_bpf__destroy(s);
    return 0;
}

}  // namespace

int main(int argc, char** argv) {
    const std::string_view mode = argc > 1 ? argv[1] : "";
    struct sigaction action {};
    action.sa_handler = on_signal;  // without SA_RESTART: pause and usleep end
    sigaction(SIGINT, &action, nullptr);
    sigaction(SIGTERM, &action, nullptr);
    const bool timed = mode == "stats" || (std::getenv("BENCH_STATS") != nullptr);
    const int stats = timed ? bpf_enable_stats(BPF_STATS_RUN_TIME) : -1;
    if (timed && stats < 0) return fail("bpf_enable_stats");
    if (mode == "empty") return run_empty();
    if (mode == "bare") return run_bare();
    if (mode == "count")
        return run_count(argc > 2 ? static_cast<std::uint32_t>(std::strtoul(argv[2], nullptr, 10)) : 0);
    if (mode == "stats") {
        ready();
        wait_for_signal();
        return 0;
    }
    std::fprintf(stderr, "usage: bench_bpf empty | bare | count [NETNS_INODE] | stats\n");
    return 2;
}
