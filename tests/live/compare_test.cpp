// SPDX-License-Identifier: Apache-2.0
// The comparison itself: rows that tell the truth pass, and each kind of lie is named. No root, no kernel.
#include <gtest/gtest.h>

#include <cstdio>
#include <ctime>

#include "stage.h"
#include "suites.h"

namespace tcptrail::live {

namespace {

std::string time_text(std::int64_t ns) {
    const std::time_t seconds = ns / 1'000'000'000;
    std::tm tm{};
    gmtime_r(&seconds, &tm);
    char date[32];
    std::strftime(date, sizeof date, "%Y-%m-%dT%H:%M:%S", &tm);
    char whole[64];
    std::snprintf(whole, sizeof whole, "%s.%09ldZ", date, static_cast<long>(ns % 1'000'000'000));
    return whole;
}

Json object_of(const Who& who) {
    return {{"pid", who.pid}, {"comm", who.comm}};
}

constexpr std::int64_t kBegin = 1'800'000'000'000'000'000;

Json place_of(const Side& side) {
    return {{"netns", 7},
            {"family", side.tuple.v6 ? "ipv6" : "ipv4"},
            {"laddr", side.tuple.laddr},
            {"lport", side.tuple.lport == 0 ? Json() : Json(side.tuple.lport)},
            {"raddr", side.role == Role::listener ? "0.0.0.0" : side.tuple.raddr},
            {"rport", side.tuple.rport},
            {"generation", side.generation}};
}

/// What a tracer without fault prints.
std::vector<Json> honest_rows(const Truth& truth) {
    std::vector<Json> rows;
    int cookie = 16;
    for (const Side& side : truth.sides) {
        std::int64_t time = kBegin + 1000;
        ++cookie;
        for (std::size_t i = 0; i < side.steps.size(); ++i) {
            const Step& step = side.steps[i];
            Json row = place_of(side);
            row["type"] = "transition";
            row["time"] = time_text(time += 5000);
            char hex[16];
            std::snprintf(hex, sizeof hex, "%x", cookie);
            row["cookie"] = hex;
            row["old"] = step.from;
            row["new"] = step.to;
            if (step.to == "SYN_SENT") {
                row["lport"] = nullptr;
            }
            row["in_old_us"] = i == 0 ? Json() : Json(5U);
            row["owner"] = object_of(step.owner.who);
            row["owner"]["evidence"] = step.owner.evidence;
            row["actor"] = step.actor ? object_of(step.actor->who) : Json();
            row["inferred"] = false;
            rows.push_back(row);
        }
    }
    rows.push_back({{"type", "trace_end"},
                    {"transitions", truth.transitions()},
                    {"lost", 0},
                    {"missed", 0},
                    {"incomplete_connections", 0},
                    {"window_s", 1.0},
                    {"truncated", false},
                    {"hooks", Json::object()}});
    return rows;
}

Truth one_connection() {
    const Who server{100, "tt-server", {}};
    const Who client{200, "tt-client", {}};
    Tuple tuple = mirrored(listener_tuple(), false);
    tuple.lport = 40000;
    std::snprintf(tuple.laddr, sizeof tuple.laddr, "127.0.0.1");
    Truth truth;
    truth.add(listener_side(server, server));
    truth.add(Side::active(tuple, client)).closes_first(client);
    truth.add(Side::passive(mirrored(tuple, false), server, server)).closes_second(server);
    return truth;
}

Json connection_of(const Side& side) {
    Json row = place_of(side);
    row["type"] = "connection";
    row["cookie"] = "1f";
    row["time"] = time_text(kBegin + 100'000'000);
    row["opened"] = time_text(kBegin + 1'000'000);
    row["role"] = side.role == Role::active ? "active" : "passive";
    row["lifetime_us"] = 99'000U;
    row["established_us"] = 90'000U;
    row["before_trace"] = false;
    row["owner"] = object_of(side.owner.who);
    row["owner"]["evidence"] = side.owner.evidence;
    row["closer"] = object_of(side.closer->who);
    row["close_reason"] = side.reason;
    row["time_wait"] = side.time_wait;
    row["bytes_sent"] = side.bytes_sent.value_or(0);
    row["bytes_received"] = side.bytes_received.value_or(0);
    row["complete"] = true;
    row["states"] = Json::array();
    for (const Step& step : side.steps) {
        if (step.from != "CLOSE" && step.from != "LISTEN") {
            row["states"].push_back({{"state", step.from}, {"us", 5U}});
        }
    }
    return row;
}

const Bounds kBounds{7, kBegin, kBegin + 1'000'000'000};

TEST(Compare, TruthPasses) {
    const Truth truth = one_connection();
    const Differences differences = compare_transitions(truth, honest_rows(truth), kBounds);
    EXPECT_TRUE(differences.empty()) << first_of(differences);
}

TEST(Compare, EachLieIsNamed) {
    const Truth truth = one_connection();
    const std::vector<Json> honest = honest_rows(truth);
    const auto at = [&](const char* from, const char* to) {
        for (std::size_t i = 0; i < honest.size(); ++i) {
            if (honest[i].value("old", "") == from && honest[i].value("new", "") == to) {
                return i;
            }
        }
        throw std::logic_error("no such row");
    };
    struct Lie {
        std::size_t row;
        const char* key;
        Json value;
    };
    const std::vector<Lie> lies = {
        {at("ESTABLISHED", "FIN_WAIT1"), "actor", Json()},
        {at("ESTABLISHED", "CLOSE_WAIT"), "actor", object_of({100, "tt-server", {}})},
        {at("ESTABLISHED", "CLOSE_WAIT"), "owner", Json({{"pid", 200}, {"comm", "tt-client"}, {"evidence", "accept"}})},
        {at("FIN_WAIT2", "TIME_WAIT"), "new", "CLOSE"},
        {at("FIN_WAIT2", "TIME_WAIT"), "tw_substate", "CLOSE_WAIT"},
        {at("CLOSE", "SYN_SENT"), "lport", 39999},
        {at("CLOSE", "SYN_SENT"), "lport", 0},
        {at("LAST_ACK", "CLOSE"), "rport", 1},
        {at("LAST_ACK", "CLOSE"), "netns", 8},
        {at("LAST_ACK", "CLOSE"), "in_old_us", 99},
        {at("LAST_ACK", "CLOSE"), "time", "2026-01-01T00:00:00Z"},
        {at("LAST_ACK", "CLOSE"), "inferred", true},
        {at("CLOSE", "LISTEN"), "laddr", "0.0.0.0"},
        {honest.size() - 1, "missed", 1},
        {honest.size() - 1, "transitions", 11},
    };
    for (const Lie& lie : lies) {
        std::vector<Json> rows = honest;
        rows[lie.row][lie.key] = lie.value;
        EXPECT_FALSE(compare_transitions(truth, rows, kBounds).empty()) << lie.key << " = " << lie.value;
    }
    std::vector<Json> short_by_one = honest;
    short_by_one.erase(short_by_one.begin() + 3);
    EXPECT_FALSE(compare_transitions(truth, short_by_one, kBounds).empty());
    std::vector<Json> doubled = honest;
    doubled.insert(doubled.begin(), honest[3]);
    EXPECT_FALSE(compare_transitions(truth, doubled, kBounds).empty());
    EXPECT_FALSE(compare_transitions(truth, {honest.begin(), honest.end() - 1}, kBounds).empty());
}

TEST(Compare, EachLieAboutAConnectionIsNamed) {
    Truth truth = one_connection();
    truth.sides[1].bytes(3, 4);
    std::vector<Json> honest = {connection_of(truth.sides[1]), connection_of(truth.sides[2]),
                                honest_rows(truth).back()};
    const Differences differences = compare_connections(truth, honest, kBounds);
    EXPECT_TRUE(differences.empty()) << first_of(differences);
    const std::vector<std::pair<const char*, Json>> lies = {
        {"role", "passive"},    {"role", "unknown"},       {"close_reason", "remote_fin"},
        {"time_wait", false},   {"time_wait", Json()},     {"bytes_sent", 5},
        {"bytes_received", 5},  {"closer", Json()},        {"owner", Json()},
        {"complete", false},    {"before_trace", true},    {"lifetime_us", Json()},
        {"established_us", -1}, {"states", Json::array()}, {"opened", Json()},
        {"family", "ipv6"},     {"established_us", 1e12},  {"lifetime_us", 9000000000},
        {"generation", 1},      {"raddr", "127.0.0.2"},
    };
    for (const auto& [key, value] : lies) {
        std::vector<Json> rows = honest;
        rows[0][key] = value;
        EXPECT_FALSE(compare_connections(truth, rows, kBounds).empty()) << key << " = " << value;
    }
}

}  // namespace

}  // namespace tcptrail::live
