// SPDX-License-Identifier: Apache-2.0
// Where records come from: a live kernel (collect/) or a recording (capture/).
#pragma once

#include <chrono>
#include <functional>

#include <tcptrail/result.h>
#include <tcptrail/wire.h>

namespace tcptrail {

/// Takes one whole record: `size` bytes at an address that is a multiple of 8, valid during the call only.
using RecordHandler = std::function<void(const tt_head& record)>;

enum class Poll {
    more,  // call again
    end,   // the stream is over; the last record has been handed over
};

/// One stream of records, in the order in which they are to be applied. Used from one thread.
class RecordSource {
public:
    virtual ~RecordSource() = default;

    /// Hands the records that are there to `handler`; waits at most `max_wait` for the first one.
    virtual Result<Poll> poll(std::chrono::milliseconds max_wait, const RecordHandler& handler) = 0;

    /// From now on `soon` hears of a record a few records before it is handed over, to fetch the memory that it will need.
    /// Only a hint: not every record is announced, and not every source does it. It is called from within poll() alone.
    virtual void announce_to(const RecordHandler& /*soon*/) {}
};

}  // namespace tcptrail
