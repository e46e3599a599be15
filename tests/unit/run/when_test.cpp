// SPDX-License-Identifier: Apache-2.0
// Moments, in a time zone with summer time (the tests set TZ).
#include <gtest/gtest.h>

#include <cstdlib>
#include <ctime>

#include "when.h"

namespace tcptrail {
namespace {

constexpr std::uint64_t second = 1'000'000'000;
constexpr std::uint64_t hour = 3600 * second;
constexpr std::uint64_t may_1 = 1'714'521'600 * second;  // 2024-05-01T00:00:00Z

class When : public testing::Test {
protected:
    When() {
        setenv("TZ", "Europe/Berlin", 1);
        tzset();
    }
};

TEST_F(When, Rfc3339) {
    using Kind = Moment::Kind;
    EXPECT_EQ(parse_moment("2024-05-01T00:00:00Z"), (Moment{Kind::wall, may_1}));
    EXPECT_EQ(parse_moment("2024-05-01t12:30:05.25z"),
              (Moment{Kind::wall, may_1 + 12 * hour + 1805 * second + second / 4}));
    EXPECT_EQ(parse_moment("2024-05-01T00:00:00.123456789Z"), (Moment{Kind::wall, may_1 + 123'456'789}));
    EXPECT_EQ(parse_moment("2024-05-01T02:00:00+02:00"), (Moment{Kind::wall, may_1}));
    EXPECT_EQ(parse_moment("2024-04-30 19:30-04:30"), (Moment{Kind::wall, may_1}));
    EXPECT_EQ(parse_moment("2024-05-01T02:00"), (Moment{Kind::wall, may_1})) << "local where no zone is named";
}

TEST_F(When, AfterTheStart) {
    using Kind = Moment::Kind;
    EXPECT_EQ(parse_moment("+10s"), (Moment{Kind::after_start, 10 * second}));
    EXPECT_EQ(parse_moment("+1.5"), (Moment{Kind::after_start, 3 * second / 2}));
    EXPECT_EQ(parse_moment("+0"), (Moment{Kind::after_start, 0}));
    EXPECT_EQ(wall_ns_of({Kind::after_start, hour}, may_1), may_1 + hour);
}

TEST_F(When, ATimeOfDayIsTheFirstAfterTheStart) {
    const auto at = [](const char* text, std::uint64_t start) { return wall_ns_of(*parse_moment(text), start); };
    EXPECT_EQ(at("02:30", may_1), may_1 + hour / 2);
    EXPECT_EQ(at("02:30:05.5", may_1), may_1 + hour / 2 + 11 * second / 2);
    EXPECT_EQ(at("01:30", may_1), may_1 - hour / 2) << "half an hour before is this day's";
    EXPECT_EQ(at("00:30", may_1), may_1 + 22 * hour + hour / 2) << "longer before is the next day's";
    // 2024-03-30T21:00:00+01:00: the night that has 23 hours.
    constexpr std::uint64_t before_summer = 1'711'828'800 * second;
    EXPECT_EQ(at("04:00", before_summer), before_summer + 6 * hour);
}

TEST_F(When, WhatIsNone) {
    for (const char* wrong : {"", "noon", "12", "12:", "24:00", "12:60", "12:30:61", "12:30:05.", "+", "+x", "+-1s",
                              "2024-13-01T00:00:00Z", "2024-02-30T00:00:00Z", "2024-05-01", "2024-05-01T00:00:00+2",
                              "2024-05-01T00:00:00Zz", "12:30 ", "-10s", "1714521600"}) {
        EXPECT_FALSE(parse_moment(wrong)) << wrong;
    }
}

}  // namespace
}  // namespace tcptrail
