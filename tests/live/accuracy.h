// SPDX-License-Identifier: Apache-2.0
// How often the right process is named: tcptrail and, beside it in the same run, libbpf-tools' tcplife, judged by the
// truth of the scenes.
#pragma once

namespace tcptrail::live {

/// Runs the scenes and prints a Markdown table. 0 if tcptrail named no wrong process and missed none that can be known.
int print_accuracy();

}  // namespace tcptrail::live
