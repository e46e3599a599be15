// SPDX-License-Identifier: Apache-2.0
// Which ports there are, and when they run out: arithmetic on literal worlds.
#include "report/port_forecast.h"

#include <gtest/gtest.h>

namespace tcptrail::report {
namespace {

PortSettings settings_of(std::map<std::string, std::string> settings) {
    NetnsFacts facts;
    facts.settings = std::move(settings);
    return port_settings(facts);
}

TEST(PortSettings, RangeLessReservedLessTaken) {
    const PortSettings settings = settings_of({{"net.ipv4.ip_local_port_range", "40000 40009"},
                                               {"net.ipv4.ip_local_reserved_ports", "8080,40001,40003-40005"}});
    EXPECT_EQ(settings.range(), 10u);
    EXPECT_EQ(settings.available({}), 6u);
    PortSet taken;
    taken.set(40000);  // chosen by a process
    taken.set(40004);  // and reserved: counts once
    taken.set(80);     // outside
    EXPECT_EQ(settings.available(taken), 5u);
}

TEST(PortSettings, WithoutARangeNothingIsKnown) {
    EXPECT_EQ(settings_of({}).available({}), std::nullopt);
    EXPECT_EQ(settings_of({{"net.ipv4.ip_local_port_range", "gibberish"}}).available({}), std::nullopt);
    EXPECT_EQ(settings_of({{"net.ipv4.ip_local_port_range", "50 70000"}}).available({}), std::nullopt);
}

TEST(PortSettings, ReuseNeedsTimestampsAndTheRightSetting) {
    const auto reuses = [](const char* reuse, const char* timestamps, bool loopback) {
        return settings_of({{"net.ipv4.tcp_tw_reuse", reuse}, {"net.ipv4.tcp_timestamps", timestamps}})
            .reuses(loopback);
    };
    EXPECT_FALSE(reuses("0", "1", true));
    EXPECT_TRUE(reuses("1", "1", false));
    EXPECT_FALSE(reuses("1", "0", false));
    EXPECT_TRUE(reuses("2", "1", true));
    EXPECT_FALSE(reuses("2", "1", false));
    EXPECT_FALSE(settings_of({}).reuses(true));
}

TEST(PortSettings, ReuseDelayIsASecondWhereTheKernelHasNoSetting) {
    EXPECT_EQ(settings_of({}).reuse_delay_ms, 1000u);
    EXPECT_EQ(settings_of({{"net.ipv4.tcp_tw_reuse_delay", "250"}}).reuse_delay_ms, 250u);
}

TEST(AddPorts, RefusesWhatIsNoList) {
    PortSet ports;
    EXPECT_TRUE(add_ports("", ports));
    EXPECT_FALSE(add_ports("80,x", ports));
    EXPECT_FALSE(add_ports("80-", ports));
    EXPECT_FALSE(add_ports("70000", ports));
}

TEST(Forecast, TwentyASecondTakeTwoHundredPortsInTenSeconds) {
    EXPECT_DOUBLE_EQ(*seconds_to_exhaustion({.available = 200, .opens_per_s = 20, .wait_s = 61}), 10);
    EXPECT_DOUBLE_EQ(*seconds_to_exhaustion({.available = 200, .used = 100, .opens_per_s = 20, .wait_s = 61}), 5);
}

TEST(Forecast, FullIsNow) {
    EXPECT_EQ(seconds_to_exhaustion({.available = 200, .used = 200, .opens_per_s = 1, .wait_s = 61}), 0);
}

TEST(Forecast, WhatTimeWaitReleasesComesInTime) {
    // 10 ports free after 5 s: 100 + 20 t - 10 = 200 at 5.5 s.
    PortFlow flow{.available = 200, .used = 100, .opens_per_s = 20, .wait_s = 61};
    flow.releases_s.assign(10, 4.0);
    EXPECT_DOUBLE_EQ(*seconds_to_exhaustion(flow), 5.5);
    flow.releases_s.assign(10, 6.0);  // too late
    EXPECT_DOUBLE_EQ(*seconds_to_exhaustion(flow), 5);
}

TEST(Forecast, SteadyStateBelowCapacityNeverRunsOut) {
    // 3 a second for 61 s are 183.
    EXPECT_EQ(seconds_to_exhaustion({.available = 200, .opens_per_s = 3, .wait_s = 61}), std::nullopt);
    EXPECT_TRUE(seconds_to_exhaustion({.available = 200, .opens_per_s = 3.3, .wait_s = 61}).has_value());
}

TEST(Forecast, PortsGivenBackWithoutTimeWaitCostNothing) {
    EXPECT_EQ(seconds_to_exhaustion({.available = 200, .opens_per_s = 500, .freed_per_s = 500, .wait_s = 61}),
              std::nullopt);
}

TEST(Forecast, ReuseAfterASecondHoldsARateThatTimeWaitDoesNot) {
    EXPECT_EQ(seconds_to_exhaustion({.available = 200, .opens_per_s = 100, .wait_s = 1}), std::nullopt);
    EXPECT_TRUE(seconds_to_exhaustion({.available = 200, .opens_per_s = 300, .wait_s = 1}).has_value());
}

TEST(Forecast, ConnectionsThatPileUpRunOutLater) {
    // 1 a second lives on: 100 after 61 s hold 161, and 39 more seconds fill the rest.
    EXPECT_DOUBLE_EQ(
        *seconds_to_exhaustion({.available = 200, .used = 100, .opens_per_s = 1, .growth_per_s = 1, .wait_s = 61}),
        100);
    EXPECT_EQ(seconds_to_exhaustion({.available = 200'000, .opens_per_s = 1, .growth_per_s = 1, .wait_s = 61}),
              std::nullopt)
        << "more than a day away";
}

}  // namespace
}  // namespace tcptrail::report
