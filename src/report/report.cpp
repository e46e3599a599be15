// SPDX-License-Identifier: Apache-2.0
#include "report/report.h"

#include <algorithm>
#include <cmath>
#include <utility>

namespace tcptrail::report {
namespace {

/// What one recording adds to a diff; `member` is where its counts go.
void gather(const std::vector<ReportSummary>& runs, std::uint64_t DiffRow::*member,
            std::uint64_t DiffReason::*reason_member, std::map<std::pair<std::string, std::string>, DiffRow>& rows,
            std::map<CloseReason, DiffReason>& reasons) {
    for (const ReportSummary& run : runs) {
        for (const LifeRow& row : run.life.rows) {
            const std::string comm = row.who.process ? row.who.process->comm : "";
            const std::string destination = destination_of(row);
            DiffRow& to = rows.try_emplace({comm, destination}, DiffRow{comm, destination, 0, 0}).first->second;
            to.*member += row.ended;
        }
        for (const auto& [reason, count] : run.life.total.reasons) {
            DiffReason& to = reasons.try_emplace(reason, DiffReason{reason, 0, 0}).first->second;
            to.*reason_member += count;
        }
    }
}

template <typename Row>
void sort_by_change(std::vector<Row>& rows, std::uint64_t before_ns, std::uint64_t after_ns) {
    const auto change = [&](const Row& row) {
        return std::abs(rate_per_s(row.after, after_ns).value_or(0) - rate_per_s(row.before, before_ns).value_or(0));
    };
    std::stable_sort(rows.begin(), rows.end(), [&](const Row& a, const Row& b) { return change(a) > change(b); });
}

}  // namespace

Trouble trouble_of(CloseReason reason) {
    switch (reason) {
        case CloseReason::refused:
        case CloseReason::connect_timeout:
        case CloseReason::connect_cancelled:
        case CloseReason::unreachable:
        case CloseReason::no_local_port:
        case CloseReason::resource: return Trouble::failed_connect;
        case CloseReason::rst_received:
        case CloseReason::linger_rst:
        case CloseReason::unread_data_rst:
        case CloseReason::late_data_rst:
        case CloseReason::listener_closed:
        case CloseReason::sock_destroyed: return Trouble::reset;
        case CloseReason::retransmit_timeout:
        case CloseReason::keepalive_timeout:
        case CloseReason::fin_wait1_timeout:
        case CloseReason::fin_wait2_timeout:
        case CloseReason::last_ack_timeout: return Trouble::timeout;
        case CloseReason::unknown:
        case CloseReason::local_fin:
        case CloseReason::remote_fin:
        case CloseReason::simultaneous_fin:
        case CloseReason::disconnect: return Trouble::none;
    }
    return Trouble::none;
}

std::vector<TroubleRow> ReportSummary::troubles(Trouble trouble) const {
    std::vector<TroubleRow> found;
    for (const LifeRow& row : life.rows) {
        for (const auto& [reason, count] : row.reasons) {
            if (trouble_of(reason) == trouble) {
                found.push_back({&row, reason, count});
            }
        }
    }
    std::stable_sort(found.begin(), found.end(),
                     [](const TroubleRow& a, const TroubleRow& b) { return a.count > b.count; });
    return found;
}

std::vector<const LifeRow*> ReportSummary::slowest() const {
    std::vector<const LifeRow*> rows;
    for (const LifeRow& row : life.rows) {
        if (row.connects_ns.count() > 0) {
            rows.push_back(&row);
        }
    }
    const auto median = [](const LifeRow* row) { return row->connects_ns.quantile(0.5).value_or(0); };
    std::stable_sort(rows.begin(), rows.end(),
                     [&](const LifeRow* a, const LifeRow* b) { return median(a) > median(b); });
    return rows;
}

std::string destination_of(const LifeRow& row) {
    if (!row.raddr) {
        return "(others)";
    }
    if (row.rport) {
        return ">" + to_string(*row.raddr, row.family, *row.rport);
    }
    const std::string address = to_string(*row.raddr, row.family);
    return row.lport ? ":" + std::to_string(*row.lport) + " <" + address : address;
}

ReportDiff diff(const std::vector<ReportSummary>& before, const std::vector<ReportSummary>& after) {
    ReportDiff diff;
    const auto add_up = [&](const std::vector<ReportSummary>& runs, std::uint64_t& window, std::uint64_t& ended) {
        for (const ReportSummary& run : runs) {
            window += run.window_ns();
            ended += run.life.total.ended;
            const TraceEnd& end = run.coverage;
            diff.complete = diff.complete && end.lost == 0 && end.missed == 0 && !end.truncated;
        }
    };
    add_up(before, diff.before_window_ns, diff.before_ended);
    add_up(after, diff.after_window_ns, diff.after_ended);
    std::map<std::pair<std::string, std::string>, DiffRow> rows;
    std::map<CloseReason, DiffReason> reasons;
    gather(before, &DiffRow::before, &DiffReason::before, rows, reasons);
    gather(after, &DiffRow::after, &DiffReason::after, rows, reasons);
    for (auto& [key, row] : rows) {
        diff.rows.push_back(std::move(row));
    }
    for (const auto& [reason, row] : reasons) {
        diff.reasons.push_back(row);
    }
    sort_by_change(diff.rows, diff.before_window_ns, diff.after_window_ns);
    sort_by_change(diff.reasons, diff.before_window_ns, diff.after_window_ns);
    return diff;
}

}  // namespace tcptrail::report
