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

struct Count {
    int right = 0;    // the right process is named
    int unknown = 0;  // none is named, where facts of the kernel do not let one be
    int silent = 0;   // none is named, where one can be

    Count& operator+=(const Count& more) {
        right += more.right;
        unknown += more.unknown;
        silent += more.silent;
        return *this;
    }
    int wrong(int of) const { return of - right - unknown - silent; }
};

struct Score {
    int connections = 0;
    Count ours;
    Count others;
    int closers = 0;  // that some process is
    int closer_right = 0;

    Score& operator+=(const Score& more) {
        connections += more.connections;
        ours += more.ours;
        others += more.others;
        closers += more.closers;
        closer_right += more.closer_right;
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

Count judge_other(const Side& side, const Told& told) {
    const Tuple& tuple = side.tuple;
    const auto range = told.equal_range(std::string(tuple.laddr) + ":" + std::to_string(tuple.lport) + ">" +
                                        tuple.raddr + ":" + std::to_string(tuple.rport));
    if (range.first == range.second) {
        const bool may = side.owner.who.pid == 0 || side.owner.may_be_unknown;
        return {.unknown = may ? 1 : 0, .silent = may ? 0 : 1};
    }
    const bool right = side.owner.who.pid != 0 && std::any_of(range.first, range.second, [&](const auto& line) {
                           return is_owner(side.owner, line.second);
                       });
    return {.right = right ? 1 : 0};
}

Count judge_ours(const Side& side, const Json& row) {
    const bool fits = owner_fault(row, side.owner, side.any_thread).empty();
    if (text(row["owner"], "evidence") == "unknown") {
        return {.unknown = fits ? 1 : 0, .silent = fits ? 0 : 1};
    }
    return {.right = fits ? 1 : 0};
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
        score.others += judge_other(side, told);
        score.closers += side.closer ? 1 : 0;
        const auto found = by_key.find(key_of(side));
        if (found == by_key.end()) {
            ++score.ours.silent;
            continue;
        }
        score.ours += judge_ours(side, found->second);
        const std::optional<Named> closer = side.closer ? std::optional<Named>(Named{side.closer->who}) : std::nullopt;
        score.closer_right += closer && named_fault(found->second, "closer", closer, side.any_thread).empty() ? 1 : 0;
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
    std::printf("| %s | %d | %d | %d | %d | %d of %d | %d | %d | %d |\n", line.title.c_str(), score.connections,
                score.ours.right, score.ours.unknown, score.ours.wrong(score.connections) + score.ours.silent,
                score.closer_right, score.closers, score.others.right, score.others.unknown + score.others.silent,
                score.others.wrong(score.connections));
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
    std::printf(
        "| scene | connections | owner right | not knowable | wrong | closer right | tcplife right | silent | wrong "
        "|\n");
    std::printf("|---|--:|--:|--:|--:|--:|--:|--:|--:|\n");
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
                percent(total.ours.right, total.connections - total.ours.unknown).c_str(),
                percent(total.others.right, total.connections - total.others.unknown).c_str(),
                percent(total.closer_right, total.closers).c_str());
    const bool all_right = total.ours.right + total.ours.unknown == total.connections;
    return all_right && total.closer_right == total.closers ? 0 : 1;
}

}  // namespace tcptrail::live
