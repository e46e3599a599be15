// SPDX-License-Identifier: Apache-2.0
// The scenes themselves, without tcptrail: the kernel's own count of time-wait sockets, and, where it is installed,
// what bcc's tcpstates saw, must agree with the truth that a scene claims.
#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <map>
#include <sstream>

#include "other_tracer.h"
#include "stage.h"
#include "suites.h"

namespace tcptrail::live {

namespace {

struct Seen {
    std::string course;
    pid_t current;  // who ran; means something where a process made the transition
};

using Courses = std::map<std::string, std::vector<Seen>>;  // by addresses

std::string place(const std::string& laddr, const std::string& lport, const std::string& raddr,
                  const std::string& rport) {
    return laddr + ":" + lport + ">" + raddr + ":" + rport;
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
            courses[place(without_mapped(laddr), lport, without_mapped(raddr), rport)].push_back(
                {from + ">" + to, std::atoi(pid.c_str())});
        }
    }
    return courses;
}

/// The steps that tcpstates can tell apart: nothing before the local port is known.
std::vector<const Step*> steps_it_tells(const Side& side) {
    std::vector<const Step*> steps;
    for (const Step& step : side.steps) {
        if (step.to != "SYN_SENT" && (step.to != "SYN_RECV" || kernel_shows_syn_recv())) {
            steps.push_back(&step);
        }
    }
    return steps;
}

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
        OtherTracer tcpstates("tcpstates");
        Arena arena;
        let_timers_alone_end(arena);
        const Truth truth = scene_.run(arena, [] {});
        const auto standing = std::count_if(truth.sides.begin(), truth.sides.end(),
                                            [](const Side& side) { return side.time_wait && !side.time_wait_may_end; });
        EXPECT_EQ(arena.sockstat("tw"), standing) << "time-wait sockets in the namespace";
        if (tcpstates.available()) {
            const std::string told = tcpstates.finish();
            Courses seen = read_tcpstates(told);
            for (const Side& side : truth.sides) {
                compare(side, seen);
            }
            const bool flooded = told.find("lost ") != std::string::npos;  // by somebody else's traffic
            EXPECT_TRUE(flooded || told_ * 3 >= due_) << "tcpstates saw too little to judge by";
        }
    }

private:
    void compare(const Side& side, Courses& seen) {
        if (side.role == Role::listener || side.tuple.lport == 0 || side.before_trace) {
            return;
        }
        const auto& tuple = side.tuple;
        const auto& rows =
            seen[place(tuple.laddr, std::to_string(tuple.lport), tuple.raddr, std::to_string(tuple.rport))];
        // It may have lost some (kernel.md 0.2: its program is long), and tells what two CPUs saw in any order; but each
        // transition that it tells must be one of the scene's.
        std::string expected;
        std::map<std::string, std::vector<const Step*>> steps;
        for (const Step* step : steps_it_tells(side)) {
            const std::string course = step->from + ">" + (step->to == "TIME_WAIT" ? "CLOSE" : step->to);
            expected += " " + course;
            steps[course].push_back(step);
        }
        for (const Seen& row : rows) {
            std::vector<const Step*>& same = steps[row.course];
            if (same.empty()) {
                ADD_FAILURE() << side.name << " " << tuple.laddr << ":" << tuple.lport << " > " << tuple.raddr << ":"
                              << tuple.rport << " went" << expected << ", tcpstates saw " << row.course;
                continue;
            }
            if (same.front()->actor) {
                EXPECT_EQ(row.current, same.front()->actor->who.pid) << side.name << " " << row.course;
            }
            same.erase(same.begin());
        }
        due_ += steps_it_tells(side).size();
        told_ += rows.size();
    }

    std::size_t due_ = 0;
    std::size_t told_ = 0;
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
