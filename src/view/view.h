// SPDX-License-Identifier: Apache-2.0
// What a command shows of a record stream: it hears what the tracker finds, and writes rows. Knows no clock: a window is
// cut in the stream's own time, so a recording is cut in the same places. Used from one thread.
#pragma once

#include <chrono>
#include <memory>

#include <tcptrail/result.h>
#include <tcptrail/rows.h>
#include <tcptrail/wire.h>

#include "render/output.h"
#include "render/renderer.h"
#include "report/filter.h"
#include "track/table.h"
#include "view/kind.h"

namespace tcptrail::view {

/// What the options say to views.
struct Settings {
    report::Filter filter;
    std::chrono::nanoseconds older_than = std::chrono::seconds(5);  // closewait: tells a leak from a moment
};

/// What a view works on. All of it outlives the view.
struct Scope {
    const Settings& settings;
    const ConnectionTable& table;
    render::Renderer& renderer;
    render::Context context;
    render::Output& output;

    std::string& out() const { return output.text(); }
};

class View : public TrackObserver {
public:
    /// Which of its transitions on_transition() hears at least; asked once.
    virtual TransitionSet heard() const { return TransitionSet::all(); }
    /// Whether on_record() must hear of the hooks' records, nearly all of a stream; asked once. Of the others it always does.
    virtual bool hears_hooks() const { return false; }
    /// Each record, after the table has taken it; transitions and endings that it made have been told before.
    virtual void on_record(const tt_head&) {}
    /// The window from..to is over: its report. For a view with snapshots the record before was a report's snapshot mark,
    /// unless the recording holds none there.
    virtual void cut(MonoNs /*from*/, MonoNs /*to*/) {}
    /// The run is over. True where the view has told how complete it was; else the trace_end line is written.
    virtual bool end(const TraceEnd&) { return false; }
    /// What the run ends with when nothing failed.
    virtual Exit exit() const { return Exit::done; }
};

std::unique_ptr<View> make_view(tcptrail::View view, const Scope& scope);

// The views, each in its own file.
std::unique_ptr<View> make_trace(const Scope& scope);
std::unique_ptr<View> make_life(const Scope& scope);
std::unique_ptr<View> make_closewait(const Scope& scope);
std::unique_ptr<View> make_states(const Scope& scope);
std::unique_ptr<View> make_timewait(const Scope& scope);
std::unique_ptr<View> make_report(const Scope& scope);
std::unique_ptr<View> make_listen(const Scope& scope);
std::unique_ptr<View> make_doctor(const Scope& scope);

}  // namespace tcptrail::view
