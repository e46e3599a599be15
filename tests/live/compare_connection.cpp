// SPDX-License-Identifier: Apache-2.0
#include <map>

#include "rows.h"

namespace tcptrail::live {

namespace {

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
         {place_fault(row, side, bounds), owner_fault(row, side.owner, side.any_thread),
          named_fault(row, "closer", side.closer, side.any_thread), says("time_wait", side.time_wait),
          says("before_trace", side.before_trace), says("complete", true),
          std::string(role_fits ? "" : "role is " + role + ", row says " + text(row, "role")),
          std::string(is_one_of(text(row, "close_reason"), side.reason)
                          ? ""
                          : "close_reason is " + side.reason + ", row says " +
                                row.value("close_reason", Json()).dump()),
          number_fault(row, "bytes_sent", side.bytes_sent), number_fault(row, "bytes_received", side.bytes_received),
          states_fault(row, side), span_fault(row, side, bounds)}) {
        if (!fault.empty()) {
            differences.push_back(side.name + " " + place_of(side.tuple) + ": " + fault);
        }
    }
}

}  // namespace

Differences compare_connections(const Truth& truth, const std::vector<Json>& rows, const Bounds& bounds) {
    Differences differences = compare_trace_end(truth, rows);
    const Differences more = compare_connection_rows(truth, rows, bounds);
    differences.insert(differences.end(), more.begin(), more.end());
    return differences;
}

Differences compare_connection_rows(const Truth& truth, const std::vector<Json>& rows, const Bounds& bounds) {
    Differences differences;
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

}  // namespace tcptrail::live
