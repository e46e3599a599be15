// SPDX-License-Identifier: Apache-2.0
#include "compare.h"

#include <algorithm>
#include <cstdio>
#include <ctime>
#include <map>
#include <set>
#include <sstream>

namespace tcptrail::live {

namespace {

constexpr std::int64_t kSlack_ns = 50'000'000;  // the two clocks are read at different moments

std::string text_of(const Who& who) {
    return who.pid == 0 ? "nobody"
                        : std::to_string(who.pid) + "/" + who.comm + (who.thread.empty() ? "" : "/" + who.thread);
}

std::string endpoints(const Json& row) {
    const auto part = [&](const char* key) { return row.contains(key) ? row[key].dump() : std::string("absent"); };
    return part("laddr") + ":" + part("lport") + " > " + part("raddr") + ":" + part("rport");
}

std::string place_of(const Tuple& tuple) {
    return std::string(tuple.laddr) + ":" + std::to_string(tuple.lport) + " > " + tuple.raddr + ":" +
           std::to_string(tuple.rport);
}

std::string text(const Json& row, const char* key) {
    return row.contains(key) && row[key].is_string() ? row[key].get<std::string>() : std::string();
}

bool is_one_of(const std::string& value, const std::string& choices) {
    std::istringstream stream(choices);
    for (std::string choice; std::getline(stream, choice, '|');) {
        if (choice == value) {
            return true;
        }
    }
    return false;
}

bool names(const Json& object, const Who& who, bool any_thread) {
    if (!object.is_object() || object.value("pid", Json()) != who.pid || text(object, "comm") != who.comm) {
        return false;
    }
    const std::string thread = text(object, "thread");
    return any_thread || (who.thread.empty() ? thread.empty() || thread == who.comm : thread == who.thread);
}

std::string owner_fault(const Json& row, const OwnerTruth& truth, bool any_thread) {
    if (!row.contains("owner") || !row["owner"].is_object()) {
        return "has no owner object";
    }
    const Json& owner = row["owner"];
    const std::string evidence = text(owner, "evidence");
    if (truth.who.pid == 0) {
        const bool nameless = !owner.contains("pid") || owner["pid"].is_null();
        return evidence == "unknown" && nameless ? "" : "owner cannot be known, yet reads " + owner.dump();
    }
    const bool right = names(owner, truth.who, any_thread) || std::any_of(truth.or_else.begin(), truth.or_else.end(),
                                                              [&](const Who& who) { return names(owner, who, any_thread); });
    return right && is_one_of(evidence, truth.evidence)
               ? ""
               : "owner is " + text_of(truth.who) + " by " + truth.evidence + ", row says " + owner.dump();
}

std::string named_fault(const Json& row, const char* key, const std::optional<Named>& truth,
                        bool any_thread) {
    if (!row.contains(key)) {
        return std::string(key) + " is absent";
    }
    const Json& object = row[key];
    if (object.is_null()) {
        return !truth || truth->may_be_null ? "" : std::string(key) + " is " + text_of(truth->who) + ", row says null";
    }
    if (!truth) {
        return std::string(key) + " is nobody, row says " + object.dump();
    }
    return names(object, truth->who, any_thread) ? ""
                                     : std::string(key) + " is " + text_of(truth->who) + ", row says " + object.dump();
}

/// Whether the row's local port may be what the truth says. Before the kernel has chosen one it is null, never a
/// number that is not it.
bool lport_fits(const Json& row, const Side& side, bool known_to_kernel) {
    const Json port = row.value("lport", Json());
    if (side.any_lport && known_to_kernel) {
        return port.is_number() && port != 0;
    }
    if (side.tuple.lport == 0 || !known_to_kernel) {
        return port.is_null() || (side.tuple.lport != 0 && port == side.tuple.lport);
    }
    return port == side.tuple.lport;
}

std::string place_fault(const Json& row, const Side& side, const Bounds& bounds, bool port_known = true) {
    const std::string family = side.tuple.v6 ? "ipv6" : "ipv4";
    if (text(row, "family") != family) {
        return "family is " + family + ", row says " + row.value("family", Json()).dump();
    }
    const bool remote_matters = side.role != Role::listener;
    if (text(row, "laddr") != side.tuple.laddr || !lport_fits(row, side, port_known) ||
        (remote_matters && (text(row, "raddr") != side.tuple.raddr || row.value("rport", Json()) != side.tuple.rport))) {
        return "addresses are " + place_of(side.tuple) + ", row says " + endpoints(row);
    }
    if (row.value("netns", Json()) != bounds.netns) {
        return "netns is " + std::to_string(bounds.netns) + ", row says " + row.value("netns", Json()).dump();
    }
    if (row.value("generation", Json()) != side.generation) {
        return "generation is " + std::to_string(side.generation) + ", row says " +
               row.value("generation", Json()).dump();
    }
    const std::int64_t time = parse_time(row.value("time", Json()));
    if (time < bounds.begin_ns - kSlack_ns || time > bounds.end_ns + kSlack_ns) {
        return "time " + row.value("time", Json()).dump() + " lies outside of the scene";
    }
    return {};
}

/// One socket's rows, in the order of the output.
struct Trail {
    std::vector<Json> rows;

    std::string course() const {
        std::string course;
        for (const Json& row : rows) {
            course += (course.empty() ? "" : ", ") + text(row, "old") + ">" + text(row, "new");
        }
        return course;
    }

    /// What joins it to a side: the addresses once the kernel has chosen a port.
    std::string key() const {
        const Json* best = &rows.front();
        for (const Json& row : rows) {
            if (row.value("lport", Json()).is_number() && row["lport"] != 0) {
                best = &row;
            }
        }
        const Json port = best->value("lport", Json());
        const bool listener = text(rows.front(), "new") == "LISTEN" || text(rows.front(), "old") == "LISTEN";
        return text(*best, "laddr") + ":" + (port.is_number() ? std::to_string(port.get<long>()) : "0") + ">" +
               (listener && text(rows.front(), "new") != "SYN_RECV" ? "*"
                                                                     : text(*best, "raddr") + ":" +
                                                                           best->value("rport", Json()).dump()) +
               "#" + rows.front().value("generation", Json(0)).dump();
    }
};

std::string key_of(const Side& side) {
    return std::string(side.tuple.laddr) + ":" + std::to_string(side.tuple.lport) + ">" +
           (side.role == Role::listener ? "*" : side.tuple.raddr + (":" + std::to_string(side.tuple.rport))) + "#" +
           std::to_string(side.generation);
}

bool is_printed(const Step& step) {
    return step.from != "LISTEN" || step.to != "SYN_RECV" || kernel_shows_syn_recv();
}

std::string mini_fault(const Json& row, Mini mini) {
    const std::string kind = text(row, "tw_substate");
    switch (mini) {
        case Mini::either: return kind.empty() || kind == "FIN_WAIT2" ? "" : "tw_substate reads " + kind;
        case Mini::yes: return kind == "FIN_WAIT2" ? "" : "tw_substate is FIN_WAIT2, row says '" + kind + "'";
        case Mini::no: return row.contains("tw_substate") ? "tw_substate is absent, row says " + kind : "";
    }
    return {};
}

std::string in_old_fault(const Json& row, const Json* before) {
    const Json span = row.value("in_old_us", Json("absent"));
    if (before == nullptr) {
        return span.is_null() || span.is_number_unsigned() ? "" : "in_old_us reads " + span.dump();
    }
    const std::int64_t lasted = (parse_time(row.value("time", Json())) - parse_time((*before)["time"])) / 1000;
    if (!span.is_number() || std::abs(span.get<std::int64_t>() - lasted) > 1) {
        return "in_old_us is " + std::to_string(lasted) + " by the times, row says " + span.dump();
    }
    return {};
}

void compare_trail(const Side& side, const Trail& trail, const Bounds& bounds, Differences& differences) {
    const std::string where = side.name + " " + place_of(side.tuple) + ": ";
    std::vector<const Step*> steps;
    std::string expected;
    for (const Step& step : side.steps) {
        if (is_printed(step)) {
            steps.push_back(&step);
            expected += (expected.empty() ? "" : ", ") + step.from + ">" + step.to;
        }
    }
    Trail seen = trail;
    if (side.time_wait_may_end && !seen.rows.empty() && text(seen.rows.back(), "old") == "TIME_WAIT") {
        seen.rows.pop_back();
    }
    if (seen.course() != expected) {
        differences.push_back(where + "went " + expected + ", output says " + seen.course());
        return;
    }
    for (std::size_t i = 0; i < steps.size(); ++i) {
        const Json& row = seen.rows[i];
        const bool port_known = steps[i]->to != "SYN_SENT" || side.lport_from_start;
        for (const std::string& fault :
             {place_fault(row, side, bounds, port_known), owner_fault(row, steps[i]->owner, side.any_thread),
              named_fault(row, "actor", steps[i]->actor, side.any_thread), mini_fault(row, steps[i]->mini),
              in_old_fault(row, i > 0 ? &seen.rows[i - 1] : nullptr),
              std::string(row.value("inferred", Json()) == false ? "" : "inferred is not false")}) {
            if (!fault.empty()) {
                differences.push_back(where + steps[i]->from + ">" + steps[i]->to + ": " + fault);
            }
        }
    }
}

/// Joins sides to what was read, by key, and tells what is too much or too little.
template <typename Item, typename Compare>
void join(const std::vector<const Side*>& sides, std::multimap<std::string, Item>& items, Differences& differences,
          const Compare& compare, const std::function<std::string(const Item&)>& describe) {
    for (const Side* side : sides) {
        auto found = items.find(key_of(*side));
        if (side->any_lport) {
            const std::string to = std::string(">") + side->tuple.raddr + ":" + std::to_string(side->tuple.rport) + "#";
            found = std::find_if(items.begin(), items.end(),
                                 [&](const auto& item) { return item.first.find(to) != std::string::npos; });
        }
        if (found == items.end()) {
            differences.push_back(side->name + " " + place_of(side->tuple) + " is not in the output");
            continue;
        }
        compare(*side, found->second);
        items.erase(found);
    }
    for (const auto& [key, item] : items) {
        differences.push_back("too much: " + key + ": " + describe(item));
    }
}

std::string states_fault(const Json& row, const Side& side) {
    std::string expected;
    for (const Step& step : side.steps) {
        if (step.from != "CLOSE" && step.from != "LISTEN" && (step.from != "SYN_RECV" || kernel_shows_syn_recv())) {
            expected += step.from + " ";
        }
    }
    std::string seen;
    for (const Json& state : row.value("states", Json::array())) {
        const std::string name = text(state, "state");
        const bool optional = name == "TIME_WAIT" || (name == "SYN_RECV" && !kernel_shows_syn_recv());
        seen += optional ? "" : name + " ";
        if (!state.contains("us") || !state["us"].is_number_unsigned()) {
            return "states has no us for " + name;
        }
    }
    return seen == expected || side.before_trace ? "" : "states were " + expected + "row says " + seen;
}

std::string span_fault(const Json& row, const Side& side, const Bounds& bounds) {
    if (side.before_trace) {
        return {};
    }
    const Json life = row.value("lifetime_us", Json());
    const Json open = row.value("established_us", Json());
    const auto longest = (bounds.end_ns - bounds.begin_ns + 2 * kSlack_ns) / 1000;
    if (!life.is_number_unsigned() || life.get<std::int64_t>() > longest) {
        return "lifetime_us reads " + life.dump();
    }
    if (side.established ? !open.is_number_unsigned() || open > life : !open.is_null() && open != 0) {
        return "established_us reads " + open.dump() + " in a lifetime of " + life.dump();
    }
    const std::int64_t opened = parse_time(row.value("opened", Json()));
    if (opened < bounds.begin_ns - kSlack_ns || opened > parse_time(row.value("time", Json()))) {
        return "opened reads " + row.value("opened", Json()).dump();
    }
    return {};
}

std::string number_fault(const Json& row, const char* key, const std::optional<long>& truth) {
    return !truth || row.value(key, Json()) == *truth
               ? ""
               : std::string(key) + " is " + std::to_string(*truth) + ", row says " + row.value(key, Json()).dump();
}

void compare_connection(const Side& side, const Json& row, const Bounds& bounds, Differences& differences) {
    const std::string role = side.role == Role::active ? "active" : "passive";
    const bool role_fits = text(row, "role") == role || (side.before_trace && text(row, "role") == "unknown");
    const auto says = [&](const char* key, const Json& truth) {
        return row.value(key, Json()) == truth
                   ? std::string()
                   : std::string(key) + " is " + truth.dump() + ", row says " + row.value(key, Json()).dump();
    };
    for (const std::string& fault :
         {place_fault(row, side, bounds), owner_fault(row, side.owner, side.any_thread), named_fault(row, "closer", side.closer, side.any_thread),
          says("time_wait", side.time_wait), says("before_trace", side.before_trace),
          says("complete", true), std::string(role_fits ? "" : "role is " + role + ", row says " + text(row, "role")),
          std::string(is_one_of(text(row, "close_reason"), side.reason)
                          ? ""
                          : "close_reason is " + side.reason + ", row says " + row.value("close_reason", Json()).dump()),
          number_fault(row, "bytes_sent", side.bytes_sent), number_fault(row, "bytes_received", side.bytes_received),
          states_fault(row, side), span_fault(row, side, bounds)}) {
        if (!fault.empty()) {
            differences.push_back(side.name + " " + place_of(side.tuple) + ": " + fault);
        }
    }
}

}  // namespace

std::int64_t wall_clock_ns() {
    timespec now{};
    clock_gettime(CLOCK_REALTIME, &now);
    return now.tv_sec * 1'000'000'000LL + now.tv_nsec;
}

std::int64_t parse_time(const Json& value) {
    std::tm tm{};
    long ns = 0;
    char zone = 0;
    char rest = 0;
    if (!value.is_string() || value.get<std::string>().size() != 30 ||
        std::sscanf(value.get<std::string>().c_str(), "%4d-%2d-%2dT%2d:%2d:%2d.%9ld%c%c", &tm.tm_year, &tm.tm_mon,
                    &tm.tm_mday, &tm.tm_hour, &tm.tm_min, &tm.tm_sec, &ns, &zone, &rest) != 8 ||
        zone != 'Z') {
        return -1;
    }
    tm.tm_year -= 1900;
    tm.tm_mon -= 1;
    return timegm(&tm) * 1'000'000'000LL + ns;
}

Differences compare_trace_end(const Truth& truth, const std::vector<Json>& rows) {
    if (rows.empty() || text(rows.back(), "type") != "trace_end") {
        return {"the last line is not trace_end"};
    }
    Differences differences;
    const Json& end = rows.back();
    const auto expect = [&](const char* key, const Json& value) {
        if (end.value(key, Json()) != value) {
            differences.push_back(std::string("trace_end: ") + key + " is " + value.dump() + ", row says " +
                                  end.value(key, Json()).dump());
        }
    };
    expect("lost", 0);
    expect("missed", 0);
    expect("incomplete_connections", 0);
    expect("truncated", false);
    expect("transitions", truth.transitions());
    if (!end.value("window_s", Json()).is_number() || !end.value("hooks", Json()).is_object()) {
        differences.push_back("trace_end lacks window_s or hooks: " + end.dump());
    }
    return differences;
}

Differences compare_transitions(const Truth& truth, const std::vector<Json>& rows, const Bounds& bounds) {
    std::map<std::string, Trail> by_cookie;
    Differences differences = compare_trace_end(truth, rows);
    for (const Json& row : rows) {
        if (text(row, "type") == "transition") {
            by_cookie[text(row, "cookie") + "#" + row.value("generation", Json()).dump()].rows.push_back(row);
        } else if (text(row, "type") != "trace_end") {
            differences.push_back("a row of another type: " + row.dump());
        }
    }
    std::multimap<std::string, Trail> trails;
    for (auto& [cookie, trail] : by_cookie) {
        trails.emplace(trail.key(), std::move(trail));
    }
    std::vector<const Side*> sides;
    for (const Side& side : truth.sides) {
        sides.push_back(&side);
    }
    join<Trail>(
        sides, trails, differences,
        [&](const Side& side, const Trail& trail) { compare_trail(side, trail, bounds, differences); },
        [](const Trail& trail) { return trail.course(); });
    return differences;
}

Differences compare_connections(const Truth& truth, const std::vector<Json>& rows, const Bounds& bounds) {
    Differences differences = compare_trace_end(truth, rows);
    std::multimap<std::string, Json> connections;
    for (const Json& row : rows) {
        if (text(row, "type") == "connection") {
            connections.emplace(Trail{{row}}.key(), row);
        }
    }
    std::vector<const Side*> sides;
    for (const Side& side : truth.sides) {
        if (side.role != Role::listener) {
            sides.push_back(&side);
        }
    }
    join<Json>(
        sides, connections, differences,
        [&](const Side& side, const Json& row) { compare_connection(side, row, bounds, differences); },
        [](const Json& row) { return row.dump(); });
    return differences;
}

std::string first_of(const Differences& differences, std::size_t most) {
    std::string text = std::to_string(differences.size()) + " differences";
    for (std::size_t i = 0; i < std::min(most, differences.size()); ++i) {
        text += "\n  " + differences[i];
    }
    return text;
}

}  // namespace tcptrail::live
