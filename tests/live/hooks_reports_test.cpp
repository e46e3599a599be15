// SPDX-License-Identifier: Apache-2.0
// Each hook in turn is missing (--without-hook): what the reports say of a small village of sockets is right, or less certain.
#include <gtest/gtest.h>
#include <netinet/tcp.h>

#include <map>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "listen_rows.h"
#include "stage.h"

namespace tcptrail::live {

namespace {

constexpr int kClientFirst = 4;  // closed, the client first: TIME_WAIT there
constexpr int kServerFirst = 3;  // closed, the server first: TIME_WAIT there
constexpr int kLeft = 2;         // the client has shut down its side, the server has not noticed: CLOSE_WAIT
constexpr int kOpen = 3;
constexpr int kReset = 2;  // by the client
constexpr int kAll = kClientFirst + kServerFirst + kLeft + kOpen + kReset;

using Counts = std::map<std::string, int>;

/// Stands as its numbers say from its construction until it goes.
class Village {
public:
    explicit Village(Arena& arena) {
        server = arena.spawn("tt-server", [this] { serve(); });
        stage_.listening.take();
        client = arena.spawn("tt-client", [this] { call(); });
        stands_.take();
        for (int waited_ms = 0; arena.sockstat("tw") != kClientFirst + kServerFirst && waited_ms < 5000; ++waited_ms) {
            sleep_ms(1);
        }
        EXPECT_EQ(arena.sockstat("tw"), kClientFirst + kServerFirst) << "the scene is not what it says";
    }

    Who server;
    Who client;

private:
    static constexpr int kServerFirstFrom = kClientFirst;
    static constexpr int kLeftFrom = kServerFirstFrom + kServerFirst;
    static constexpr int kOpenFrom = kLeftFrom + kLeft;
    static constexpr int kResetFrom = kOpenFrom + kOpen;

    void serve() const {
        const Fd listener = open_listener(stage_);
        std::vector<Fd> fds = accept_and_greet(listener.get(), kAll);
        const auto fd = [&](int i) -> Fd& { return fds[static_cast<std::size_t>(i)]; };
        stage_.to_server.take();
        for (int i = 0; i < kServerFirstFrom; ++i) {
            await_state(fd(i).get(), TCP_CLOSE_WAIT);
            fd(i).close();
        }
        for (int i = kServerFirstFrom; i < kLeftFrom; ++i) {
            fd(i).close();
        }
        for (int i = kLeftFrom; i < kOpenFrom; ++i) {
            await_state(fd(i).get(), TCP_CLOSE_WAIT);
        }
        for (int i = kResetFrom; i < kAll; ++i) {
            await_state(fd(i).get(), TCP_CLOSE);
            fd(i).close();
        }
        stage_.to_client.give();
        sleep_ms(60000);
    }

    void call() const {
        std::vector<Fd> fds = dial_all(stage_, kAll);
        const auto fd = [&](int i) -> Fd& { return fds[static_cast<std::size_t>(i)]; };
        for (int i = 0; i < kServerFirstFrom; ++i) {
            fd(i).close();
        }
        for (int i = kLeftFrom; i < kOpenFrom; ++i) {
            shutdown_write(fd(i).get());
        }
        for (int i = kResetFrom; i < kAll; ++i) {
            linger_zero(fd(i).get());
            fd(i).close();
        }
        stage_.to_server.give();
        stage_.to_client.take();
        for (int i = kServerFirstFrom; i < kLeftFrom; ++i) {
            await_state(fd(i).get(), TCP_CLOSE_WAIT);
            fd(i).close();
        }
        for (int i = kLeftFrom; i < kOpenFrom; ++i) {
            await_state(fd(i).get(), TCP_FIN_WAIT2);
        }
        stands_.give();
        sleep_ms(60000);
    }

    Stage stage_;
    Cue stands_;
};

Counts counts_of(const Json& object) {
    Counts counts;
    for (const auto& [name, count] : object.items()) {
        if (count != 0) {
            counts[name] = count.get<int>();
        }
    }
    return counts;
}

/// No more of each than there are; what is missing stands under `unknown`.
void expect_no_false_claim(Counts claimed, const Counts& truth, const std::string& unknown) {
    int sum = 0;
    int all = 0;
    for (const auto& [name, count] : truth) {
        all += count;
    }
    for (const auto& [name, count] : claimed) {
        sum += count;
        if (name != unknown) {
            EXPECT_LE(count, truth.contains(name) ? truth.at(name) : 0) << name;
        }
    }
    EXPECT_EQ(sum, all);
}

std::string pid_of(const Json& process) {
    const Json pid = process.is_object() ? process.value("pid", Json()) : Json();
    return pid.is_number() ? std::to_string(pid.get<int>()) : "unknown";
}

void judge_timewait(const Json& row, const Village& village) {
    SCOPED_TRACE(row.dump());
    constexpr int made = kClientFirst + kServerFirst;
    EXPECT_EQ(row["created"].get<int>() + row["undecided"].get<int>(), made);
    EXPECT_EQ(row["kernel_now"], made);
    EXPECT_EQ(row["before_trace_now"], 0);
    EXPECT_LE(row["explained_now"], made);
    EXPECT_EQ(row["overflow"], 0);
    Counts owners;
    Counts closers;
    for (const Json& origin : row["origins"]) {
        owners[origin["role"].get<std::string>() + " " + pid_of(origin["owner"])] += origin["created"].get<int>();
        closers[pid_of(origin["closer"])] += origin["created"].get<int>();
    }
    const std::string client = std::to_string(village.client.pid);
    const std::string server = std::to_string(village.server.pid);
    EXPECT_EQ(owners, (Counts{{"active " + client, kClientFirst}, {"passive " + server, kServerFirst}}));
    expect_no_false_claim(closers, {{client, kClientFirst}, {server, kServerFirst}}, "unknown");
}

void judge_closewait(const Json& row, const Village& village) {
    SCOPED_TRACE(row.dump());
    EXPECT_EQ(row["now"], kLeft);
    ASSERT_EQ(row["processes"].size(), 1U);
    EXPECT_EQ(row["processes"][0]["owner"]["pid"], village.server.pid);
    EXPECT_EQ(row["processes"][0]["now"], kLeft);
}

void judge_report(const Json& row) {
    SCOPED_TRACE(row.dump());
    constexpr int closed = kClientFirst + kServerFirst;
    EXPECT_EQ(row["ended"], 2 * (closed + kReset));
    expect_no_false_claim(
        counts_of(row["reasons"]),
        {{"local_fin", closed}, {"remote_fin", closed}, {"linger_rst", kReset}, {"rst_received", kReset}}, "unknown");
}

void judge_states(const Json& row, const Village& village) {
    SCOPED_TRACE(row.dump());
    constexpr int closed = kClientFirst + kServerFirst;
    EXPECT_EQ(counts_of(row["total"]), (Counts{{"LISTEN", 1},
                                               {"ESTABLISHED", 2 * kOpen},
                                               {"CLOSE_WAIT", kLeft},
                                               {"FIN_WAIT2", kLeft},
                                               {"TIME_WAIT", closed}}));
    std::map<std::string, Counts> by_owner;
    for (const Json& owner : row["by_owner"]) {
        by_owner[pid_of(owner["owner"])] = counts_of(owner["states"]);
    }
    EXPECT_EQ(by_owner,
              (std::map<std::string, Counts>{
                  {std::to_string(village.server.pid), {{"LISTEN", 1}, {"ESTABLISHED", kOpen}, {"CLOSE_WAIT", kLeft}}},
                  {std::to_string(village.client.pid), {{"ESTABLISHED", kOpen}, {"FIN_WAIT2", kLeft}}},
                  {"unknown", {{"TIME_WAIT", closed}}}}));
}

void judge_listen(const Output& output, const Village& village) {
    const std::vector<Json> rows = rows_of(output, kPort);
    ASSERT_EQ(rows.size(), 1U) << output.out;
    EXPECT_EQ(rows[0]["owner"]["pid"], village.server.pid);
    EXPECT_EQ(rows[0]["accept_queue"]["now"], 0);
    EXPECT_EQ(rows[0]["drops"], 0);
    EXPECT_EQ(rows[0]["syn_flood"], false);
}

std::set<std::string> findings_of(const Output& output) {
    std::set<std::string> ids;
    for (const Json& row : output.rows()) {
        if (row["type"] == "finding") {
            ids.insert(row["id"]);
        }
    }
    return ids;
}

class WithoutNeed : public testing::TestWithParam<const char*> {
protected:
    std::vector<std::string> command(const Arena& arena, std::vector<std::string> args) const {
        args.insert(args.end(), {"--json", "--without-hook", GetParam()});
        return only(arena, std::move(args));
    }
};

TEST_P(WithoutNeed, ReportsAreRightOrLessCertain) {
    REQUIRE_TRACING();
    Arena arena;
    let_timers_alone_end(arena);
    std::map<std::string, Tracer> tracers;
    tracers["timewait"].start(command(arena, {"timewait"}));
    tracers["closewait"].start(command(arena, {"closewait", "--older-than", "0s"}));
    tracers["report"].start(command(arena, {"report"}));
    tracers["doctor"].start(command(arena, {"doctor", "-d", "60s"}));
    tracers["doctor with all"].start(only(arena, {"doctor", "-d", "60s", "--json"}));
    for (auto& [name, tracer] : tracers) {
        tracer.await_tracing();
    }
    const Village village(arena);
    const Output states = run_tcptrail(command(arena, {"states"}));
    const Output listen = run_tcptrail(command(arena, {"listen"}));
    std::map<std::string, Output> outputs;
    for (auto& [name, tracer] : tracers) {
        outputs.emplace(name, tracer.stop());
    }

    judge_timewait(last_of(outputs.at("timewait").rows(), "timewait"), village);
    judge_closewait(last_of(outputs.at("closewait").rows(), "closewait"), village);
    judge_timewait(last_of(outputs.at("report").rows(), "timewait"), village);
    judge_closewait(last_of(outputs.at("report").rows(), "closewait"), village);
    judge_report(last_of(outputs.at("report").rows(), "report"));
    judge_states(last_of(states.rows(), "states"), village);
    judge_listen(listen, village);
    const std::set<std::string> with_all = findings_of(outputs.at("doctor with all"));
    for (const std::string& id : findings_of(outputs.at("doctor"))) {
        EXPECT_TRUE(with_all.contains(id)) << id << " is found for want of a hook";
    }
    for (const auto& [name, output] : outputs) {
        const Json served = output.last_row().value("hooks", Json::object()).value(GetParam(), Json());
        EXPECT_TRUE(name == "doctor with all" || !served.get<std::string>().starts_with("tp_btf")) << name << served;
    }
}

INSTANTIATE_TEST_SUITE_P(Hooks, WithoutNeed,
                         testing::Values("backup", "destroy", "accept", "reset_sent", "reset_received", "rename",
                                         "time_wait"),
                         [](const auto& need) { return std::string(need.param); });

/// They tell what stands, and nothing but a look at it can.
TEST(Hooks, ReportsOnWhatStandsNeedTheIterators) {
    REQUIRE_TRACING();
    for (const char* need : {"sockets", "holders"}) {
        for (const char* command : {"timewait", "closewait", "states", "listen", "doctor", "report"}) {
            const Output output = run_tcptrail({command, "-d", "1ms", "--without-hook", need});
            EXPECT_EQ(output.status, 3) << command;
            EXPECT_EQ(output.out, "");
            EXPECT_EQ(output.err, std::string("tcptrail: no hook serves ") + need +
                                      " (--without-hook), and this report needs it\n");
        }
    }
}

}  // namespace

}  // namespace tcptrail::live
