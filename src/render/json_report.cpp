// SPDX-License-Identifier: Apache-2.0
// JSON of `report`: a life, a timewait and a closewait row as these commands write them, then what they do not hold.
#include "render/json.h"
#include "render/json_fields.h"
#include "render/safe_text.h"

namespace tcptrail::render {
namespace {

void place(Writer& to, const report::LifeRow& row, const Clock& clock) {
    who_field(to, "owner", row.who, clock);
    if (row.raddr) {
        field(to, "raddr", to_string(*row.raddr, row.family));
    } else {
        null_field(to, "raddr");
    }
    optional_field(to, "rport", row.rport);
    optional_field(to, "lport", row.lport);
}

void quantiles(Writer& to, const report::Histogram& values) {
    to.StartObject();
    optional_field(to, "p50", us(values.quantile(0.50)));
    optional_field(to, "p90", us(values.quantile(0.90)));
    optional_field(to, "p99", us(values.quantile(0.99)));
    optional_field(to, "max", us(values.max()));
    to.EndObject();
}

void troubles(Writer& to, std::string_view name, const report::ReportSummary& summary, report::Trouble trouble,
              const Clock& clock) {
    key(to, name);
    to.StartArray();
    for (const report::TroubleRow& row : summary.troubles(trouble)) {
        to.StartObject();
        place(to, *row.of, clock);
        field(to, "reason", tcptrail::name(row.reason));
        field(to, "count", row.count);
        to.EndObject();
    }
    to.EndArray();
}

void states(Writer& to, const report::ReportSummary& summary, const Context& context) {
    key(to, "states_over_time");
    to.StartArray();
    for (const report::Population& moment : summary.populations) {
        to.StartObject();
        time_field(to, "time", moment.time, context);
        key(to, "states");
        to.StartObject();
        for (std::size_t state = 0; state < moment.standing.size(); ++state) {
            if (moment.standing[state] != 0) {
                field(to, name(static_cast<State>(state)), moment.standing[state]);
            }
        }
        to.EndObject();
        to.EndObject();
    }
    to.EndArray();
}

void side(Writer& to, std::string_view name, std::uint64_t ended, std::uint64_t window_ns) {
    key(to, name);
    to.StartObject();
    field(to, "ended", ended);
    rate_field(to, "rate_per_s", report::rate_per_s(ended, window_ns));
    to.EndObject();
}

}  // namespace

void Json::write_report(std::string& out, const report::ReportSummary& summary, const Context& context) {
    write_life(out, summary.life, context);
    write_timewait(out, summary.timewait, context);
    write_closewait(out, summary.closewait, context);
    begin("report");
    time_field(writer_, "time", summary.time, context);
    time_field(writer_, "from", summary.from, context);
    seconds_field(writer_, "window_s", summary.window_ns());
    bool_field(writer_, "complete",
               summary.coverage.lost == 0 && summary.coverage.missed == 0 && !summary.coverage.truncated);
    field(writer_, "ended", summary.life.total.ended);
    states(writer_, summary, context);
    key(writer_, "lifetime_us");
    quantiles(writer_, summary.life.total.lifetimes_ns);
    key(writer_, "reasons");
    writer_.StartObject();
    for (const auto& [reason, count] : summary.life.total.reasons_by_count()) {
        field(writer_, name(reason), count);
    }
    writer_.EndObject();
    troubles(writer_, "failed_connects", summary, report::Trouble::failed_connect, context.clock);
    troubles(writer_, "resets", summary, report::Trouble::reset, context.clock);
    troubles(writer_, "timeouts", summary, report::Trouble::timeout, context.clock);
    key(writer_, "slowest_connects");
    writer_.StartArray();
    for (const report::LifeRow* row : summary.slowest()) {
        writer_.StartObject();
        place(writer_, *row, context.clock);
        field(writer_, "connects", row->connects_ns.count());
        key(writer_, "connect_us");
        quantiles(writer_, row->connects_ns);
        field(writer_, "retransmits", row->retransmits);
        writer_.EndObject();
    }
    writer_.EndArray();
    finish(out);
}

void Json::write_diff(std::string& out, const report::ReportDiff& diff) {
    begin("report_diff");
    key(writer_, "window_s");
    writer_.StartObject();
    seconds_field(writer_, "before", diff.before_window_ns);
    seconds_field(writer_, "after", diff.after_window_ns);
    writer_.EndObject();
    bool_field(writer_, "complete", diff.complete);
    side(writer_, "before", diff.before_ended, diff.before_window_ns);
    side(writer_, "after", diff.after_ended, diff.after_window_ns);
    key(writer_, "by");
    writer_.StartArray();
    for (const report::DiffRow& row : diff.rows) {
        writer_.StartObject();
        if (row.comm.empty()) {
            null_field(writer_, "comm");
        } else {
            field(writer_, "comm", valid_utf8(row.comm));
        }
        field(writer_, "destination", row.destination);
        side(writer_, "before", row.before, diff.before_window_ns);
        side(writer_, "after", row.after, diff.after_window_ns);
        writer_.EndObject();
    }
    writer_.EndArray();
    key(writer_, "reasons");
    writer_.StartArray();
    for (const report::DiffReason& row : diff.reasons) {
        writer_.StartObject();
        field(writer_, "reason", name(row.reason));
        side(writer_, "before", row.before, diff.before_window_ns);
        side(writer_, "after", row.after, diff.after_window_ns);
        writer_.EndObject();
    }
    writer_.EndArray();
    finish(out);
}

}  // namespace tcptrail::render
