// SPDX-License-Identifier: Apache-2.0
#include "run.h"

#include <algorithm>
#include <string>

#include <tcptrail/record_text.h>

#include "render/json_fields.h"

namespace tcptrail {
namespace {

/// A snapshot made for a report is whole, and it is not the one with which the run ends.
bool is_report_mark(const tt_head& record) {
    if (record.type != TT_SNAPSHOT || record.size < sizeof(tt_snapshot) || (record.flags & TT_F_END) == 0) {
        return false;
    }
    const std::uint32_t what = reinterpret_cast<const tt_snapshot&>(record).what;
    return (what & TT_SNAP_MARK) != 0 && (what & TT_SNAP_REPORT) != 0 && (what & TT_SNAP_LAST) == 0;
}

/// An end waits for what explains it, a RST that follows; so a window's rows are complete only a little after its end.
constexpr std::uint64_t told_late = 10'000'000;  // ns

}  // namespace

Run::Run(const RunOptions& options, const MakeView& make_view, render::Renderer& renderer, render::Output& output,
         const std::function<bool()>& flush)
    : options_(options),
      renderer_(renderer),
      output_(output),
      flush_(flush),
      table_(*this, options.table),
      view_(make_view({options.settings, table_, renderer, context_, output})) {
    table_.tell(view_->heard());
}

bool Run::is_over_with(const tt_head& record) const {
    if (record.type != TT_START || record.size < sizeof(tt_start) || table_.start() == 0) {
        return false;
    }
    const auto& start = reinterpret_cast<const tt_start&>(record);
    std::string boot;
    std::string began = std::to_string(record.time);
    for_each_setting(text_after(start), [&](std::string_view key, std::string_view value) {
        if (key == "boot_id") {
            boot = value;
        } else if (key == run_start_key) {
            began = value;
        }
    });
    return boot != table_.start_setting("boot_id") || began != std::to_string(table_.run_start());
}

void Run::take(const tt_head& record) {
    if (plain_ && record.type < TT_SOCKET) {
        table_.apply(record);
        return;
    }
    kept_ = output_.text().size();
    if (options_.interval && !by_marks_ && phase_ == Phase::inside) {
        cut_intervals(std::min<MonoNs>(record.time, to_));
    }
    table_.apply(record);
    if (record.type == TT_START) {
        by_marks_ =
            options_.interval && table_.start_setting("report_every_ns") == std::to_string(options_.interval->count());
        choose_span();
        const bool cuts_anywhere = options_.from || options_.to || (options_.interval && !by_marks_);
        plain_ = !cuts_anywhere && !view_->hears_hooks();
    }
    pass_from(record.time);
    if (phase_ == Phase::inside && record.time > to_ && record.time - to_ > told_late) {
        cut(to_);
        phase_ = Phase::after;
    }
    if (phase_ == Phase::after || record.time > to_) {
        return;
    }
    view_->on_record(record);
    if (by_marks_ && phase_ == Phase::inside && is_report_mark(record)) {
        cut(record.time);
    }
    if (phase_ == Phase::before) {
        output_.text().resize(kept_);
    }
}

void Run::choose_span() {
    const Clock& clock = table_.clock();
    const std::uint64_t start_wall = clock.wall_ns(table_.start());
    const auto mono = [&](const Moment& moment) -> MonoNs {
        const std::uint64_t wall = wall_ns_of(moment, start_wall);
        return wall > clock.realtime_offset_ns ? wall - clock.realtime_offset_ns : 0;
    };
    if (options_.from) {
        from_ = mono(*options_.from);
        phase_ = from_ > table_.start() && cut_ == 0 ? Phase::before : phase_;
    }
    if (options_.to) {
        to_ = mono(*options_.to);
        if (to_ < from_) {
            error_ = Error{Exit::usage, "--to is before --from"};
        } else if (to_ < table_.start()) {
            error_ =
                Error{Exit::failed, "--to is before the recording, which begins at " + render::rfc3339(start_wall)};
        }
    }
    if (error_) {
        phase_ = Phase::after;
    }
}

/// What the view has gathered before --from is its state; what it has written and counted is dropped.
void Run::pass_from(MonoNs time) {
    if (phase_ != Phase::before || time < from_) {
        return;
    }
    view_->cut(table_.start(), from_);
    output_.text().resize(kept_);
    cut_ = from_;
    phase_ = Phase::inside;
}

void Run::on_transition(const TransitionRow& row) {
    pass_from(row.time);
    if (phase_ == Phase::after || row.time > to_) {
        return;
    }
    const std::size_t kept = output_.text().size();
    view_->on_transition(row);
    if (row.time < from_) {  // told late: state, and no row
        output_.text().resize(kept);
    }
}

void Run::on_ended(const ConnectionRow& row) {
    pass_from(row.time);
    if (phase_ != Phase::after && row.time <= to_ && (row.time >= from_ || phase_ == Phase::before)) {
        view_->on_ended(row);
    }
}

/// Reports whose time is over when something happens at `time`.
void Run::cut_intervals(MonoNs time) {
    if (table_.start() == 0) {
        return;
    }
    const auto step = static_cast<std::uint64_t>(options_.interval->count());
    constexpr std::uint64_t most_empty = 10'000;  // beyond that nothing happened for long: one window for all of it
    if (time > cut_from() && (time - cut_from()) / step > most_empty) {
        cut(cut_from() + (time - cut_from()) / step * step);
    }
    while (time > cut_from() && time - cut_from() >= step) {  // not cut_from() + step: a damaged time is near 2^64
        cut(cut_from() + step);
        if (output_.is_full() && !flush_()) {
            return;
        }
    }
    kept_ = output_.text().size();
}

void Run::cut(MonoNs until) {
    view_->cut(cut_from(), until);
    cut_ = until;
}

Result<void> Run::finish() {
    if (phase_ == Phase::inside && !error_) {
        cut(std::min(table_.now(), to_));
    } else if (phase_ == Phase::before && !error_) {
        error_ = Error{Exit::failed, "--from is after the recording, which ends at " +
                                         render::rfc3339(table_.clock().wall_ns(table_.now()))};
    }
    const TraceEnd end = table_.trace_end();
    if (!view_->end(end)) {
        renderer_.write_trace_end(output_.text(), end, context_);
    }
    return error_ ? Result<void>(tl::unexpected(*error_)) : Result<void>();
}

}  // namespace tcptrail
