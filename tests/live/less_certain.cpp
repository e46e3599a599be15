// SPDX-License-Identifier: Apache-2.0
#include "less_certain.h"

#include <algorithm>
#include <map>
#include <set>

#include "rows.h"

namespace tcptrail::live {

namespace {

std::string first_choice(const std::string& choices) {
    return choices.substr(0, choices.find('|'));
}

Json object_of(const Who& who) {
    Json object = {{"pid", who.pid}, {"comm", who.comm}};
    if (!who.thread.empty()) {
        object["thread"] = who.thread;
    }
    return object;
}

bool is_pid(const Json& object, const Who& who) {
    return object.is_object() && object.value("pid", Json()) == who.pid && text(object, "comm") == who.comm;
}

const Side* listener_of(const Truth& truth, const Side& side) {
    for (const Side& other : truth.sides) {
        if (other.role == Role::listener && other.tuple.lport == side.tuple.lport) {
            return &other;
        }
    }
    return nullptr;
}

void forgive_owner(Json& row, const OwnerTruth& owner, const Side& side, const Truth& truth) {
    if (owner.who.pid == 0 || !row.contains("owner")) {
        return;
    }
    const Json& said = row["owner"];
    const std::string evidence = text(said, "evidence");
    const Side* listener = side.role == Role::passive ? listener_of(truth, side) : nullptr;
    const bool unknown = evidence == "unknown" && !said.contains("pid");
    const bool inherited =
        evidence == "inherited" && listener != nullptr && is_pid(said, listener->owner.who) && !side.before_trace;
    const bool closer = evidence == "close" && side.closer && is_pid(said, side.closer->who);
    const bool right = is_pid(said, owner.who);  // the evidence is another
    if (unknown || inherited || closer) {
        row["owner"] = object_of(owner.who);
        row["owner"]["evidence"] = first_choice(owner.evidence);
    } else if (right) {
        row["owner"]["evidence"] = first_choice(owner.evidence);
    }
}

void fill_null(Json& row, const char* key, const Json& value) {
    if (row.contains(key) && row[key].is_null()) {
        row[key] = value;
    }
}

void forgive_connection(Json& row, const Side& side, const Truth& truth) {
    forgive_owner(row, side.owner, side, truth);
    if (side.closer) {
        fill_null(row, "closer", object_of(side.closer->who));
    }
    fill_null(row, "time_wait", side.time_wait);
    fill_null(row, "bytes_sent", side.bytes_sent.value_or(0));
    fill_null(row, "bytes_received", side.bytes_received.value_or(0));
    if (text(row, "close_reason") == "unknown") {
        row["close_reason"] = first_choice(side.reason);
    }
}

/// Without sent RSTs it is not known whether a dead FIN_WAIT2 went into TIME_WAIT. On a busy machine the peer's FIN comes after its
/// delayed ACK, and the socket is such a one.
void forgive_undecided(Json& row, const Side& side) {
    const bool enters = std::any_of(side.steps.begin(), side.steps.end(), [](const Step& step) {
        return step.from == "FIN_WAIT2" && step.to == "TIME_WAIT";
    });
    if (enters && text(row, "old") == "FIN_WAIT2" && text(row, "new") == "CLOSE") {
        row["new"] = "TIME_WAIT";
    }
}

void forgive_transition(Json& row, const Side& side, const Truth& truth) {
    for (const Step& step : side.steps) {
        if (step.from == text(row, "old") && step.to == text(row, "new")) {
            forgive_owner(row, step.owner, side, truth);
            if (step.actor) {
                fill_null(row, "actor", object_of(step.actor->who));
            }
        }
    }
}

/// Not all of the side's steps, and nothing else.
bool lacks_steps(const Trail& trail, const Side& side) {
    std::size_t found = 0;
    for (const Step& step : side.steps) {
        if (found < trail.rows.size() && text(trail.rows[found], "old") == step.from &&
            text(trail.rows[found], "new") == step.to) {
            ++found;
        }
    }
    return text(trail.rows.front(), "type") == "transition" && found == trail.rows.size() && found < side.steps.size();
}

long count_of(const Json& end, const char* key) {
    return end.value(key, Json(0)).get<long>();
}

}  // namespace

void forgive_ignorance(Truth& truth, std::vector<Json>& rows) {
    if (rows.empty()) {
        return;
    }
    const long expected = truth.transitions();
    std::map<std::string, Trail> trails;  // by cookie and generation
    for (const Json& row : rows) {
        if (row.contains("cookie")) {
            trails[text(row, "cookie") + row.value("generation", Json()).dump()].rows.push_back(row);
        }
    }
    std::map<std::string, std::string> keys;
    for (const auto& [cookie, trail] : trails) {
        keys[cookie] = trail.key();
    }
    Json& end = rows.back();
    const long missed = count_of(end, "missed");
    std::set<std::string> gaps;  // keys of connections of which the output says that it did not see all
    for (Json& row : rows) {
        if (!row.contains("cookie")) {
            continue;
        }
        const std::string key = keys[text(row, "cookie") + row.value("generation", Json()).dump()];
        if (row.value("complete", Json(true)) == false) {
            gaps.insert(key);
        }
        const auto side =
            std::find_if(truth.sides.begin(), truth.sides.end(), [&](const Side& each) { return key_of(each) == key; });
        if (side == truth.sides.end()) {
            continue;
        }
        if (row["type"] == "connection") {
            forgive_connection(row, *side, truth);
        } else if (row["type"] == "transition") {
            if (end.value("hooks", Json::object()).value("reset_sent", "") == "none") {
                forgive_undecided(row, *side);
            }
            forgive_transition(row, *side, truth);
        }
    }
    // Missed transitions are counted, and the rest must be there: nothing is lost in silence.
    if (missed > 0 && count_of(end, "transitions") + missed == expected) {
        for (const auto& entry : trails) {
            const auto& trail = entry.second;
            const auto side = std::find_if(truth.sides.begin(), truth.sides.end(),
                                           [&](const Side& each) { return key_of(each) == trail.key(); });
            if (side != truth.sides.end() && lacks_steps(trail, *side)) {
                gaps.insert(trail.key());
            }
        }
        end["transitions"] = expected;
        end["missed"] = 0;
    }
    end["incomplete_connections"] = 0;  // each row says it too
    std::erase_if(rows, [&](const Json& row) {
        return row.contains("cookie") &&
               gaps.contains(keys[text(row, "cookie") + row.value("generation", Json()).dump()]);
    });
    std::erase_if(truth.sides, [&](const Side& side) { return gaps.contains(key_of(side)); });
    if (count_of(rows.back(), "transitions") == expected) {
        rows.back()["transitions"] = truth.transitions();
    }
}

}  // namespace tcptrail::live
