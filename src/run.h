// SPDX-License-Identifier: Apache-2.0
// One run of a record stream: its records through the tracker to a view's rows, windows cut in the stream's own time.
// Pure: knows no source and no clock. A stream of several recordings is several runs.
#pragma once

#include <chrono>
#include <functional>
#include <memory>
#include <optional>

#include <tcptrail/result.h>

#include "render/renderer.h"
#include "track/table.h"
#include "view/view.h"
#include "when.h"

namespace tcptrail {

using MakeView = std::function<std::unique_ptr<view::View>(const view::Scope& scope)>;

/// What is wanted of a run.
struct RunOptions {
    view::Settings settings;
    std::optional<std::chrono::nanoseconds> interval;  // of reports, in event time
    std::optional<Moment> from;                        // rows and windows begin here; what was before is only state
    std::optional<Moment> to;                          // and end here; trace_end speaks of all
    TableLimits table{};
};

class Run final : private TrackObserver {
public:
    /// All of these outlive it. `flush` writes what has gathered, and says whether anybody still reads.
    Run(const RunOptions& options, const MakeView& make_view, render::Renderer& renderer, render::Output& output,
        const std::function<bool()>& flush);

    void take(const tt_head& record);
    /// A hint: `record` comes soon.
    void expect(const tt_head& record) { table_.expect(record); }

    /// `record` is the first one of another run.
    bool is_over_with(const tt_head& record) const;

    /// The last report, and how complete the run was. An Error where --from and --to lie outside of it.
    Result<void> finish();

    /// What the view says of it.
    Exit exit() const { return view_->exit(); }

private:
    enum class Phase { before, inside, after };  // of from..to

    void on_transition(const TransitionRow& row) override;
    void on_ended(const ConnectionRow& row) override;

    void choose_span();
    void pass_from(MonoNs time);
    void cut_intervals(MonoNs time);
    void cut(MonoNs until);
    MonoNs cut_from() const { return cut_ != 0 ? cut_ : table_.start(); }

    const RunOptions& options_;
    render::Renderer& renderer_;
    render::Output& output_;
    const std::function<bool()>& flush_;
    ConnectionTable table_;
    render::Context context_{table_, table_.clock()};
    std::unique_ptr<view::View> view_;

    bool plain_ = false;     // of the hooks' records, only the table has to know
    bool by_marks_ = false;  // the source makes a snapshot for each report: cut there
    MonoNs cut_ = 0;         // where the present interval began; 0: at the start
    Phase phase_ = Phase::inside;
    MonoNs from_ = 0;
    MonoNs to_ = ~MonoNs{0};
    std::size_t kept_ = 0;  // of the output, when the record at hand came
    std::optional<Error> error_;
};

}  // namespace tcptrail
