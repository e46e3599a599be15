// SPDX-License-Identifier: Apache-2.0
#include "rows.h"

#include <algorithm>
#include <cstdio>
#include <ctime>
#include <sstream>

namespace tcptrail::live {

namespace {

std::string text_of(const Who& who) {
    return who.pid == 0 ? "nobody"
                        : std::to_string(who.pid) + "/" + who.comm + (who.thread.empty() ? "" : "/" + who.thread);
}

std::string endpoints(const Json& row) {
    const auto part = [&](const char* key) { return row.contains(key) ? row[key].dump() : std::string("absent"); };
    return part("laddr") + ":" + part("lport") + " > " + part("raddr") + ":" + part("rport");
}

bool names(const Json& object, const Who& who, bool any_thread) {
    if (!object.is_object() || object.value("pid", Json()) != who.pid || text(object, "comm") != who.comm) {
        return false;
    }
    const std::string thread = text(object, "thread");
    return any_thread || (who.thread.empty() ? thread.empty() || thread == who.comm : thread == who.thread);
}

bool lport_fits(const Json& row, const Side& side, bool known_to_kernel) {
    const Json port = row.value("lport", Json());
    if (side.tuple.lport == 0 || !known_to_kernel) {
        return port.is_null() || (side.tuple.lport != 0 && port == side.tuple.lport);
    }
    return port == side.tuple.lport;
}

}  // namespace

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

std::string owner_fault(const Json& row, const OwnerTruth& truth, bool any_thread) {
    if (!row.contains("owner") || !row["owner"].is_object()) {
        return "has no owner object";
    }
    const Json& owner = row["owner"];
    const std::string evidence = text(owner, "evidence");
    const bool nameless = evidence == "unknown" && (!owner.contains("pid") || owner["pid"].is_null());
    if (truth.who.pid == 0) {
        return nameless ? "" : "owner cannot be known, yet reads " + owner.dump();
    }
    if (truth.may_be_unknown && nameless) {
        return {};
    }
    const bool right = names(owner, truth.who, any_thread) ||
                       std::any_of(truth.or_else.begin(), truth.or_else.end(),
                                   [&](const Who& who) { return names(owner, who, any_thread); });
    return right && is_one_of(evidence, truth.evidence)
               ? ""
               : "owner is " + text_of(truth.who) + " by " + truth.evidence + ", row says " + owner.dump();
}

std::string named_fault(const Json& row, const char* key, const std::optional<Named>& truth, bool any_thread) {
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
    return names(object, truth->who, any_thread)
               ? ""
               : std::string(key) + " is " + text_of(truth->who) + ", row says " + object.dump();
}

/// Whether the row's local port may be what the truth says. Before the kernel has chosen one it is null, never a
/// number that is not it.
std::string place_fault(const Json& row, const Side& side, const Bounds& bounds, bool port_known) {
    const std::string family = side.tuple.v6 ? "ipv6" : "ipv4";
    if (text(row, "family") != family) {
        return "family is " + family + ", row says " + row.value("family", Json()).dump();
    }
    const bool remote_matters = side.role != Role::listener;
    if (text(row, "laddr") != side.tuple.laddr || !lport_fits(row, side, port_known) ||
        (remote_matters &&
         (text(row, "raddr") != side.tuple.raddr || row.value("rport", Json()) != side.tuple.rport))) {
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

std::string Trail::course() const {
    std::string course;
    for (const Json& row : rows) {
        course += (course.empty() ? "" : ", ") + text(row, "old") + ">" + text(row, "new");
    }
    return course;
}

std::string Trail::key() const {
    const Json* best = &rows.front();
    for (const Json& row : rows) {
        if (row.value("lport", Json()).is_number() && row["lport"] != 0) {
            best = &row;
        }
    }
    const Json port = best->value("lport", Json());
    const bool listener = text(rows.front(), "new") == "LISTEN" || text(rows.front(), "old") == "LISTEN";
    return text(*best, "laddr") + ":" + (port.is_number() ? std::to_string(port.get<long>()) : "0") + ">" +
           (listener && text(rows.front(), "new") != "SYN_RECV"
                ? "*"
                : text(*best, "raddr") + ":" + best->value("rport", Json()).dump()) +
           "#" + rows.front().value("generation", Json(0)).dump();
}

std::string key_of(const Side& side) {
    return std::string(side.tuple.laddr) + ":" + std::to_string(side.tuple.lport) + ">" +
           (side.role == Role::listener ? "*" : side.tuple.raddr + (":" + std::to_string(side.tuple.rport))) + "#" +
           std::to_string(side.generation);
}

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

std::string first_of(const Differences& differences, std::size_t most) {
    std::string text = std::to_string(differences.size()) + " differences";
    for (std::size_t i = 0; i < std::min(most, differences.size()); ++i) {
        text += "\n  " + differences[i];
    }
    return text;
}

}  // namespace tcptrail::live
