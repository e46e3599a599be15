// SPDX-License-Identifier: Apache-2.0
#include "pipeline.h"

#include <string>

#include "track/table.h"

namespace tcptrail {
namespace {

class Pipeline final : private TrackObserver {
public:
    Pipeline(const PipelineOptions& options, render::Renderer& renderer, render::Output& output)
        : options_(options),
          renderer_(renderer),
          output_(output),
          table_(*this),
          view_(view::make_view(options.view, {options.settings, table_, renderer, context_, output})) {}

    Result<void> run(RecordSource& source, const BeforePoll& before_poll) {
        renderer_.write_header(output_.text(), options_.view);
        std::optional<Error> error;
        for (bool more = true; more && !error;) {
            flush();
            const auto wait = before_poll();
            if (!is_wanted() || !wait) {
                break;
            }
            const auto polled = source.poll(*wait, [this](const tt_head& record) { take(record); });
            if (!polled) {
                error = polled.error();
            } else {
                more = *polled == Poll::more;
            }
        }
        finish();
        if (error) {
            return tl::unexpected(*error);
        }
        return flushed_ ? Result<void>() : tl::unexpected(flushed_.error());
    }

private:
    void take(const tt_head& record) {
        if (options_.record) {
            options_.record(record);
        }
        if (!is_wanted()) {
            return;
        }
        if (options_.interval && !by_marks_) {
            cut_intervals(record.time);
        }
        table_.apply(record);
        view_->on_record(record);
        if (record.type == TT_START) {
            by_marks_ = options_.interval &&
                        table_.start_setting("report_every_ns") == std::to_string(options_.interval->count());
        } else if (by_marks_ && is_report_mark(record)) {
            cut(record.time);
        }
        if (output_.is_full()) {
            flush();
        }
    }

    /// A snapshot made for a report is whole, and it is not the one with which the run ends.
    static bool is_report_mark(const tt_head& record) {
        if (record.type != TT_SNAPSHOT || record.size < sizeof(tt_snapshot) || (record.flags & TT_F_END) == 0) {
            return false;
        }
        const std::uint32_t what = reinterpret_cast<const tt_snapshot&>(record).what;
        return (what & TT_SNAP_MARK) != 0 && (what & TT_SNAP_REPORT) != 0 && (what & TT_SNAP_LAST) == 0;
    }

    /// Reports whose time is over when something happens at `time`.
    void cut_intervals(MonoNs time) {
        if (table_.start() == 0) {
            return;
        }
        const auto step = static_cast<std::uint64_t>(options_.interval->count());
        while (time >= cut_from() + step && is_wanted()) {
            cut(cut_from() + step);
        }
    }

    MonoNs cut_from() const { return cut_ != 0 ? cut_ : table_.start(); }

    void cut(MonoNs until) {
        view_->cut(cut_from(), until);
        cut_ = until;
        if (output_.is_full()) {
            flush();
        }
    }

    void on_transition(const TransitionRow& row) override { view_->on_transition(row); }
    void on_ended(const ConnectionRow& row) override { view_->on_ended(row); }

    void finish() {
        if (!is_wanted()) {
            return;
        }
        cut(table_.now());
        renderer_.write_trace_end(output_.text(), table_.trace_end(), context_);
        flush();
    }

    bool is_wanted() const { return flushed_ && *flushed_ == render::Reader::there; }

    /// After a failure or the reader's leaving nothing is written any more.
    void flush() {
        if (is_wanted()) {
            flushed_ = output_.flush();
        }
        if (!is_wanted()) {
            output_.text().clear();
        }
    }

    const PipelineOptions& options_;
    render::Renderer& renderer_;
    render::Output& output_;
    ConnectionTable table_;
    render::Context context_{table_, table_.clock()};
    std::unique_ptr<view::View> view_;
    bool by_marks_ = false;  // the source makes a snapshot for each report: cut there
    MonoNs cut_ = 0;         // where the present interval began; 0: at the start
    Result<render::Reader> flushed_ = render::Reader::there;
};

}  // namespace

Result<void> run_pipeline(RecordSource& source, const PipelineOptions& options, render::Renderer& renderer,
                          render::Output& output, const BeforePoll& before_poll) {
    return Pipeline(options, renderer, output).run(source, before_poll);
}

}  // namespace tcptrail
