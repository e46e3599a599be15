// SPDX-License-Identifier: Apache-2.0
// The summary of ended connections, by process and destination. Pure; used from one thread.
#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include <tcptrail/rows.h>

#include "report/histogram.h"
#include "report/who.h"

namespace tcptrail::report {

/// Connections of one process towards one destination. An active open is known by raddr and rport, a passive one by raddr
/// and lport (its remote port is any), one whose role is not known by raddr alone.
struct LifeRow {
    Who who;
    Family family = Family::ipv4;
    std::optional<Address> raddr;  // nullopt: many, the table was full
    std::optional<std::uint16_t> rport;
    std::optional<std::uint16_t> lport;
    std::uint64_t ended = 0;
    Histogram lifetimes_ns;
    std::map<CloseReason, std::uint64_t> reasons;
    Histogram connects_ns;          // time in SYN_SENT, of active opens whose beginning was seen
    std::uint64_t retransmits = 0;  // segments

    /// The most frequent first.
    std::vector<std::pair<CloseReason, std::uint64_t>> reasons_by_count() const;
};

struct LifeSummary {
    MonoNs time = 0;
    std::uint64_t window_ns = 0;
    LifeRow total;               // of all, the left out included; no owner, no destination
    std::vector<LifeRow> rows;   // most ended first
    std::uint64_t left_out = 0;  // ended connections in no row, because the table was full
};

/// nullopt for an empty window.
std::optional<double> rate_per_s(std::uint64_t count, std::uint64_t window_ns);

class LifeReport {
public:
    /// Keeps at most `max_rows` destinations. Those beyond share one row for each process (raddr null), which may be as
    /// many again; what is beyond that is counted in left_out.
    explicit LifeReport(std::size_t max_rows = 10'000) : max_rows_(max_rows) {}

    void add(const ConnectionRow& row, const ProcessDirectory& processes);

    /// The window begins anew.
    void clear();

    LifeSummary summary(MonoNs from, MonoNs to) const;

private:
    // process, v6, raddr, rport, lport
    // the last: nobody accepted it, so it is only its listener's
    using Key = std::tuple<WhoKey, bool, std::optional<Address>, std::optional<std::uint16_t>,
                           std::optional<std::uint16_t>, bool>;

    LifeRow* row_for(const ConnectionRow& row, const Process* owner);

    std::size_t max_rows_;
    std::map<Key, LifeRow> rows_;
    LifeRow total_;
    std::uint64_t left_out_ = 0;
};

}  // namespace tcptrail::report
