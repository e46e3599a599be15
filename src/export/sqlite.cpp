// SPDX-License-Identifier: Apache-2.0
// SQLite: the tables of SCHEMA.md. One transaction; indices are made at the end, when all rows stand.
#include <cerrno>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include <sqlite3.h>
#include <unistd.h>

#include "export/exporter.h"
#include "render/json_fields.h"
#include "render/safe_text.h"

namespace tcptrail::exporting {
namespace {

constexpr const char* schema = R"(
PRAGMA journal_mode = OFF;
PRAGMA synchronous = OFF;
PRAGMA cache_size = -16384;
BEGIN;
CREATE TABLE recording (
    run INTEGER PRIMARY KEY, started TEXT, ended TEXT, window_s REAL, kernel TEXT, boot_id TEXT, transitions INTEGER,
    lost INTEGER, missed INTEGER, incomplete_connections INTEGER, truncated INTEGER);
CREATE TABLE owner (
    id INTEGER PRIMARY KEY, run INTEGER, pid INTEGER, comm TEXT, started TEXT, cgroup TEXT, unit TEXT, container TEXT,
    netns INTEGER);
CREATE TABLE transition (
    run INTEGER, time TEXT, cookie TEXT, generation INTEGER, netns INTEGER, family TEXT, laddr TEXT, lport INTEGER,
    raddr TEXT, rport INTEGER, old TEXT, new TEXT, in_old_us INTEGER, owner INTEGER REFERENCES owner(id),
    evidence TEXT, actor INTEGER REFERENCES owner(id), tw_substate TEXT, inferred INTEGER);
CREATE TABLE connection (
    run INTEGER, time TEXT, cookie TEXT, generation INTEGER, netns INTEGER, family TEXT, laddr TEXT, lport INTEGER,
    raddr TEXT, rport INTEGER, role TEXT, opened TEXT, lifetime_us INTEGER, established_us INTEGER,
    before_trace INTEGER, owner INTEGER REFERENCES owner(id), evidence TEXT, closer INTEGER REFERENCES owner(id),
    close_reason TEXT, time_wait INTEGER, bytes_sent INTEGER, bytes_received INTEGER, retransmits INTEGER,
    srtt_us INTEGER, complete INTEGER);
)";

constexpr const char* indices = R"(
CREATE INDEX transition_by_new ON transition(new, raddr, time);
CREATE INDEX transition_by_cookie ON transition(cookie, run, time);
CREATE INDEX connection_by_time ON connection(time);
CREATE INDEX connection_by_owner ON connection(owner, time);
CREATE INDEX connection_by_raddr ON connection(raddr, time);
COMMIT;
)";

/// One INSERT, its values bound in order. A failure stays until the end.
class Insert {
public:
    ~Insert() { sqlite3_finalize(statement_); }
    Insert() = default;
    Insert(const Insert&) = delete;
    Insert& operator=(const Insert&) = delete;

    int prepare(sqlite3* db, const std::string& table, int columns) {
        std::string sql = "INSERT INTO " + table + " VALUES (?";
        for (int i = 1; i < columns; ++i) {
            sql += ",?";
        }
        sql += ")";
        return sqlite3_prepare_v2(db, sql.c_str(), -1, &statement_, nullptr);
    }
    Insert& operator<<(std::string_view text) {
        sqlite3_bind_text(statement_, ++at_, text.data(), static_cast<int>(text.size()), SQLITE_TRANSIENT);
        return *this;
    }
    Insert& operator<<(std::uint64_t value) {
        sqlite3_bind_int64(statement_, ++at_, static_cast<sqlite3_int64>(value));
        return *this;
    }
    Insert& operator<<(double value) {
        sqlite3_bind_double(statement_, ++at_, value);
        return *this;
    }
    Insert& null() {
        sqlite3_bind_null(statement_, ++at_);
        return *this;
    }
    template <typename T>
    Insert& optional(const std::optional<T>& value) {
        return value ? *this << *value : null();
    }
    /// 0 is not known.
    Insert& known(std::uint64_t value) { return value != 0 ? *this << value : null(); }
    int done() {
        at_ = 0;
        const int status = sqlite3_step(statement_);
        sqlite3_reset(statement_);
        return status == SQLITE_DONE ? SQLITE_OK : status;
    }

private:
    sqlite3_stmt* statement_ = nullptr;
    int at_ = 0;
};

std::optional<std::uint64_t> wide(const std::optional<std::uint32_t>& value) {
    return value ? std::optional<std::uint64_t>(*value) : std::nullopt;
}

std::optional<std::uint64_t> flag(const std::optional<bool>& value) {
    return value ? std::optional<std::uint64_t>(*value ? 1 : 0) : std::nullopt;
}

class Sqlite final : public Exporter {
public:
    explicit Sqlite(std::string path) : path_(std::move(path)) {}
    ~Sqlite() override { close(); }

    Result<void> open() {
        if (::unlink(path_.c_str()) != 0 && errno != ENOENT) {
            return fail(Exit::failed, "cannot replace " + path_);
        }
        constexpr int flags = SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_NOMUTEX;
        keep(sqlite3_open_v2(path_.c_str(), &db_, flags, nullptr));
        execute(schema);
        keep(recording_.prepare(db_, "recording", 11));
        keep(owner_.prepare(db_, "owner", 9));
        keep(transition_.prepare(db_, "transition", 18));
        keep(connection_.prepare(db_, "connection", 25));
        return state();
    }

private:
    void begin(std::string&) override {}

    void begin_run(const ConnectionTable& table) override {
        ++run_;
        owners_.clear();
        kernel_ = table.start_setting("kernel");
        boot_ = table.start_setting("boot_id");
        started_ = render::rfc3339(table.clock().wall_ns(table.start()));
    }

    void transition(std::string&, const TransitionRow& row, const render::Context& context) override {
        const auto owner = id_of(report::known_process(row.owner, context.processes), context.clock);
        const auto actor = id_of(context.processes.find(row.actor), context.clock);
        common(transition_, row, context) << name(row.old_state) << name(row.new_state);
        transition_.optional(render::us(row.in_old_ns)).optional(owner) << name(row.owner.evidence);
        transition_.optional(actor);
        row.tw_substate ? transition_ << name(*row.tw_substate) : transition_.null();
        transition_ << std::uint64_t{row.inferred};
        keep(transition_.done());
    }

    void connection(std::string&, const ConnectionRow& row, const render::Context& context) override {
        const auto owner = id_of(report::known_process(row.owner, context.processes), context.clock);
        const auto closer = id_of(context.processes.find(row.closer), context.clock);
        common(connection_, row, context) << name(row.role);
        row.opened ? connection_ << render::rfc3339(context.clock.wall_ns(*row.opened)) : connection_.null();
        connection_.optional(render::us(row.lifetime_ns)).optional(render::us(row.established_ns))
            << std::uint64_t{row.before_trace};
        connection_.optional(owner) << name(row.owner.evidence);
        connection_.optional(closer) << name(row.reason);
        connection_.optional(flag(row.time_wait)).optional(row.bytes_sent).optional(row.bytes_received);
        connection_.optional(wide(row.retransmits)).optional(wide(row.srtt_us)) << std::uint64_t{row.complete};
        keep(connection_.done());
    }

    void end_run(std::string&, const TraceEnd& end, const ConnectionTable&, const render::Context& context) override {
        recording_ << run_ << started_ << render::rfc3339(context.clock.wall_ns(end.time))
                   << static_cast<double>(end.window_ns) / 1e9 << render::valid_utf8(kernel_)
                   << render::valid_utf8(boot_) << end.transitions << end.lost << end.missed
                   << end.incomplete_connections << std::uint64_t{end.truncated};
        keep(recording_.done());
    }

    Result<void> finish(std::string&) override {
        execute(indices);
        return state();
    }

    template <typename Row>
    Insert& common(Insert& to, const Row& row, const render::Context& context) {
        const Endpoints& ends = row.ends;
        to << run_ << render::rfc3339(context.clock.wall_ns(row.time)) << fmt::format("{:x}", row.cookie)
           << std::uint64_t{row.generation};
        to.known(ends.netns) << (ends.family == Family::ipv4 ? "ipv4" : "ipv6") << to_string(ends.laddr, ends.family);
        return to.known(ends.lport) << to_string(ends.raddr, ends.family) << std::uint64_t{ends.rport};
    }

    /// The row of `owner` that is this process; a new one where there is none. nullopt for nobody.
    std::optional<std::uint64_t> id_of(const Process* process, const Clock& clock) {
        if (process == nullptr) {
            return std::nullopt;
        }
        const auto [found, fresh] = owners_.try_emplace(report::key_of(process), next_owner_);
        if (fresh) {
            ++next_owner_;
            const auto text = [this](const std::optional<std::string>& bytes) {
                bytes ? owner_ << render::valid_utf8(*bytes) : owner_.null();
            };
            owner_ << found->second << run_ << std::uint64_t{process->pid} << render::valid_utf8(process->comm);
            process->start_ns != 0 ? owner_ << render::rfc3339(clock.wall_of_boot_ns(process->start_ns))
                                   : owner_.null();
            text(process->cgroup);
            text(process->unit);
            text(process->container);
            owner_.known(process->netns);
            keep(owner_.done());
        }
        return found->second;
    }

    void execute(const char* sql) {
        if (status_ == SQLITE_OK) {
            keep(sqlite3_exec(db_, sql, nullptr, nullptr, nullptr));
        }
    }

    /// The first failure stays.
    void keep(int status) {
        if (status_ == SQLITE_OK && status != SQLITE_OK) {
            status_ = status;
            message_ = db_ != nullptr ? sqlite3_errmsg(db_) : sqlite3_errstr(status);
        }
    }

    Result<void> state() const {
        if (status_ != SQLITE_OK) {
            return fail(Exit::failed, "cannot write " + path_ + ": " + message_);
        }
        return {};
    }

    void close() {
        sqlite3_close_v2(db_);  // it waits for its statements, which are finalized after this
    }

    std::string path_;
    sqlite3* db_ = nullptr;
    int status_ = SQLITE_OK;
    std::string message_;
    Insert recording_, owner_, transition_, connection_;
    std::uint64_t run_ = 0;
    std::uint64_t next_owner_ = 1;
    std::map<report::WhoKey, std::uint64_t> owners_;  // of this run
    std::string kernel_, boot_, started_;
};

}  // namespace

Result<std::unique_ptr<Exporter>> make_sqlite(const std::string& path) {
    auto exporter = std::make_unique<Sqlite>(path);
    if (auto opened = exporter->open(); !opened) {
        return tl::unexpected(opened.error());
    }
    return std::unique_ptr<Exporter>(std::move(exporter));
}

}  // namespace tcptrail::exporting
