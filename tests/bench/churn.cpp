// churn: the load of the benchmark. As many short TCP connections per second on loopback as the kernel can carry, and nothing else.
//
//   pair (default)  a client and a server process for each worker: connections cross a wake-up, as real ones do.
//   solo            one process plays both ends: no context switch at all, the hardest case for a tracer.
//
// Both ends block; on loopback connect() returns with the handshake done, so user space does nothing but issue system calls.
// Bounded twice, by --seconds and by --count. Only 127.0.0.0/8 is ever addressed.
#include <arpa/inet.h>
#include <fcntl.h>
#include <net/if.h>
#include <netinet/in.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#include <string_view>
#include <vector>

namespace {

enum class Closer { alternate, active, passive };

struct Options {
    double seconds = 5;
    std::uint64_t count = 10'000'000;  // connections, all workers together
    int workers = 2;                   // pairs of processes, or processes in solo mode
    int sources = 8;                   // source addresses 127.0.1.1 ...
    int payload = 0;                   // bytes, active side to passive side
    int port = 7800;                   // first listening port, one for each worker
    bool solo = false;
    bool netns_new = false;
    Closer closer = Closer::alternate;
};

// What the processes share: the page outlives fork and costs no system call to read.
struct Shared {
    std::atomic<bool> stop{false};
    std::atomic<std::uint64_t> failed{0};
    struct alignas(64) Worker {
        std::atomic<std::uint64_t> connected{0};
        std::atomic<std::uint64_t> served{0};
    } worker[64];
};

constexpr std::uint64_t kMaxAhead =
    128;  // connections a client may run ahead of its server: far below the accept queue

[[noreturn]] void die(const char* what) {
    std::fprintf(stderr, "churn: %s: %s\n", what, std::strerror(errno));
    std::exit(1);
}

void write_sysctl(const char* path, const char* value) {
    const int fd = open(path, O_WRONLY | O_CLOEXEC);
    if (fd < 0) return;  // a kernel without that knob: its default must do
    if (write(fd, value, std::strlen(value)) < 0) std::fprintf(stderr, "churn: %s: %s\n", path, std::strerror(errno));
    close(fd);
}

// A namespace of our own: TIME_WAIT is bounded by the 4-tuples (sources x ports x workers), far below max_tw_buckets, and reused after 1 s.
void raise_loopback() {
    const int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    ifreq request{};
    std::strcpy(request.ifr_name, "lo");
    request.ifr_flags = IFF_UP;
    if (fd < 0 || ioctl(fd, SIOCSIFFLAGS, &request) != 0) die("lo up");
    close(fd);
}

void tune() {
    raise_loopback();
    write_sysctl("/proc/sys/net/ipv4/tcp_tw_reuse", "1");
    write_sysctl("/proc/sys/net/ipv4/tcp_max_tw_buckets", "2000000");
    write_sysctl("/proc/sys/net/ipv4/ip_local_port_range", "20000 59999");
    write_sysctl("/proc/sys/net/core/somaxconn", "4096");
}

sockaddr_in address(std::uint32_t host, int port) {
    sockaddr_in a{};
    a.sin_family = AF_INET;
    a.sin_addr.s_addr = htonl(host);
    a.sin_port = htons(static_cast<std::uint16_t>(port));
    return a;
}

sockaddr_in server_address(const Options& o, int worker) {
    return address(INADDR_LOOPBACK, o.port + worker);
}

int listen_on(const sockaddr_in& where) {
    const int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    const int one = 1;
    if (fd < 0) die("socket");
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    if (bind(fd, reinterpret_cast<const sockaddr*>(&where), sizeof where) != 0) die("bind");
    if (listen(fd, 4096) != 0) die("listen");
    return fd;
}

// Returns -1 if the kernel refused; the caller counts it. The source rotates, its port is chosen by connect().
int connect_from(const Options& o, int worker, std::uint64_t n) {
    const int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0) die("socket");
    if (o.sources > 0) {
        const int one = 1;
        setsockopt(fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &one, sizeof one);
        const auto from = address(0x7f000101U + static_cast<std::uint32_t>(n % static_cast<unsigned>(o.sources)), 0);
        if (bind(fd, reinterpret_cast<const sockaddr*>(&from), sizeof from) != 0) die("bind source");
    }
    const auto to = server_address(o, worker);
    if (connect(fd, reinterpret_cast<const sockaddr*>(&to), sizeof to) == 0) return fd;
    close(fd);
    return -1;
}

bool active_closes(const Options& o, std::uint64_t n) {
    return o.closer == Closer::alternate ? n % 2 == 0 : o.closer == Closer::active;
}

void drain(int fd) {
    char buffer[4096];
    while (read(fd, buffer, sizeof buffer) > 0) {
    }
}

void send_payload(const Options& o, int fd) {
    static const std::string bytes(65536, 'x');
    if (o.payload > 0 && send(fd, bytes.data(), static_cast<std::size_t>(o.payload), MSG_NOSIGNAL) < 0) die("send");
}

void run_client(const Options& o, Shared& s, int worker) {
    auto& mine = s.worker[worker];
    const std::uint64_t limit = o.count / static_cast<unsigned>(o.workers);
    std::uint64_t n = 0;
    while (n < limit && !s.stop.load(std::memory_order_relaxed)) {
        const int fd = connect_from(o, worker, n);
        if (fd < 0) {
            s.failed++;
            continue;
        }
        send_payload(o, fd);
        if (!active_closes(o, n)) drain(fd);  // until the server's FIN
        close(fd);
        mine.connected.store(++n, std::memory_order_release);
        while (n - mine.served.load(std::memory_order_acquire) > kMaxAhead) sched_yield();
    }
}

void run_server(const Options& o, Shared& s, int worker, int listener) {
    for (std::uint64_t n = 0;; ++n) {
        const int fd = accept4(listener, nullptr, nullptr, SOCK_CLOEXEC);
        if (fd < 0) return;
        if (active_closes(o, n)) {
            drain(fd);
        } else if (o.payload > 0) {
            char buffer[65536];
            for (int left = o.payload; left > 0;) {
                const auto got = read(fd, buffer, sizeof buffer);
                if (got <= 0) break;
                left -= static_cast<int>(got);
            }
        }
        close(fd);
        s.worker[worker].served.store(n + 1, std::memory_order_release);
    }
}

void run_solo(const Options& o, Shared& s, int worker, int listener) {
    const std::uint64_t limit = o.count / static_cast<unsigned>(o.workers);
    auto& mine = s.worker[worker];
    std::uint64_t n = 0;
    while (n < limit && !s.stop.load(std::memory_order_relaxed)) {
        const int active = connect_from(o, worker, n);
        if (active < 0) {
            s.failed++;
            continue;
        }
        const int passive = accept4(listener, nullptr, nullptr, SOCK_CLOEXEC);
        send_payload(o, active);
        const bool active_first = active_closes(o, n);
        if (o.payload > 0) {
            char buffer[65536];
            (void)!read(passive, buffer, sizeof buffer);
        }
        close(active_first ? active : passive);
        close(active_first ? passive : active);
        mine.connected.store(++n, std::memory_order_relaxed);
    }
}

pid_t spawn(auto&& body) {
    const pid_t pid = fork();
    if (pid < 0) die("fork");
    if (pid > 0) return pid;
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    std::signal(SIGINT, SIG_IGN);  // the parent decides
    body();
    _exit(0);
}

double cpu_seconds(const timeval& t) {
    return static_cast<double>(t.tv_sec) + static_cast<double>(t.tv_usec) / 1e6;
}

Shared* g_shared = nullptr;
void on_signal(int) {
    g_shared->stop = true;
}

void usage() {
    std::puts(
        "churn [--seconds S] [--count N] [--mode pair|solo] [--workers N] [--sources N] [--payload BYTES]\n"
        "      [--close alternate|active|passive] [--port P] [--netns-new]\n"
        "Prints one JSON object. --netns-new makes a network namespace, sets its sysctls and works there.\n"
        "CHURN_TUNE=1 sets them in the present namespace instead; never do that in the host's.");
}

Options parse(int argc, char** argv) {
    Options o;
    for (int i = 1; i < argc; ++i) {
        const std::string_view name = argv[i];
        if (name == "--netns-new") {
            o.netns_new = true;
            continue;
        }
        if (name == "-h" || name == "--help" || i + 1 == argc) {
            usage();
            std::exit(name == "-h" || name == "--help" ? 0 : 2);
        }
        const char* value = argv[++i];
        if (name == "--seconds")
            o.seconds = std::min(600.0, std::atof(value));
        else if (name == "--count")
            o.count = std::strtoull(value, nullptr, 10);
        else if (name == "--workers")
            o.workers = std::clamp(std::atoi(value), 1, 64);
        else if (name == "--sources")
            o.sources = std::clamp(std::atoi(value), 0, 200);
        else if (name == "--payload")
            o.payload = std::clamp(std::atoi(value), 0, 65536);
        else if (name == "--port")
            o.port = std::atoi(value);
        else if (name == "--mode")
            o.solo = std::string_view(value) == "solo";
        else if (name == "--close")
            o.closer = std::string_view(value) == "active"    ? Closer::active
                       : std::string_view(value) == "passive" ? Closer::passive
                                                              : Closer::alternate;
        else {
            usage();
            std::exit(2);
        }
    }
    return o;
}

std::uint64_t total(const Options& o, const Shared& s) {
    std::uint64_t sum = 0;
    for (int w = 0; w < o.workers; ++w) sum += s.worker[w].connected.load();
    return sum;
}

}  // namespace

int main(int argc, char** argv) {
    const Options o = parse(argc, argv);
    if (o.netns_new && unshare(CLONE_NEWNET) != 0) die("unshare(CLONE_NEWNET)");
    if (o.netns_new || std::getenv("CHURN_TUNE")) tune();

    void* page = mmap(nullptr, sizeof(Shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (page == MAP_FAILED) die("mmap");
    auto& shared = *(g_shared = new (page) Shared);

    std::vector<int> listeners;
    for (int w = 0; w < o.workers; ++w) listeners.push_back(listen_on(server_address(o, w)));
    std::signal(SIGINT, on_signal);
    std::signal(SIGTERM, on_signal);

    const auto began = std::chrono::steady_clock::now();
    std::vector<pid_t> drivers;  // they stop by themselves
    std::vector<pid_t> servers;  // stopped once their client is done
    for (int w = 0; w < o.workers; ++w) {
        const int listener = listeners[static_cast<std::size_t>(w)];
        if (o.solo) {
            drivers.push_back(spawn([&] { run_solo(o, shared, w, listener); }));
        } else {
            servers.push_back(spawn([&] { run_server(o, shared, w, listener); }));
            drivers.push_back(spawn([&] { run_client(o, shared, w); }));
        }
    }
    const std::chrono::duration<double> limit(o.seconds);
    std::uint64_t done = 0;
    while (std::chrono::steady_clock::now() - began < limit && !shared.stop &&
           done < o.count / static_cast<unsigned>(o.workers) * static_cast<unsigned>(o.workers)) {
        usleep(2000);
        done = total(o, shared);
    }
    const std::chrono::duration<double> took = std::chrono::steady_clock::now() - began;
    const std::uint64_t within =
        total(o, shared);  // the rate is measured to here; the tail below only ends in good order
    shared.stop = true;
    for (const pid_t pid : drivers) waitpid(pid, nullptr, 0);
    for (int w = 0; w < o.workers && !o.solo; ++w) {
        while (shared.worker[w].served.load() < shared.worker[w].connected.load()) usleep(1000);
        shutdown(listeners[static_cast<std::size_t>(w)], SHUT_RDWR);  // accept4 in the server returns EINVAL
    }
    for (const pid_t pid : servers) waitpid(pid, nullptr, 0);

    rusage used{};
    getrusage(RUSAGE_CHILDREN, &used);
    const double user = cpu_seconds(used.ru_utime);
    const double system = cpu_seconds(used.ru_stime);
    const std::uint64_t all = total(o, shared);
    std::printf(
        "{\"connections\":%llu,\"seconds\":%.4f,\"per_second\":%.1f,\"cpu\":{\"user_s\":%.3f,\"system_s\":%.3f,\"us_"
        "per_connection\":%.2f},\"failed\":%llu,\"workers\":%d,\"mode\":\"%s\"}\n",
        static_cast<unsigned long long>(all), took.count(), static_cast<double>(within) / took.count(), user, system,
        all ? (user + system) * 1e6 / static_cast<double>(all) : 0.0,
        static_cast<unsigned long long>(shared.failed.load()), o.workers, o.solo ? "solo" : "pair");
}
