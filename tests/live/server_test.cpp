// SPDX-License-Identifier: Apache-2.0
// A server and clients that this project did not write: nginx, curl, wrk; judged by ss and by their own pids.
#include <dirent.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <fstream>
#include <map>
#include <regex>
#include <set>
#include <sstream>

#include "suites.h"

namespace tcptrail::live {

namespace {

constexpr std::uint16_t kHttp = 8080;

/// Children of `parent`, by /proc.
std::vector<pid_t> children_of(pid_t parent) {
    std::vector<pid_t> children;
    DIR* proc = opendir("/proc");
    while (const dirent* entry = readdir(proc)) {
        const pid_t pid = std::atoi(entry->d_name);
        std::ifstream stat("/proc/" + std::string(entry->d_name) + "/stat");
        std::string text;
        if (pid > 0 && std::getline(stat, text)) {
            std::istringstream rest(text.substr(text.rfind(')') + 2));
            std::string state;
            pid_t its_parent = 0;
            rest >> state >> its_parent;
            if (its_parent == parent) {
                children.push_back(pid);
            }
        }
    }
    closedir(proc);
    return children;
}

/// nginx in the arena, in a folder of its own under /tmp.
class Nginx {
public:
    Nginx(Arena& arena, int workers) : arena_(arena) {
        char folder[] = "/tmp/tcptrail-nginx-XXXXXX";
        if (mkdtemp(folder) == nullptr) {
            raise("mkdtemp");
        }
        folder_ = folder;
        std::ofstream(folder_ + "/slow.bin") << std::string(210'000, 'x');
        std::ofstream(folder_ + "/nginx.conf")
            << "daemon off; user root; worker_processes " << workers << "; pid " << folder_ << "/pid;\n"
            << "error_log " << folder_ << "/error.log;\n"
            << "events { worker_connections 1024; }\n"
            << "http { access_log off; client_body_temp_path " << folder_ << "/b; proxy_temp_path " << folder_
            << "/p; fastcgi_temp_path " << folder_ << "/f; uwsgi_temp_path " << folder_ << "/u; scgi_temp_path "
            << folder_ << "/s;\n"
            << "server { listen 127.0.0.1:" << kHttp << "; location / { return 200 \"ok\\n\"; }\n"
            << "location /slow.bin { root " << folder_ << "; limit_rate 30k; } } }\n";
        master_ = arena.spawn("nginx", [&] {
            execlp("nginx", "nginx", "-c", (folder_ + "/nginx.conf").c_str(), "-e", (folder_ + "/error.log").c_str(),
                   nullptr);
            raise("exec nginx");
        });
        for (int i = 0; i < 5000 && children_of(master_.pid).size() < static_cast<std::size_t>(workers); ++i) {
            sleep_ms(2);
        }
        sleep_ms(100);  // the workers add the listener to their epoll
        for (const pid_t pid : children_of(master_.pid)) {
            workers_.insert(pid);
        }
    }
    ~Nginx() {
        stop();
        (void)!std::system(("rm -rf " + folder_).c_str());
    }
    void stop() {
        if (master_.pid > 0) {
            kill(master_.pid, SIGTERM);
            try {
                arena_.join(master_);
            } catch (const std::exception& error) {
                ADD_FAILURE() << error.what();
            }
            master_.pid = 0;
        }
    }
    pid_t master() const { return master_.pid; }
    const std::set<pid_t>& workers() const { return workers_; }

private:
    Arena& arena_;
    std::string folder_;
    Who master_;
    std::set<pid_t> workers_;
};

/// One line of `ss -tanpe`: what it says of a connection.
struct SsLine {
    std::string state, local, remote, cookie;
    std::set<pid_t> pids;
};

std::vector<SsLine> ss_lines(const Arena& arena) {
    std::vector<SsLine> found;
    std::istringstream lines(run_program({"ss", "-tanpeH"}, arena.netns_fd()).out);
    static const std::regex pid("pid=([0-9]+)");
    static const std::regex cookie(" sk:([0-9a-f]+)");
    for (std::string line; std::getline(lines, line);) {
        std::istringstream words(line);
        std::string queue;
        SsLine made;
        words >> made.state >> queue >> queue >> made.local >> made.remote;
        std::smatch match;
        if (std::regex_search(line, match, cookie)) {
            made.cookie = match[1];
        }
        for (std::sregex_iterator it(line.begin(), line.end(), pid), end; it != end; ++it) {
            made.pids.insert(std::atoi((*it)[1].str().c_str()));
        }
        found.push_back(made);
    }
    return found;
}

std::string end_text(const Json& row, const char* addr, const char* port) {
    return row[addr].get<std::string>() + ":" + row[port].dump();
}

TEST(Server, CurlAgainstNginxAgreesWithSs) {
    REQUIRE_TRACING();
    REQUIRE_PROGRAM("nginx");
    REQUIRE_PROGRAM("curl");
    REQUIRE_PROGRAM("ss");
    Arena arena;
    Nginx nginx(arena, 1);
    Tracer tracer;
    tracer.start({"trace", "--json", "--netns", std::to_string(arena.inode())});
    tracer.await_tracing();
    const Who curl = arena.spawn("curl", [] {
        execlp("curl", "curl", "-s", "-o", "/dev/null", "http://127.0.0.1:8080/slow.bin", nullptr);
        raise("exec curl");
    });
    std::vector<SsLine> open;
    for (int i = 0; i < 1000 && open.size() < 2; ++i) {
        sleep_ms(5);
        open = ss_lines(arena);
        // ss reads the descriptors before the sockets: of one that is new it may know no process yet.
        std::erase_if(
            open, [](const SsLine& line) { return line.state != "ESTAB" || line.cookie.empty() || line.pids.empty(); });
    }
    arena.join(curl);
    arena.settle(1);
    const std::vector<SsLine> after = ss_lines(arena);
    const Output output = tracer.stop();
    ASSERT_EQ(output.status, 0) << output.err;
    ASSERT_EQ(open.size(), 2U) << "ss did not show both ends";

    std::map<std::string, std::vector<Json>> trails;
    for (const Json& row : output.rows()) {
        if (row.value("type", "") == "transition") {
            trails[row["cookie"].get<std::string>()].push_back(row);
        }
    }
    for (const SsLine& line : open) {
        ASSERT_TRUE(trails.contains(line.cookie)) << line.cookie << " of ss is not in the trace";
        const std::vector<Json>& rows = trails[line.cookie];
        const Json& last = rows.back();
        EXPECT_EQ(end_text(last, "laddr", "lport"), line.local);
        EXPECT_EQ(end_text(last, "raddr", "rport"), line.remote);
        EXPECT_TRUE(line.pids.contains(last["owner"].value("pid", 0))) << last;
        const bool is_curl = line.pids.contains(curl.pid);
        EXPECT_EQ(last["owner"]["evidence"], is_curl ? "connect" : "accept");
        EXPECT_EQ(last["owner"]["comm"], is_curl ? "curl" : "nginx");
        for (const Json& row : rows) {
            if (row["new"] == "SYN_SENT" || row["new"] == "FIN_WAIT1" || row["new"] == "LAST_ACK") {
                EXPECT_TRUE(row["actor"].is_object() && line.pids.contains(row["actor"].value("pid", 0))) << row;
            } else {
                EXPECT_TRUE(row["actor"].is_null()) << row;
            }
        }
    }
    // Who is left in TIME_WAIT by ss ended there in the trace, and nobody else.
    std::multiset<std::string> by_ss;
    std::multiset<std::string> by_trace;
    for (const SsLine& line : after) {
        if (line.state == "TIME-WAIT" || line.state == "FIN-WAIT-2") {
            by_ss.insert(line.local + " " + line.remote);
        }
    }
    for (const auto& [cookie, rows] : trails) {
        if (rows.back()["new"] == "TIME_WAIT") {
            by_trace.insert(end_text(rows.back(), "laddr", "lport") + " " + end_text(rows.back(), "raddr", "rport"));
        }
    }
    EXPECT_EQ(by_trace, by_ss);
    EXPECT_EQ(by_ss.size(), 1U);
}

TEST(Server, EveryConnectionOfFourWorkersHasItsOwner) {
    REQUIRE_TRACING();
    REQUIRE_PROGRAM("nginx");
    REQUIRE_PROGRAM("wrk");
    Arena arena;
    Nginx nginx(arena, 4);
    ASSERT_EQ(nginx.workers().size(), 4U);
    const pid_t master = nginx.master();
    Tracer tracer;
    tracer.start({"life", "--json", "--netns", std::to_string(arena.inode())});
    tracer.await_tracing();
    const Who wrk = arena.spawn("wrk", [] {
        (void)!freopen("/dev/null", "w", stdout);
        execlp("wrk", "wrk", "-t2", "-c8", "-d1s", "-H", "Connection: close", "http://127.0.0.1:8080/", nullptr);
        raise("exec wrk");
    });
    arena.join(wrk);
    nginx.stop();
    arena.settle();
    const int standing = arena.sockstat("tw");
    const Output output = tracer.stop();
    ASSERT_EQ(output.status, 0) << output.err;
    const auto rows = output.rows();
    long time_waits = 0;
    long accepted = 0;
    long queued = 0;
    Differences faults;
    for (const Json& row : rows) {
        if (row.value("type", "") != "connection") {
            continue;
        }
        const Json& owner = row["owner"];
        const pid_t pid = owner.value("pid", 0);
        time_waits += row["time_wait"] == true ? 1 : 0;
        if (row["role"] == "active") {
            if (pid != wrk.pid || owner["evidence"] != "connect") {
                faults.push_back("active, not wrk's: " + row.dump());
            }
            continue;
        }
        const bool nobody_accepted = owner["evidence"] == "inherited";
        (nobody_accepted ? queued : accepted) += 1;
        if (nobody_accepted ? pid != master : !nginx.workers().contains(pid) || owner["evidence"] != "accept") {
            faults.push_back("passive, not a worker's: " + row.dump());
        }
        if (row["time_wait"] == true && !nginx.workers().contains(row["closer"].value("pid", 0))) {
            faults.push_back("TIME_WAIT not by a worker: " + row.dump());
        }
    }
    EXPECT_TRUE(faults.empty()) << first_of(faults, 5);
    EXPECT_GT(accepted, 100);
    EXPECT_LE(queued, 64) << "only what stood in the queue when wrk stopped";
    // nginx closes first, so each of its closes leaves one; with tcp_tw_reuse some are taken over at once.
    EXPECT_GE(time_waits, standing);
    EXPECT_EQ(output.last_row()["lost"], 0);
    EXPECT_EQ(output.last_row()["missed"], 0);
    EXPECT_EQ(output.last_row()["incomplete_connections"], 0);
}

}  // namespace

}  // namespace tcptrail::live
