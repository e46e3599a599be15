// SPDX-License-Identifier: Apache-2.0
#include "when.h"

#include <charconv>
#include <chrono>
#include <cmath>
#include <ctime>

namespace tcptrail {
namespace {

constexpr std::uint64_t second = 1'000'000'000;
constexpr std::uint64_t hour = 3600 * second;

/// Takes text apart from its front.
class Scanner {
public:
    explicit Scanner(std::string_view text) : rest_(text) {}

    bool done() const { return rest_.empty(); }
    bool take(char wanted) {
        if (rest_.empty() || rest_.front() != wanted) {
            return false;
        }
        rest_.remove_prefix(1);
        return true;
    }
    /// Exactly `digits` of them, from least to most.
    std::optional<unsigned> number(std::size_t digits, unsigned least, unsigned most) {
        if (rest_.size() < digits) {
            return std::nullopt;
        }
        unsigned value = 0;
        for (const char digit : rest_.substr(0, digits)) {
            if (digit < '0' || digit > '9') {
                return std::nullopt;
            }
            value = value * 10 + static_cast<unsigned>(digit - '0');
        }
        rest_.remove_prefix(digits);
        return value >= least && value <= most ? std::optional(value) : std::nullopt;
    }
    /// What follows a decimal point, in ns; digits beyond the ninth are dropped.
    std::optional<std::uint64_t> fraction() {
        std::uint64_t ns = 0;
        std::uint64_t scale = second / 10;
        const std::size_t before = rest_.size();
        while (!rest_.empty() && rest_.front() >= '0' && rest_.front() <= '9') {
            ns += scale * static_cast<std::uint64_t>(rest_.front() - '0');
            scale /= 10;
            rest_.remove_prefix(1);
        }
        return rest_.size() < before ? std::optional(ns) : std::nullopt;
    }

private:
    std::string_view rest_;
};

/// "12:00", "12:00:00", "12:00:00.5" in ns.
std::optional<std::uint64_t> clock_time(Scanner& scan) {
    const auto hours = scan.number(2, 0, 23);
    if (!hours || !scan.take(':')) {
        return std::nullopt;
    }
    const auto minutes = scan.number(2, 0, 59);
    if (!minutes) {
        return std::nullopt;
    }
    std::uint64_t ns = (*hours * 60ULL + *minutes) * 60 * second;
    if (scan.take(':')) {
        const auto seconds = scan.number(2, 0, 60);
        if (!seconds) {
            return std::nullopt;
        }
        ns += *seconds * second;
        if (scan.take('.')) {
            const auto part = scan.fraction();
            if (!part) {
                return std::nullopt;
            }
            ns += *part;
        }
    }
    return ns;
}

/// Seconds since the epoch of a local date and the seconds since its midnight.
std::int64_t local_seconds(int year, int month, int day, std::uint64_t in_day) {
    std::tm parts{};
    parts.tm_year = year - 1900;
    parts.tm_mon = month - 1;
    parts.tm_mday = day;
    parts.tm_hour = static_cast<int>(in_day / 3600);
    parts.tm_min = static_cast<int>(in_day / 60 % 60);
    parts.tm_sec = static_cast<int>(in_day % 60);
    parts.tm_isdst = -1;
    return std::mktime(&parts);
}

std::optional<Moment> date_and_time(Scanner scan) {
    const auto year = scan.number(4, 1970, 2500);
    if (!year || !scan.take('-')) {
        return std::nullopt;
    }
    const auto month = scan.number(2, 1, 12);
    if (!month || !scan.take('-')) {
        return std::nullopt;
    }
    const auto day = scan.number(2, 1, 31);
    const std::chrono::year_month_day date(std::chrono::year(static_cast<int>(*year)), std::chrono::month(*month),
                                           std::chrono::day(day.value_or(0)));
    if (!day || !date.ok() || !(scan.take('T') || scan.take('t') || scan.take(' '))) {
        return std::nullopt;
    }
    const auto in_day = clock_time(scan);
    if (!in_day) {
        return std::nullopt;
    }
    const auto seconds = static_cast<std::int64_t>(*in_day / second);
    std::int64_t at = std::chrono::sys_days(date).time_since_epoch() / std::chrono::seconds(1) + seconds;
    if (scan.done()) {
        at = local_seconds(static_cast<int>(*year), static_cast<int>(*month), static_cast<int>(*day),
                           static_cast<std::uint64_t>(seconds));
    } else if (!scan.take('Z') && !scan.take('z')) {
        const bool east = scan.take('+');
        if (!east && !scan.take('-')) {
            return std::nullopt;
        }
        const auto hours = scan.number(2, 0, 23);
        if (!hours || !scan.take(':')) {
            return std::nullopt;
        }
        const auto minutes = scan.number(2, 0, 59);
        if (!minutes) {
            return std::nullopt;
        }
        const std::int64_t offset = (*hours * 60 + *minutes) * 60LL;
        at += east ? -offset : offset;
    }
    if (!scan.done() || at < 0) {
        return std::nullopt;
    }
    return Moment{Moment::Kind::wall, static_cast<std::uint64_t>(at) * second + *in_day % second};
}

}  // namespace

std::optional<std::uint64_t> parse_ns(std::string_view text) {
    double number = 0;
    const char* const stop = text.data() + text.size();
    const auto [end, error] = std::from_chars(text.data(), stop, number, std::chars_format::fixed);
    if (error != std::errc() || !std::isfinite(number)) {
        return std::nullopt;
    }
    const std::string_view unit(end, static_cast<std::size_t>(stop - end));
    double ns = number;
    if (unit == "us") {
        ns *= 1e3;
    } else if (unit == "ms") {
        ns *= 1e6;
    } else if (unit.empty() || unit == "s") {
        ns *= 1e9;
    } else if (unit == "m") {
        ns *= 60e9;
    } else if (unit == "h") {
        ns *= 3600e9;
    } else {
        return std::nullopt;
    }
    constexpr double ten_years = 10 * 365.25 * 86'400e9;
    if (ns < 1 || ns > ten_years) {
        return std::nullopt;
    }
    return static_cast<std::uint64_t>(std::llround(ns));
}

std::optional<Moment> parse_moment(std::string_view text) {
    if (text.starts_with('+')) {
        const std::string_view length = text.substr(1);
        if (length == "0" || length == "0s") {
            return Moment{Moment::Kind::after_start, 0};
        }
        const auto ns = parse_ns(length);
        return ns ? std::optional(Moment{Moment::Kind::after_start, *ns}) : std::nullopt;
    }
    Scanner scan(text);
    if (const auto in_day = clock_time(scan); in_day && scan.done()) {
        return Moment{Moment::Kind::time_of_day, *in_day};
    }
    return date_and_time(Scanner(text));
}

std::uint64_t wall_ns_of(const Moment& moment, std::uint64_t start_wall_ns) {
    switch (moment.kind) {
        case Moment::Kind::wall: return moment.ns;
        case Moment::Kind::after_start: return start_wall_ns + moment.ns;
        case Moment::Kind::time_of_day: break;
    }
    const auto start = static_cast<std::time_t>(start_wall_ns / second);
    std::tm parts{};
    localtime_r(&start, &parts);
    for (int days = 0;; ++days) {  // mktime knows how long a month is, and what summer time does
        const auto at = static_cast<std::uint64_t>(local_seconds(parts.tm_year + 1900, parts.tm_mon + 1,
                                                                 parts.tm_mday + days, moment.ns / second)) *
                            second +
                        moment.ns % second;
        if (at + hour >= start_wall_ns || days == 2) {
            return at;
        }
    }
}

}  // namespace tcptrail
