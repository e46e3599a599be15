// SPDX-License-Identifier: Apache-2.0
// -w: the run's records into a recording. Between the pipeline and the capture writer; one thread.
#pragma once

#include <memory>
#include <optional>
#include <string>

#include <tcptrail/result.h>
#include <tcptrail/wire.h>

#include "capture/writer.h"

namespace tcptrail {

class Recorder {
public:
    static Result<std::unique_ptr<Recorder>> open(const std::string& path);

    /// Never waits for the disk. After a failure it takes nothing more: see error().
    void take(const tt_head& record);

    /// Why the recording had to end; also where no record comes. The run should then end in good order.
    const std::optional<Error>& error();
    /// A line for stderr, when there is something to say.
    std::optional<std::string> take_warning() { return writer_->take_warning(); }

    /// All that was taken is on the disk, or the Error says why not.
    Result<void> close();

private:
    explicit Recorder(std::unique_ptr<capture::Writer> writer) : writer_(std::move(writer)) {}

    std::unique_ptr<capture::Writer> writer_;
    std::optional<Error> error_;
};

}  // namespace tcptrail
