// SPDX-License-Identifier: Apache-2.0
#include <cstdlib>
#include <map>

#include "rows.h"

namespace tcptrail::live {

namespace {

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

}  // namespace

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
    Differences differences = compare_trace_end(truth, rows);
    const Differences of_rows = compare_transition_rows(truth, rows, bounds);
    differences.insert(differences.end(), of_rows.begin(), of_rows.end());
    return differences;
}

Differences compare_transition_rows(const Truth& truth, const std::vector<Json>& rows, const Bounds& bounds) {
    std::map<std::string, Trail> by_cookie;
    Differences differences;
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

}  // namespace tcptrail::live
