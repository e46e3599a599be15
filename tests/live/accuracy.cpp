// SPDX-License-Identifier: Apache-2.0
#include "accuracy.h"

#include <sys/utsname.h>

#include <algorithm>
#include <cstdio>
#include <ctime>
#include <map>
#include <optional>
#include <set>
#include <sstream>
#include <string>
#include <vector>

#include "other_tracer.h"
#include "rows.h"
#include "scene.h"

namespace tcptrail::live {

namespace {

struct Score {
    int connections = 0;
    int owner_right = 0;
    int owner_unknown = 0;  // said so, right or not
    int closers = 0;        // that some process is
    int closer_right = 0;
    int other_right = 0;

    Score& operator+=(const Score& more) {
        connections += more.connections;
        owner_right += more.owner_right;
        owner_unknown += more.owner_unknown;
        closers += more.closers;
        closer_right += more.closer_right;
        other_right += more.other_right;
        return *this;
    }
};

struct Line {
    std::string title;
    Score score;
};

/// The pids that tcplife gave each connection: PID COMM LADDR LPORT RADDR RPORT TX_KB RX_KB MS.
using Told = std::multimap<std::string, pid_t>;

Told read_tcplife(const std::string& text) {
    Told told;
    std::istringstream lines(text);
    for (std::string line; std::getline(lines, line);) {
        std::istringstream stream(line);
        std::vector<std::string> words;
        for (std::string word; stream >> word;) {
            words.push_back(word);
        }
        if (words.size() >= 9) {
            const auto at = [&](std::size_t from_end) { return words[words.size() - from_end]; };
            told.emplace(without_mapped(at(7)) + ":" + at(6) + ">" + without_mapped(at(5)) + ":" + at(4),
                         std::atoi(words[0].c_str()));
        }
    }
    return told;
}

bool is_owner(const OwnerTruth& truth, pid_t pid) {
    return truth.who.pid == pid ||
           std::any_of(truth.or_else.begin(), truth.or_else.end(), [&](const Who& who) { return who.pid == pid; });
}

bool other_is_right(const Side& side, const Told& told) {
    const Tuple& tuple = side.tuple;
    const auto range = told.equal_range(std::string(tuple.laddr) + ":" + std::to_string(tuple.lport) + ">" +
                                        tuple.raddr + ":" + std::to_string(tuple.rport));
    if (side.owner.who.pid == 0) {
        return range.first == range.second;  // nobody can know, and it says nothing
    }
    return std::any_of(range.first, range.second, [&](const auto& line) { return is_owner(side.owner, line.second); });
}

Score judge(const Truth& truth, const std::vector<Json>& rows, const Told& told) {
    std::map<std::string, Json> by_key;
    for (const Json& row : rows) {
        if (text(row, "type") == "connection") {
            by_key[Trail{{row}}.key()] = row;
        }
    }
    Score score;
    for (const Side& side : truth.sides) {
        if (side.role == Role::listener) {
            continue;
        }
        ++score.connections;
        score.other_right += other_is_right(side, told) ? 1 : 0;
        score.closers += side.closer ? 1 : 0;
        const auto found = by_key.find(key_of(side));
        if (found == by_key.end()) {
            continue;  // not told: not right
        }
        const Json& owner = found->second["owner"];
        const bool unknown = text(owner, "evidence") == "unknown";
        score.owner_unknown += unknown ? 1 : 0;
        score.owner_right += owner_fault(found->second, side.owner, side.any_thread).empty() ? 1 : 0;
        score.closer_right +=
            side.closer && named_fault(found->second, "closer", Named{side.closer->who}, side.any_thread).empty() ? 1
                                                                                                                  : 0;
    }
    return score;
}

std::optional<Score> run(const Scene& scene) {
    Arena arena;
    Tracer tracer;
    std::optional<OtherTracer> other;
    const Truth truth = scene.run(arena, [&] {
        other.emplace("tcplife");
        tracer.start({"life", "--json", "--netns", std::to_string(arena.inode())});
        tracer.await_tracing();
    });
    const Output output = tracer.stop();
    if (!other->available()) {
        std::fprintf(stderr, "accuracy: needs tcplife of libbpf-tools\n");
        return std::nullopt;
    }
    return judge(truth, output.rows(), read_tcplife(other->finish()));
}

/// Scenes for the table, in its order; their names are the rows' titles.
std::vector<const Scene*> chosen() {
    static const std::set<std::string> plain = {
        "ClientClosesFirst", "ServerClosesFirst",           "Ipv6",
        "Ipv4Mapped",        "Ipv4MappedServerClosesFirst", "ResetBeforeAccept"};
    std::vector<const Scene*> all;
    for (const Scene& scene : scenes()) {
        if (plain.contains(scene.name)) {
            all.push_back(&scene);
        }
    }
    for (const Scene& scene : owner_scenes()) {
        all.push_back(&scene);
    }
    return all;
}

void print(const Line& line) {
    const Score& score = line.score;
    std::printf("| %s | %d | %d | %d | %d of %d | %d |\n", line.title.c_str(), score.connections, score.owner_right,
                score.owner_unknown, score.closer_right, score.closers, score.other_right);
}

std::string percent(int part, int whole) {
    char text[16];
    std::snprintf(text, sizeof text, "%.1f %%", whole == 0 ? 0.0 : 100.0 * part / whole);
    return text;
}

}  // namespace

int print_accuracy() {
    if (!missing_for_tracing().empty()) {
        std::fprintf(stderr, "accuracy: %s\n", missing_for_tracing().c_str());
        return 1;
    }
    utsname names{};
    uname(&names);
    const std::time_t now = std::time(nullptr);
    char day[16];
    std::strftime(day, sizeof day, "%Y-%m-%d", std::gmtime(&now));
    std::printf("`scripts/accuracy`, %s, Linux %s\n\n", day, names.release);
    std::printf("| scene | connections | owner right | says unknown | closer right | tcplife right |\n");
    std::printf("|---|--:|--:|--:|--:|--:|\n");
    Score total;
    for (const Scene* scene : chosen()) {
        const auto score = run(*scene);
        if (!score) {
            return 1;
        }
        print({scene->name, *score});
        std::fflush(stdout);
        total += *score;
    }
    print({"**all**", total});
    std::printf("\nowner right: tcptrail %s, tcplife %s; closer right: tcptrail %s\n",
                percent(total.owner_right, total.connections).c_str(),
                percent(total.other_right, total.connections).c_str(),
                percent(total.closer_right, total.closers).c_str());
    return total.owner_right == total.connections && total.closer_right == total.closers ? 0 : 1;
}

}  // namespace tcptrail::live
