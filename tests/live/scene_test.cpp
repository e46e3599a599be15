// SPDX-License-Identifier: Apache-2.0
// The scenes themselves, without tcptrail: the kernel's own count of time-wait sockets, and, where it is installed,
// what bcc's tcpstates saw, must agree with the truth that a scene claims.
#include <gtest/gtest.h>
#include <sched.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <map>
#include <sstream>

#include "suites.h"

namespace tcptrail::live {

namespace {

using Courses = std::map<std::string, std::vector<std::string>>;  // by addresses

std::string place(const std::string& laddr, const std::string& lport, const std::string& raddr,
                  const std::string& rport) {
    return laddr + ":" + lport + ">" + raddr + ":" + rport;
}

std::string without_mapped(std::string address) {
    const std::string prefix = "::ffff:";
    return address.starts_with(prefix) ? address.substr(prefix.size()) : address;
}

/// tcpstates' lines: SKADDR PID COMM LADDR LPORT RADDR RPORT OLD -> NEW MS. A comm may hold no blank here.
Courses read_tcpstates(const std::string& text) {
    Courses courses;
    std::istringstream lines(text);
    for (std::string line; std::getline(lines, line);) {
        std::istringstream words(line);
        std::string sk, pid, comm, laddr, lport, raddr, rport, from, arrow, to;
        words >> sk >> pid >> comm >> laddr >> lport >> raddr >> rport >> from >> arrow >> to;
        if (arrow == "->" && from != to && to != "SYN_SENT") {
            courses[place(without_mapped(laddr), lport, without_mapped(raddr), rport)].push_back(from + ">" + to);
        }
    }
    return courses;
}

/// In tcpstates' words: no TIME_WAIT, and nothing before the local port is known.
std::vector<std::string> in_its_words(const Side& side) {
    std::vector<std::string> course;
    for (const Step& step : side.steps) {
        if (step.to != "SYN_SENT" && (step.to != "SYN_RECV" || kernel_shows_syn_recv())) {
            course.push_back(step.from + ">" + (step.to == "TIME_WAIT" ? "CLOSE" : step.to));
        }
    }
    return course;
}

std::string joined(const std::vector<std::string>& words) {
    std::string text;
    for (const std::string& word : words) {
        text += (text.empty() ? "" : ", ") + word;
    }
    return text;
}

/// tcpstates, tracing this machine.
class Tcpstates {
public:
    Tcpstates() {
        if (!have_program("tcpstates")) {
            return;
        }
        int ends[2];
        if (pipe(ends) != 0) {
            raise("pipe");
        }
        from_ = Fd(ends[0]);
        pid_ = fork();
        if (pid_ == 0) {
            // It wants tracefs; the host need not have it mounted, and we do not mount it there.
            unshare(CLONE_NEWNS);
            mount("none", "/", nullptr, MS_REC | MS_PRIVATE, nullptr);
            mount("tracefs", "/sys/kernel/tracing", "tracefs", 0, nullptr);
            dup2(ends[1], STDOUT_FILENO);
            close(ends[0]);
            close(ends[1]);
            execlp("stdbuf", "stdbuf", "-oL", "tcpstates", nullptr);
            _exit(127);
        }
        close(ends[1]);
        char byte = 0;
        while (byte != '\n' && read(from_.get(), &byte, 1) == 1) {  // the heading: it is attached
        }
        works_ = byte == '\n';
    }
    bool available() const { return works_; }
    std::string finish() {
        sleep_ms(300);  // it polls
        kill(pid_, SIGINT);
        std::string text;
        char buffer[65536];
        for (ssize_t n; (n = read(from_.get(), buffer, sizeof buffer)) > 0;) {
            text.append(buffer, static_cast<std::size_t>(n));
        }
        waitpid(pid_, nullptr, 0);
        return text;
    }

private:
    pid_t pid_ = -1;
    bool works_ = false;
    Fd from_;
};

class SceneTruth : public testing::Test {
public:
    explicit SceneTruth(const Scene& scene) : scene_(scene) {}
    void TestBody() override {
        if (geteuid() != 0) {
            if (std::getenv("CI") != nullptr) {
                FAIL() << "needs root";
            }
            GTEST_SKIP() << "needs root (to make network namespaces)";
        }
        Tcpstates tcpstates;
        Arena arena;
        const Truth truth = scene_.run(arena, [] {});
        const auto standing = std::count_if(truth.sides.begin(), truth.sides.end(), [](const Side& side) {
            return side.time_wait && !side.time_wait_may_end;
        });
        EXPECT_EQ(arena.sockstat("tw"), standing) << "time-wait sockets in the namespace";
        const bool it_loses = scene_.name == "ClosedInABatch";  // its program is long: kernel.md 0.2
        if (tcpstates.available() && !it_loses) {
            Courses seen = read_tcpstates(tcpstates.finish());
            for (const Side& side : truth.sides) {
                compare(side, seen);
            }
        }
    }

private:
    static void compare(const Side& side, Courses& seen) {
        if (side.role == Role::listener || side.tuple.lport == 0 || side.before_trace) {
            return;
        }
        const auto& tuple = side.tuple;
        const auto& course =
            seen[place(tuple.laddr, std::to_string(tuple.lport), tuple.raddr, std::to_string(tuple.rport))];
        std::vector<std::string> expected = in_its_words(side);
        if (course != expected) {
            ADD_FAILURE() << side.name << " " << tuple.laddr << ":" << tuple.lport << " > " << tuple.raddr << ":"
                          << tuple.rport << " went " << joined(expected) << "; tcpstates saw " << joined(course);
        }
    }

    const Scene& scene_;
};

}  // namespace

void register_scene_tests() {
    for (const std::vector<Scene>* table : {&scenes(), &owner_scenes()}) {
        for (const Scene& scene : *table) {
            testing::RegisterTest("Scene", scene.name.c_str(), nullptr, nullptr, __FILE__, __LINE__,
                                  [&scene]() -> testing::Test* { return new SceneTruth(scene); });
        }
    }
}

}  // namespace tcptrail::live
