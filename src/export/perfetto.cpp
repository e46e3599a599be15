// SPDX-License-Identifier: Apache-2.0
// Chrome's trace JSON, which ui.perfetto.dev shows: under each process a track ("thread") for each connection, on it a
// slice for each state. Times are microseconds since the first run's start, which otherData names.
#include <algorithm>
#include <string_view>
#include <unordered_map>
#include <unordered_set>
#include <vector>

#include "export/exporter.h"
#include "render/json_fields.h"
#include "render/safe_text.h"

namespace tcptrail::exporting {
namespace {

constexpr std::uint32_t first_track = (1U << 22) + 1;  // beyond PID_MAX_LIMIT: no thread has such a number

class Perfetto final : public Exporter {
    struct Track {
        std::uint32_t pid = 0;
        std::uint32_t tid = 0;
    };

    void begin(std::string& out) override { out += "{\"traceEvents\":["; }

    void begin_run(const ConnectionTable& table) override {
        if (start_ == 0) {
            start_ = table.clock().wall_ns(table.start());
        }
    }

    /// A time-wait socket goes: the slice that its connection's row could not hold yet.
    void transition(std::string& out, const TransitionRow& row, const render::Context& context) override {
        if (row.old_state != State::time_wait || row.new_state != State::close) {
            return;
        }
        const auto found = waiting_.find(row.cookie);
        if (found == waiting_.end()) {
            return;
        }
        if (row.in_old_ns) {
            slice(out, found->second, State::time_wait, row.time - *row.in_old_ns, *row.in_old_ns, context);
        }
        waiting_.erase(found);
    }

    void connection(std::string& out, const ConnectionRow& row, const render::Context& context) override {
        const Track track = begin_track(out, row.ends, report::known_process(row.owner, context.processes));
        slices(out, track, row.states, row.time, context);
        event(out, track, 'i', row.time, context);
        writer_.Key("s");
        writer_.String("t");
        render::field(writer_, "name", name(row.reason));
        render::key(writer_, "args");
        writer_.StartObject();
        render::field(writer_, "cookie", fmt::format("{:x}", row.cookie));
        render::optional_field(writer_, "bytes_sent", row.bytes_sent);
        render::optional_field(writer_, "bytes_received", row.bytes_received);
        render::optional_field(writer_, "retransmits", row.retransmits);
        render::optional_field(writer_, "srtt_us", row.srtt_us);
        render::field(writer_, "owner_evidence", name(row.owner.evidence));
        if (const Process* closer = context.processes.find(row.closer)) {
            render::field(writer_, "closer", render::valid_utf8(closer->comm));
        }
        writer_.EndObject();
        finish_event(out);
        if (row.time_wait.value_or(false)) {
            waiting_[row.cookie] = track;
        }
    }

    /// What stands at the end gets its slices up to there, in the order of the cookies.
    void end_run(std::string& out, const TraceEnd& end, const ConnectionTable& table,
                 const render::Context& context) override {
        std::vector<const track::Connection*> standing;
        table.for_each([&](const track::Connection& connection) {
            if (connection.addresses && connection.state != State::listen) {
                standing.push_back(&connection);
            }
        });
        std::sort(standing.begin(), standing.end(), [](const auto* a, const auto* b) { return a->cookie < b->cookie; });
        for (const track::Connection* connection : standing) {
            const std::uint64_t lasted = end.time > connection->last_time ? end.time - connection->last_time : 0;
            if (connection->state == State::time_wait) {
                if (const auto found = waiting_.find(connection->cookie); found != waiting_.end()) {
                    slice(out, found->second, State::time_wait, connection->last_time, lasted, context);
                }
                continue;
            }
            const Track track =
                begin_track(out, connection->ends, report::known_process(connection->owner, context.processes));
            std::vector<StateSpan> spans;
            for (std::size_t i = 0; i < connection->span_count; ++i) {
                spans.push_back({connection->spans[i].state(), connection->spans[i].ns()});
            }
            if (connection->in_state_known) {
                spans.push_back({connection->state, lasted});
            }
            slices(out, track, spans, end.time, context);
        }
        waiting_.clear();
    }

    Result<void> finish(std::string& out) override {
        out += "],\n\"displayTimeUnit\":\"ms\",\"otherData\":{\"start\":\"" + render::rfc3339(start_) + "\"}}\n";
        return {};
    }

    Track begin_track(std::string& out, const Endpoints& ends, const Process* owner) {
        const Track track{owner != nullptr ? owner->pid : 0, next_track_++};
        if (named_.insert(track.pid).second) {
            metadata(out, track, "process_name", owner != nullptr ? render::valid_utf8(owner->comm) : "unknown");
        }
        metadata(
            out, track, "thread_name",
            to_string(ends.laddr, ends.family, ends.lport) + " - " + to_string(ends.raddr, ends.family, ends.rport));
        return track;
    }

    void slices(std::string& out, const Track& track, const std::vector<StateSpan>& spans, MonoNs end,
                const render::Context& context) {
        std::uint64_t whole = 0;
        for (const StateSpan& span : spans) {
            whole += span.ns;
        }
        MonoNs at = end > whole ? end - whole : 0;
        for (const StateSpan& span : spans) {
            slice(out, track, span.state, at, span.ns, context);
            at += span.ns;
        }
    }

    void slice(std::string& out, const Track& track, State state, MonoNs at, std::uint64_t ns,
               const render::Context& context) {
        event(out, track, 'X', at, context);
        render::field(writer_, "name", name(state));
        writer_.Key("dur");
        micros(ns);
        finish_event(out);
    }

    void metadata(std::string& out, const Track& track, std::string_view what, std::string_view value) {
        begin_event(out, track, 'M');
        render::field(writer_, "name", what);
        render::key(writer_, "args");
        writer_.StartObject();
        render::field(writer_, "name", value);
        writer_.EndObject();
        finish_event(out);
    }

    void event(std::string& out, const Track& track, char phase, MonoNs at, const render::Context& context) {
        const std::uint64_t wall = context.clock.wall_ns(at);
        begin_event(out, track, phase);
        writer_.Key("ts");
        micros(wall > start_ ? wall - start_ : 0);
    }

    void begin_event(std::string& out, const Track& track, char phase) {
        out += any_ ? ",\n" : "\n";
        any_ = true;
        buffer_.Clear();
        writer_.Reset(buffer_);
        writer_.StartObject();
        render::field(writer_, "ph", std::string_view(&phase, 1));
        render::field(writer_, "pid", std::uint64_t{track.pid});
        render::field(writer_, "tid", std::uint64_t{track.tid});
    }

    void finish_event(std::string& out) {
        writer_.EndObject();
        out.append(buffer_.GetString(), buffer_.GetSize());
    }

    /// Exact to the nanosecond, which no double of a week's length would be.
    void micros(std::uint64_t ns) {
        const std::string text = fmt::format("{}.{:03}", ns / 1000, ns % 1000);
        writer_.RawValue(text.data(), text.size(), rapidjson::kNumberType);
    }

    rapidjson::StringBuffer buffer_;
    render::Writer writer_{buffer_};
    bool any_ = false;
    std::uint64_t start_ = 0;  // wall time, ns
    std::uint32_t next_track_ = first_track;
    std::unordered_set<std::uint32_t> named_;           // pids
    std::unordered_map<std::uint64_t, Track> waiting_;  // in TIME_WAIT, by cookie
};

}  // namespace

std::unique_ptr<Exporter> make_perfetto() {
    return std::make_unique<Perfetto>();
}

}  // namespace tcptrail::exporting
