// SPDX-License-Identifier: Apache-2.0
// -w: the run's records into a recording. Between the pipeline and the capture writer; one thread.
#pragma once

#include <deque>
#include <memory>
#include <optional>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

#include <tcptrail/result.h>
#include <tcptrail/wire.h>

#include "capture/writer.h"

namespace tcptrail {

/// What a later file of a rotated recording must repeat, so that it can be read alone. Bounded, however long the run is.
class Preamble {
public:
    void learn(const tt_head& record);
    /// For a file that begins at `time`.
    void write(capture::Writer& writer, std::uint64_t time) const;

private:
    using Bytes = std::vector<std::uint64_t>;  // a record, aligned as it must be

    /// As many as the BPF program remembers, in the same slots: it tells again who is in none.
    static constexpr std::size_t process_slots = 8192;
    /// Names of cgroups and containers; the collector tells more than half as many anew.
    static constexpr std::size_t most_names = std::size_t{1} << 18;

    Bytes start_;
    std::vector<std::optional<tt_process>> processes_{process_slots};
    std::unordered_map<std::uint64_t, Bytes> names_;
    std::deque<std::uint64_t> names_order_;
    tt_counters counters_{};
};

struct RecorderOptions {
    std::string path;
    std::uint64_t file_bytes = 0;  // -C
    unsigned files = 0;            // -W
    bool ring = false;
};

class Recorder {
public:
    static Result<std::unique_ptr<Recorder>> open(const RecorderOptions& options);

    /// Never waits for the disk. After a failure it takes nothing more: see error().
    void take(const tt_head& record);

    /// Why the recording had to end; also where no record comes. The run should then end in good order.
    const std::optional<Error>& error();
    /// A line for stderr, when there is something to say.
    std::optional<std::string> take_warning() { return writer_->take_warning(); }
    bool is_starved() const { return writer_->is_starved(); }
    /// True once after a new file has begun: it wants a snapshot of its own. At most one a second, and not before the events
    /// since the last one are as much as it was: or else, where files are too small for a snapshot, each would want the
    /// next, and a ring would soon hold nothing else.
    bool take_snapshot_wish();

    /// All that was taken is on the disk, or the Error says why not.
    Result<void> close();

private:
    Recorder() = default;

    Preamble preamble_;
    std::uint64_t now_ = 0;        // time of the record at hand
    std::uint64_t last_wish_ = 0;  // when a snapshot was last wished for, in that time
    bool wants_snapshot_ = false;
    std::uint64_t event_bytes_ = 0;     // of records, since the last wish
    std::uint64_t snapshot_bytes_ = 0;  // the same
    std::optional<Error> error_;
    std::unique_ptr<capture::Writer> writer_;  // goes first: its last files call back
};

}  // namespace tcptrail
