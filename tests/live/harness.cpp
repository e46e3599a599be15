// SPDX-License-Identifier: Apache-2.0
#include "harness.h"

#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/utsname.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <sstream>
#include <tuple>

#include "arena.h"

namespace tcptrail::live {

namespace {

std::string& chosen_path() {
    static std::string path;
    return path;
}

double now_s() {
    return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

std::string file_since(int fd, std::size_t bytes) {
    struct stat info {};
    fstat(fd, &info);
    const auto size = static_cast<std::size_t>(info.st_size);
    std::string text(size > bytes ? size - bytes : 0, '\0');
    const ssize_t n = pread(fd, text.data(), text.size(), static_cast<off_t>(bytes));
    text.resize(n < 0 ? 0 : static_cast<std::size_t>(n));
    return text;
}

std::string whole_file(int fd) {
    return file_since(fd, 0);
}

std::vector<std::string> lines_of(const std::string& text) {
    std::vector<std::string> lines;
    std::istringstream stream(text);
    for (std::string line; std::getline(stream, line);) {
        lines.push_back(line);
    }
    return lines;
}

std::string own_path() {
    char path[4096] = {};
    return readlink("/proc/self/exe", path, sizeof path - 1) <= 0 ? "tcptrail_live" : path;
}

std::string beside_this_program() {
    const std::string self = own_path();
    return self.substr(0, self.rfind('/') + 1) + "tcptrail";
}

struct Started {
    pid_t pid;
    Fd out;
    Fd err;
};

Started start_program(const std::vector<std::string>& argv, const BeforeExec& before_exec) {
    Started started{-1, Fd(memfd_create("stdout", MFD_CLOEXEC)), Fd(memfd_create("stderr", MFD_CLOEXEC))};
    // Appending, as a shell's >> would: what a child of the program writes is not overwritten.
    fcntl(started.out.get(), F_SETFL, O_APPEND);
    fcntl(started.err.get(), F_SETFL, O_APPEND);
    started.pid = fork();
    if (started.pid < 0) {
        raise("fork");
    }
    if (started.pid == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        dup2(started.out.get(), STDOUT_FILENO);
        dup2(started.err.get(), STDERR_FILENO);
        const int null = open("/dev/null", O_RDONLY);
        if (null >= 0) {
            dup2(null, STDIN_FILENO);
        }
        try {
            if (before_exec) {
                before_exec();
            }
        } catch (const std::exception& error) {
            dprintf(STDERR_FILENO, "before exec: %s\n", error.what());
            _exit(126);
        }
        std::vector<char*> args;
        for (const std::string& arg : argv) {
            args.push_back(const_cast<char*>(arg.c_str()));
        }
        args.push_back(nullptr);
        execvp(args[0], args.data());
        dprintf(STDERR_FILENO, "cannot start %s: %s\n", args[0], std::strerror(errno));
        _exit(127);
    }
    return started;
}

/// A trace that began and ended well is remembered beside this program, for this boot, these privileges and this tcptrail:
/// ctest starts a program for each test, and to find it out anew would double what all of them load into the kernel.
class Proof {
public:
    bool stands() const {
        struct stat proof {};
        struct stat binary {};
        return stat(path_.c_str(), &proof) == 0 && stat(binary_path().c_str(), &binary) == 0 &&
               std::tie(proof.st_mtim.tv_sec, proof.st_mtim.tv_nsec) >
                   std::tie(binary.st_mtim.tv_sec, binary.st_mtim.tv_nsec) &&
               read_file(path_) == words();
    }
    void leave() const {
        if (std::FILE* const file = std::fopen(path_.c_str(), "w")) {
            std::fputs(words().c_str(), file);
            std::fclose(file);
        }
    }

private:
    static std::string words() {
        const std::string status = read_file("/proc/self/status");
        return binary_path() + "\n" + read_file("/proc/sys/kernel/random/boot_id") +
               status.substr(status.find("CapEff"), sizeof "CapEff:\t0123456789abcdef");
    }

    const std::string path_ = own_path() + ".traces";
};

std::string find_missing() {
    if (access(binary_path().c_str(), X_OK) != 0) {
        return "needs the tcptrail binary (--tcptrail=PATH or TCPTRAIL_BIN): " + binary_path() + " is not there";
    }
    if (geteuid() != 0) {
        return "needs root (to load BPF and to make network namespaces)";
    }
    const Proof proof;
    if (proof.stands()) {
        return {};
    }
    try {
        Arena arena;
        Tracer tracer;
        tracer.start({"trace", "--json", "--netns", std::to_string(arena.inode())});
        tracer.await_tracing();
        if (tracer.stop().status == 0) {
            proof.leave();
        }
    } catch (const std::exception& error) {
        return std::string("needs a kernel and privileges that allow tracing: ") + error.what();
    }
    return {};
}

}  // namespace

const std::string& binary_path() {
    std::string& path = chosen_path();
    if (path.empty()) {
        const char* from_env = std::getenv("TCPTRAIL_BIN");
        path = from_env != nullptr ? from_env : beside_this_program();
    }
    return path;
}

void set_binary_path(const std::string& path) {
    chosen_path() = path;
}

std::vector<Json> Output::rows() const {
    std::vector<Json> rows;
    for (const std::string& line : lines_of(out)) {
        Json row = Json::parse(line, nullptr, false);
        if (row.is_discarded()) {
            throw std::runtime_error("line " + std::to_string(rows.size() + 1) + " is not JSON: " + line);
        }
        rows.push_back(std::move(row));
    }
    return rows;
}

void row_lacks(const char* condition) {
    throw std::out_of_range(std::string("a row lacks a field: ") + condition);
}

Json Output::last_row() const {
    const std::vector<Json> all = rows();
    return all.empty() ? Json::object() : all.back();
}

std::vector<std::string> Output::err_lines() const {
    return lines_of(err);
}

Tracer::~Tracer() {
    if (running()) {
        kill(pid_, SIGKILL);
        waitpid(pid_, nullptr, 0);
    }
}

void Tracer::start(const std::vector<std::string>& args, const BeforeExec& before_exec) {
    start_copy(binary_path(), args, before_exec);
}

void Tracer::start_copy(const std::string& binary, const std::vector<std::string>& args,
                        const BeforeExec& before_exec) {
    std::vector<std::string> argv = {binary};
    argv.insert(argv.end(), args.begin(), args.end());
    Started started = start_program(argv, before_exec);
    pid_ = started.pid;
    out_ = std::move(started.out);
    err_ = std::move(started.err);
    started_ = now_s();
}

void Tracer::await_tracing(int timeout_ms) {
    for (int waited = 0;; waited += 2) {
        for (const std::string& line : lines_of(err_so_far())) {
            if (line == "tcptrail: tracing") {
                return;
            }
        }
        siginfo_t info{};
        if (waitid(P_PID, static_cast<id_t>(pid_), &info, WEXITED | WNOHANG | WNOWAIT) == 0 && info.si_pid == pid_) {
            throw std::runtime_error("tcptrail ended with status " + std::to_string(info.si_status) +
                                     " before it traced: " + err_so_far());
        }
        if (waited > timeout_ms) {
            throw std::runtime_error("tcptrail did not say that it traces: " + err_so_far());
        }
        sleep_ms(2);
    }
}

void Tracer::send(int signal) const {
    if (running()) {
        kill(pid_, signal);
    }
}

Output Tracer::wait(int timeout_ms) {
    Output output;
    const double deadline = now_s() + timeout_ms / 1000.0;
    int status = 0;
    pid_t ended = 0;
    while ((ended = waitpid(pid_, &status, WNOHANG)) == 0 && now_s() < deadline) {
        sleep_ms(2);
    }
    if (ended == 0) {
        kill(pid_, SIGKILL);
        waitpid(pid_, nullptr, 0);
    } else {
        output.status = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
    }
    output.seconds = now_s() - started_;
    output.out = out_so_far();
    output.err = err_so_far();
    pid_ = -1;
    return output;
}

Output Tracer::stop() {
    send(SIGINT);
    return wait();
}

std::string Tracer::out_since(std::size_t bytes) const {
    return file_since(out_.get(), bytes);
}

std::string Tracer::err_so_far() const {
    return whole_file(err_.get());
}

Output run_tcptrail(const std::vector<std::string>& args, const BeforeExec& before_exec, int timeout_ms) {
    Tracer tracer;
    tracer.start(args, before_exec);
    return tracer.wait(timeout_ms);
}

Output run_program(const std::vector<std::string>& argv, int netns_fd, int timeout_ms) {
    const double started_at = now_s();
    Started started = start_program(argv, [&] {
        if (netns_fd >= 0 && setns(netns_fd, CLONE_NEWNET) != 0) {
            raise("enter the network namespace");
        }
    });
    Output output;
    int status = 0;
    pid_t ended = 0;
    while ((ended = waitpid(started.pid, &status, WNOHANG)) == 0 && now_s() < started_at + timeout_ms / 1000.0) {
        sleep_ms(2);
    }
    if (ended == 0) {
        kill(started.pid, SIGKILL);
        waitpid(started.pid, nullptr, 0);
    } else {
        output.status = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
    }
    output.out = whole_file(started.out.get());
    output.err = whole_file(started.err.get());
    output.seconds = now_s() - started_at;
    return output;
}

bool have_program(const std::string& name) {
    std::istringstream folders(std::getenv("PATH") != nullptr ? std::getenv("PATH") : "/usr/bin:/usr/sbin");
    for (std::string folder; std::getline(folders, folder, ':');) {
        if (access((folder + "/" + name).c_str(), X_OK) == 0) {
            return true;
        }
    }
    return false;
}

Json last_of(const std::vector<Json>& rows, const std::string& type) {
    const auto found =
        std::find_if(rows.rbegin(), rows.rend(), [&](const Json& row) { return row.value("type", "") == type; });
    return found == rows.rend() ? Json::object() : *found;
}

int part_of(int count) noexcept {
    const char* const wish = std::getenv("TCPTRAIL_LIVE_PART");
    const int part = wish != nullptr ? std::atoi(wish) : 1;
    return part > 1 ? count / part : count;
}

const std::string& missing_for_tracing() {
    static const std::string missing = find_missing();
    return missing;
}

bool kernel_shows_syn_recv() {
    utsname names{};
    uname(&names);
    int major = 0;
    int minor = 0;
    std::sscanf(names.release, "%d.%d", &major, &minor);
    return major > 6 ||
           (major == 6 && minor > 12);  // kernel.md section 5; what lies between 6.12 and 6.18 is not known
}

}  // namespace tcptrail::live
