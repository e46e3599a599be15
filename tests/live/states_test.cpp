// SPDX-License-Identifier: Apache-2.0
// `tcptrail states`: against ss, against sockstat, and against what a scene is by construction.
#include <gtest/gtest.h>
#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <map>
#include <sstream>

#include "crowd.h"
#include "suites.h"

namespace tcptrail::live {

namespace {

const char* kernel_name(const std::string& ss_name) {
    static const std::map<std::string, const char*> names = {
        {"ESTAB", "ESTABLISHED"},    {"SYN-SENT", "SYN_SENT"},   {"SYN-RECV", "SYN_RECV"}, {"FIN-WAIT-1", "FIN_WAIT1"},
        {"FIN-WAIT-2", "FIN_WAIT2"}, {"TIME-WAIT", "TIME_WAIT"}, {"UNCONN", "CLOSE"},      {"CLOSE-WAIT", "CLOSE_WAIT"},
        {"LAST-ACK", "LAST_ACK"},    {"LISTEN", "LISTEN"},       {"CLOSING", "CLOSING"},
    };
    return names.at(ss_name);
}

Population as_ss_counts(const Arena& arena) {
    Population counts;
    std::istringstream lines(run_program({"ss", "-tanH"}, arena.netns_fd()).out);
    for (std::string line; std::getline(lines, line);) {
        ++counts[kernel_name(line.substr(0, line.find(' ')))];
    }
    return counts;
}

Population population(const Json& states) {
    Population counts;
    for (const auto& [state, count] : states.items()) {
        if (count != 0) {
            counts[state] = count;
        }
    }
    return counts;
}

std::vector<Json> reports(const Output& output) {
    std::vector<Json> found;
    for (const Json& row : output.rows()) {
        if (row["type"] == "states") {
            found.push_back(row);
        }
    }
    return found;
}

/// The rows of `by_owner` by pid, 0 for the unknown one.
std::map<int, Json> by_pid(const Json& report) {
    std::map<int, Json> rows;
    for (const Json& row : report["by_owner"]) {
        EXPECT_TRUE(rows.emplace(row["owner"].value("pid", 0), row).second) << "two rows for one process: " << report;
    }
    return rows;
}

std::vector<std::string> only(const Arena& arena, std::vector<std::string> args) {
    args.insert(args.end(), {"--netns", std::to_string(arena.inode())});
    return args;
}

TEST(States, AgreesWithSsInFiveThousandConnections) {
    REQUIRE_TRACING();
    REQUIRE_PROGRAM("ss");
    Arena arena;
    const Crowd crowd(arena);
    const Output json = run_tcptrail(only(arena, {"states", "--json"}));
    const Output text = run_tcptrail(only(arena, {"states"}));
    const Population ss = as_ss_counts(arena);
    const int tw = arena.sockstat("tw");
    ASSERT_EQ(json.status, 0) << json.err;
    ASSERT_EQ(reports(json).size(), 1U) << "prints once and exits";
    const Json report = reports(json).front();
    EXPECT_EQ(population(report["total"]), crowd.total());
    EXPECT_EQ(population(report["total"]), ss);
    EXPECT_EQ(report["time_wait_fin_wait2"], crowd.dead_fin_wait2());
    EXPECT_EQ(report["total"]["TIME_WAIT"].get<int>() + crowd.dead_fin_wait2(), tw);

    std::map<int, Json> rows = by_pid(report);
    EXPECT_EQ(population(rows[crowd.server.pid]["states"]), crowd.of_server());
    EXPECT_EQ(population(rows[crowd.client.pid]["states"]), crowd.of_client());
    EXPECT_EQ(population(rows[0]["states"]), crowd.of_nobody());
    EXPECT_EQ(rows.size(), 3U) << "the heir holds what is the client's: it counts once";
    EXPECT_EQ(rows[crowd.client.pid]["shared"], crowd.shared());
    EXPECT_EQ(rows[crowd.client.pid]["owner"]["comm"], "tt-client");
    EXPECT_EQ(rows[0]["owner"], Json({{"evidence", "unknown"}}));

    for (const auto& [state, count] : crowd.total()) {
        EXPECT_NE(text.out.find(std::to_string(count) + " " + state), std::string::npos) << state << "\n" << text.out;
    }
    std::istringstream lines(text.out);
    for (std::string line; std::getline(lines, line);) {
        EXPECT_LE(line.size(), 120U) << line;
    }
}

/// User and system time of the children that have ended.
double children_cpu_s() {
    rusage used{};
    getrusage(RUSAGE_CHILDREN, &used);
    return static_cast<double>(used.ru_utime.tv_sec + used.ru_stime.tv_sec) +
           static_cast<double>(used.ru_utime.tv_usec + used.ru_stime.tv_usec) / 1e6;
}

/// Processor time and not the clock's: other tests may run beside this one.
TEST(States, IsQuickWithTenThousandSockets) {
    REQUIRE_TRACING();
    Arena arena;
    const Crowd crowd(arena);
    double best = 1e9;
    for (int i = 0; i < 5; ++i) {
        const double before = children_cpu_s();
        const Output output = run_tcptrail({"states", "--json"});
        ASSERT_EQ(output.status, 0) << output.err;
        best = std::min(best, children_cpu_s() - before);
    }
    EXPECT_LT(best, 0.5) << "seconds of processor time";
    RecordProperty("cpu_s", std::to_string(best));
}

TEST(States, RepeatsAndKnowsWhoLeftWhatEndedUnderTheTrace) {
    REQUIRE_TRACING();
    Arena arena;
    let_timers_alone_end(arena);
    Tracer tracer;
    tracer.start(only(arena, {"states", "--json", "-i", "200ms"}));
    tracer.await_tracing();
    const Truth truth = client_closes_first(
        arena, [] {}, 100);
    const int tw = arena.sockstat("tw");
    sleep_ms(500);
    const std::vector<Json> rows = reports(tracer.stop());
    ASSERT_GE(rows.size(), 3U);
    for (std::size_t i = 1; i < rows.size(); ++i) {
        EXPECT_LT(parse_time(rows[i - 1]["time"]), parse_time(rows[i]["time"]));
    }
    ASSERT_EQ(tw, 100);
    const auto side = std::find_if(truth.sides.begin(), truth.sides.end(), [](const Side& s) { return s.time_wait; });
    const Json last = rows.back();
    EXPECT_EQ(last["total"]["TIME_WAIT"].get<int>() + last["time_wait_fin_wait2"].get<int>(), tw);
    const std::map<int, Json> owners = by_pid(last);
    ASSERT_EQ(owners.size(), 1U) << last;
    EXPECT_EQ(owners.begin()->first, side->owner.who.pid) << "the client is gone and its TIME_WAITs are still its own";
    EXPECT_EQ(owners.begin()->second["states"], Json(population(last["total"])));
}

TEST(States, FiltersHideRowsAndNotTotals) {
    REQUIRE_TRACING();
    Arena arena;
    const Crowd crowd(arena);
    const auto one = [&](std::vector<std::string> args) {
        args.insert(args.begin(), {"states", "--json"});
        return reports(run_tcptrail(only(arena, args))).at(0);
    };
    const std::string server = std::to_string(crowd.server.pid);
    const Json by_pid = one({"-p", server});
    EXPECT_EQ(population(by_pid["total"]), crowd.total());
    ASSERT_EQ(by_pid["by_owner"].size(), 1U) << by_pid;
    EXPECT_EQ(population(by_pid["by_owner"][0]["states"]), crowd.of_server());
    const Json by_heir = one({"-c", "tt-heir"});
    ASSERT_EQ(by_heir["by_owner"].size(), 1U) << by_heir;
    EXPECT_EQ(by_heir["by_owner"][0]["owner"]["comm"], "tt-heir") << "it holds them, if it is asked for";
    EXPECT_EQ(population(by_heir["by_owner"][0]["states"]), crowd.of_client());
}

TEST(States, ReplaysByteForByte) {
    REQUIRE_TRACING();
    Arena arena;
    const Crowd crowd(arena);
    for (const std::vector<std::string>& how : {std::vector<std::string>{}, {"-i", "200ms", "-d", "700ms"}}) {
        for (const char* form : {"--json", "--color=never"}) {
            const std::string file = "/tmp/tcptrail-states-" + std::to_string(getpid()) + ".ttr";
            std::vector<std::string> live = only(arena, {"states", form, "-w", file});
            std::vector<std::string> again = only(arena, {"states", form, "-r", file});
            live.insert(live.end(), how.begin(), how.end());
            again.insert(again.end(), how.begin(), how.begin() + std::min<std::ptrdiff_t>(2, std::ssize(how)));
            const Output first = run_tcptrail(live);
            const Output second = run_tcptrail(again);
            unlink(file.c_str());
            ASSERT_EQ(first.status, 0) << first.err;
            ASSERT_EQ(second.status, 0) << second.err;
            EXPECT_EQ(first.out, second.out);
            EXPECT_GT(first.out.size(), 300U) << first.out;
        }
    }
}

}  // namespace

}  // namespace tcptrail::live
