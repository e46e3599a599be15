// SPDX-License-Identifier: Apache-2.0
#include "arena.h"

#include <fcntl.h>
#include <net/if.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstring>
#include <sstream>

namespace tcptrail::live {

namespace {

constexpr unsigned kActorLife_s = 100;
constexpr int kJoin_ms = 60000;

void bring_lo_up() {
    const Fd fd(socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
    ifreq request{};
    std::strncpy(request.ifr_name, "lo", IFNAMSIZ - 1);
    if (ioctl(fd.get(), SIOCGIFFLAGS, &request) != 0) {
        raise("flags of lo");
    }
    request.ifr_flags = static_cast<short>(request.ifr_flags | IFF_UP | IFF_RUNNING);
    if (ioctl(fd.get(), SIOCSIFFLAGS, &request) != 0) {
        raise("bring lo up");
    }
}

void allow_many_files() {
    rlimit limit{};
    getrlimit(RLIMIT_NOFILE, &limit);
    limit.rlim_cur = limit.rlim_max;
    setrlimit(RLIMIT_NOFILE, &limit);
}

/// The process's wait status; kills it and throws when it does not end in time.
int reap(const Who& who) {
    const auto deadline = std::chrono::steady_clock::now() + std::chrono::milliseconds(kJoin_ms);
    int status = 0;
    while (waitpid(who.pid, &status, WNOHANG) == 0) {
        if (std::chrono::steady_clock::now() > deadline) {
            kill(who.pid, SIGKILL);
            waitpid(who.pid, &status, 0);
            throw std::runtime_error(who.comm + " did not end in time");
        }
        sleep_ms(1);
    }
    return status;
}

}  // namespace

struct Arena::Report {
    char text[4096];
};

Arena::Arena() : report_(static_cast<Report*>(map_shared(sizeof(Report)))) {
    const Fd home(open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC));
    if (unshare(CLONE_NEWNET) != 0) {
        raise("unshare(CLONE_NEWNET)");
    }
    bring_lo_up();
    netns_ = Fd(open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC));
    if (setns(home.get(), CLONE_NEWNET) != 0) {
        raise("return to the own network namespace");
    }
    struct stat info {};
    fstat(netns_.get(), &info);
    inode_ = static_cast<std::uint32_t>(info.st_ino);
    holder_ = spawn("tt-holder", [] {
        alarm(600);
        pause();
    });
    proc_ = "/proc/" + std::to_string(holder_.pid);
    const auto own = "net:[" + std::to_string(inode_) + "]";
    char link[64] = {};
    for (int i = 0; own != link; ++i) {  // until it has entered the namespace
        if (i == 5000) {
            throw std::runtime_error("the holder of the namespace did not enter it");
        }
        std::memset(link, 0, sizeof link);
        (void)!readlink((proc_ + "/ns/net").c_str(), link, sizeof link - 1);
        sleep_ms(1);
    }
}

Arena::~Arena() {
    for (const pid_t pid : children_) {
        kill(pid, SIGKILL);
        waitpid(pid, nullptr, 0);
    }
    unmap_shared(report_, sizeof(Report));
}

Who Arena::spawn(const std::string& comm, const std::function<void()>& body) {
    const pid_t parent = getpid();
    const pid_t pid = fork();
    if (pid < 0) {
        raise("fork");
    }
    if (pid > 0) {
        children_.push_back(pid);
        return {pid, comm, {}};
    }
    try {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        if (getppid() != parent) {
            _exit(1);
        }
        alarm(kActorLife_s);
        prctl(PR_SET_NAME, comm.c_str());
        allow_many_files();
        if (setns(netns_.get(), CLONE_NEWNET) != 0) {
            raise("enter the network namespace");
        }
        body();
        _exit(0);
    } catch (const std::exception& error) {
        std::strncpy(report_->text, (comm + ": " + error.what()).c_str(), sizeof report_->text - 1);
        _exit(1);
    }
}

void Arena::join(const Who& who) {
    const int status = reap(who);
    std::erase(children_, who.pid);
    if (WIFSIGNALED(status)) {
        throw std::runtime_error(who.comm + " died by signal " + std::to_string(WTERMSIG(status)));
    }
    if (WEXITSTATUS(status) != 0) {
        throw std::runtime_error(std::string("scene failed: ") + report_->text);
    }
}

void Arena::join_killed(const Who& who, int signal) {
    const int status = reap(who);
    std::erase(children_, who.pid);
    if (!WIFSIGNALED(status) || WTERMSIG(status) != signal) {
        throw std::runtime_error(who.comm + " did not die by the signal that was meant for it: " + report_->text);
    }
}

void Arena::inside(const std::function<void()>& action) {
    join(spawn("tt-inside", action));
}

void Arena::sysctl(const std::string& name, const std::string& value) {
    inside([&] { write_file("/proc/sys/" + name, value); });
}

int Arena::sockstat(const std::string& key) const {
    int sum = 0;
    for (const char* file : {"/net/sockstat", "/net/sockstat6"}) {
        std::istringstream lines(read_file(proc_ + file));
        for (std::string line; std::getline(lines, line);) {
            std::istringstream words(line);
            std::string word;
            int value = 0;
            words >> word;
            if (word != "TCP:" && word != "TCP6:") {
                continue;
            }
            while (words >> word >> value) {
                sum += word == key ? value : 0;
            }
        }
    }
    return sum;
}

std::uint64_t Arena::netstat(const std::string& counter) const {
    std::istringstream lines(read_file(proc_ + "/net/netstat"));
    std::string names;
    std::string values;
    while (std::getline(lines, names) && std::getline(lines, values)) {
        std::istringstream name(names);
        std::istringstream value(values);
        std::string n;
        std::string v;
        while (name >> n && value >> v) {
            if (n == counter) {
                return std::stoull(v);
            }
        }
    }
    throw std::runtime_error("this kernel has no counter " + counter);
}

std::set<std::uint16_t> Arena::full_fin_wait2() const {
    std::set<std::uint16_t> ports;
    std::istringstream lines(read_file(proc_ + "/net/tcp"));
    for (std::string line; std::getline(lines, line);) {
        std::istringstream words(line);
        std::string slot;
        std::string local;
        std::string remote;
        std::string state;
        std::string queues;
        std::string timer;
        words >> slot >> local >> remote >> state >> queues >> timer;
        // 05 is FIN_WAIT2; timer 02 is that of a full socket, 03 that of a mini.
        if (state == "05" && timer.starts_with("02:")) {
            ports.insert(static_cast<std::uint16_t>(std::stoul(local.substr(local.find(':') + 1), nullptr, 16)));
        }
    }
    return ports;
}

void Arena::settle(int remaining, int timeout_ms) const {
    // The kernel adds up its CPUs' counts one after another: a single reading may be too low while sockets close.
    for (int waited = 0, calm = 0; calm < 3; waited += 2) {
        const int in_use = sockstat("inuse");
        calm = in_use > remaining ? 0 : calm + 1;
        if (waited > timeout_ms) {
            throw std::runtime_error("sockets are left in the namespace: inuse " + std::to_string(in_use));
        }
        sleep_ms(2);
    }
    sleep_ms(5);  // "in use" falls a moment before the last transition is told
}

Cue::Cue() : fd_(eventfd(0, EFD_SEMAPHORE | EFD_CLOEXEC)) {}

void Cue::give(int times) const {
    const std::uint64_t n = static_cast<std::uint64_t>(times);
    if (write(fd_.get(), &n, sizeof n) != sizeof n) {
        raise("give a cue");
    }
}

void Cue::take(int timeout_ms) const {
    pollfd wanted{fd_.get(), POLLIN, 0};
    std::uint64_t n = 0;
    if (poll(&wanted, 1, timeout_ms) != 1 || read(fd_.get(), &n, sizeof n) != sizeof n) {
        throw std::runtime_error("a cue did not come");
    }
}

void* map_shared(std::size_t size) {
    void* memory = mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED) {
        raise("mmap");
    }
    return memory;
}

void unmap_shared(void* memory, std::size_t size) {
    munmap(memory, size);
}

}  // namespace tcptrail::live
