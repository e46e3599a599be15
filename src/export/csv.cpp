// SPDX-License-Identifier: Apache-2.0
// One table, the first column of which says what a line is. Columns that a line has no value for are empty; text is
// quoted where RFC 4180 wants it.
#include <array>
#include <optional>
#include <string_view>
#include <utility>

#include "export/exporter.h"
#include "render/json_fields.h"
#include "render/safe_text.h"

namespace tcptrail::exporting {
namespace {

constexpr std::string_view columns =
    "type,time,cookie,generation,netns,family,laddr,lport,raddr,rport,owner_pid,owner_comm,owner_cgroup,"
    "owner_evidence,actor_pid,actor_comm,old,new,in_old_us,tw_substate,inferred,role,opened,lifetime_us,"
    "established_us,before_trace,close_reason,time_wait,bytes_sent,bytes_received,retransmits,srtt_us,complete\n";

std::string quoted(std::string_view bytes) {
    std::string text = render::valid_utf8(bytes);
    if (text.find_first_of(",\"\r\n") == std::string::npos) {
        return text;
    }
    std::string out = "\"";
    for (const char c : text) {
        out += c;
        if (c == '"') {
            out += c;
        }
    }
    return out + '"';
}

template <typename T>
std::string number(const std::optional<T>& value) {
    return value ? std::to_string(*value) : std::string();
}

std::string known(std::uint64_t value) {
    return value != 0 ? std::to_string(value) : std::string();
}

std::string_view truth(bool value) {
    return value ? "true" : "false";
}

class Line {
public:
    explicit Line(std::string& out, std::string_view type) : out_(out) { out_ += type; }
    Line& operator<<(std::string_view value) {
        out_ += ',';
        out_ += value;
        return *this;
    }
    Line& skip(int fields) {
        out_.append(static_cast<std::size_t>(fields), ',');
        return *this;
    }
    void end() { out_ += '\n'; }

private:
    std::string& out_;
};

template <typename Row>
void common(Line& line, const Row& row, ProcessId other, const render::Context& context) {
    const Endpoints& ends = row.ends;
    line << render::rfc3339(context.clock.wall_ns(row.time)) << fmt::format("{:x}", row.cookie)
         << std::to_string(row.generation) << known(ends.netns) << (ends.family == Family::ipv4 ? "ipv4" : "ipv6")
         << to_string(ends.laddr, ends.family) << known(ends.lport) << to_string(ends.raddr, ends.family)
         << std::to_string(ends.rport);
    const Process* owner = report::known_process(row.owner, context.processes);
    if (owner != nullptr) {
        line << std::to_string(owner->pid) << quoted(owner->comm) << quoted(owner->cgroup.value_or(""))
             << name(row.owner.evidence);
    } else {
        line.skip(3) << name(Evidence::unknown);
    }
    if (const Process* process = context.processes.find(other)) {
        line << std::to_string(process->pid) << quoted(process->comm);
    } else {
        line.skip(2);
    }
}

class Csv final : public Exporter {
    void begin(std::string& out) override { out += columns; }

    void transition(std::string& out, const TransitionRow& row, const render::Context& context) override {
        Line line(out, "transition");
        common(line, row, row.actor, context);
        line << name(row.old_state) << name(row.new_state) << number(render::us(row.in_old_ns))
             << (row.tw_substate ? name(*row.tw_substate) : "") << truth(row.inferred);
        line.skip(12).end();
    }

    void connection(std::string& out, const ConnectionRow& row, const render::Context& context) override {
        Line line(out, "connection");
        common(line, row, row.closer, context);
        line.skip(5) << name(row.role) << (row.opened ? render::rfc3339(context.clock.wall_ns(*row.opened)) : "")
                     << number(render::us(row.lifetime_ns)) << number(render::us(row.established_ns))
                     << truth(row.before_trace) << name(row.reason) << (row.time_wait ? truth(*row.time_wait) : "")
                     << number(row.bytes_sent) << number(row.bytes_received) << number(row.retransmits)
                     << number(row.srtt_us) << truth(row.complete);
        line.end();
    }

    /// How complete it was is told on stderr: a table has no place for it.
    void end_run(std::string&, const TraceEnd&, const ConnectionTable&, const render::Context&) override {}
};

}  // namespace

std::unique_ptr<Exporter> make_csv() {
    return std::make_unique<Csv>();
}

}  // namespace tcptrail::exporting
