// SPDX-License-Identifier: Apache-2.0
#include "pipeline.h"

#include "report/life.h"
#include "track/table.h"

namespace tcptrail {
namespace {

class Pipeline final : private TrackObserver {
public:
    Pipeline(const PipelineOptions& options, render::Renderer& renderer, render::Output& output)
        : options_(options), renderer_(renderer), output_(output), table_(*this) {}

    Result<void> run(RecordSource& source, const BeforePoll& before_poll) {
        renderer_.write_header(output_.text(), options_.view);
        for (bool more = true; more;) {
            flush();
            if (!flushed_ || *flushed_ == render::Reader::gone) {
                break;
            }
            const auto polled = source.poll(before_poll(), [this](const tt_head& record) { take(record); });
            if (!polled) {
                flush();
                return tl::unexpected(polled.error());
            }
            more = *polled == Poll::more;
        }
        finish();
        return flushed_ ? Result<void>() : tl::unexpected(flushed_.error());
    }

private:
    void take(const tt_head& record) {
        cut_intervals(record.time);
        table_.apply(record);
        if (output_.is_full()) {
            flush();
        }
    }

    /// Reports whose time is over when something happens at `time`.
    void cut_intervals(MonoNs time) {
        if (!options_.interval || table_.start() == 0) {
            return;
        }
        const auto step = static_cast<std::uint64_t>(options_.interval->count());
        if (cut_ == 0) {
            cut_ = table_.start();
        }
        while (time >= cut_ + step && is_wanted()) {
            write_life(cut_ + step);
        }
    }

    void write_life(MonoNs until) {
        const MonoNs from = cut_ != 0 ? cut_ : table_.start();
        renderer_.write_life(output_.text(), life_.summary(from, until), context_);
        life_.clear();
        cut_ = until;
        if (output_.is_full()) {
            flush();
        }
    }

    void on_transition(const TransitionRow& row) override {
        if (options_.view == render::View::trace && options_.filter.matches(row, table_)) {
            renderer_.write_transition(output_.text(), row, context_);
        }
    }

    void on_ended(const ConnectionRow& row) override {
        if (options_.view == render::View::life && options_.filter.matches(row, table_)) {
            renderer_.write_connection(output_.text(), row, context_);
            life_.add(row, table_);
        }
    }

    void finish() {
        if (!is_wanted()) {
            return;
        }
        if (options_.view == render::View::life) {
            write_life(table_.now());
        }
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
    report::LifeReport life_;
    MonoNs cut_ = 0;  // where the present interval began; 0: at the start
    Result<render::Reader> flushed_ = render::Reader::there;
};

}  // namespace

Result<void> run_pipeline(RecordSource& source, const PipelineOptions& options, render::Renderer& renderer,
                          render::Output& output, const BeforePoll& before_poll) {
    return Pipeline(options, renderer, output).run(source, before_poll);
}

}  // namespace tcptrail
