// SPDX-License-Identifier: Apache-2.0
#include "pipeline.h"

namespace tcptrail {
namespace {

class Pipeline {
public:
    Pipeline(const PipelineOptions& options, render::Renderer& renderer, render::Output& output)
        : options_(options), renderer_(renderer), output_(output) {
        begin();
    }

    Result<Exit> run(RecordSource& source, const BeforePoll& before_poll) {
        source.announce_to([this](const tt_head& record) { run_->expect(record); });
        for (bool more = true; more && !error_;) {
            flush();
            const auto wait = before_poll();
            if (!is_wanted() || !wait) {
                break;
            }
            const auto polled = source.poll(*wait, [this](const tt_head& record) { take(record); });
            if (!polled) {
                error_ = polled.error();
            } else {
                more = *polled == Poll::more;
            }
        }
        finish();
        flush();
        if (!inside_ && outside_ && !error_) {
            error_ = outside_;
        }
        if (error_) {
            return tl::unexpected(*error_);
        }
        return flushed_ ? Result<Exit>(exit_) : tl::unexpected(flushed_.error());
    }

private:
    void begin() { run_.emplace(options_.run, options_.make_view, renderer_, output_, flush_); }

    void take(const tt_head& record) {
        if (options_.record) {
            options_.record(record);
        }
        if (!is_wanted()) {
            return;
        }
        if (run_->is_over_with(record)) {
            finish();
            begin();
        }
        run_->take(record);
        if (output_.is_full()) {
            flush();
        }
    }

    void finish() {
        if (!is_wanted()) {
            return;
        }
        const auto finished = run_->finish();
        inside_ |= finished.has_value();
        exit_ = exit_ == Exit::done ? run_->exit() : exit_;
        if (!finished && (!outside_ || finished.error().exit == Exit::usage)) {
            outside_ = finished.error();
        }
    }

    bool is_wanted() const { return flushed_ && *flushed_ == render::Reader::there; }

    /// After a failure or the reader's leaving nothing is written any more.
    bool flush() {
        if (is_wanted()) {
            flushed_ = output_.flush();
        }
        if (!is_wanted()) {
            output_.text().clear();
        }
        return is_wanted();
    }

    const PipelineOptions& options_;
    render::Renderer& renderer_;
    render::Output& output_;
    const std::function<bool()> flush_ = [this] { return flush(); };
    std::optional<Run> run_;
    std::optional<Error> error_;
    Exit exit_ = Exit::done;
    bool inside_ = false;           // a run had its part in --from..--to
    std::optional<Error> outside_;  // what one said that had none
    Result<render::Reader> flushed_ = render::Reader::there;
};

}  // namespace

Result<Exit> run_pipeline(RecordSource& source, const PipelineOptions& options, render::Renderer& renderer,
                          render::Output& output, const BeforePoll& before_poll) {
    return Pipeline(options, renderer, output).run(source, before_poll);
}

}  // namespace tcptrail
