// SPDX-License-Identifier: Apache-2.0
#include "recorder.h"

#include <utility>

namespace tcptrail {

Result<std::unique_ptr<Recorder>> Recorder::open(const std::string& path) {
    capture::WriterOptions options;
    options.path = path;
    auto writer = capture::Writer::open(std::move(options));
    if (!writer) {
        return tl::unexpected(writer.error());
    }
    return std::unique_ptr<Recorder>(new Recorder(std::move(*writer)));
}

void Recorder::take(const tt_head& record) {
    if (error_) {
        return;
    }
    if (auto taken = writer_->append(record); !taken) {
        error_ = taken.error();
    }
}

const std::optional<Error>& Recorder::error() {
    if (!error_) {
        if (auto well = writer_->check(); !well) {
            error_ = well.error();
        }
    }
    return error_;
}

Result<void> Recorder::close() {
    auto closed = writer_->close();
    return error_ ? tl::unexpected(*error_) : closed;
}

}  // namespace tcptrail
