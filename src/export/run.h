// SPDX-License-Identifier: Apache-2.0
// `tcptrail export`: one recording, or several, to one file or to stdout.
#pragma once

#include <string>

#include <tcptrail/record_source.h>

#include "export/format.h"
#include "pipeline.h"

namespace tcptrail::exporting {

/// `path` empty: stdout, which must not be a terminal for sqlite.
Result<void> run_export(RecordSource& source, Format format, const std::string& path, const RunOptions& options,
                        const BeforePoll& before_poll);

}  // namespace tcptrail::exporting
