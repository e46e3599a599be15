// SPDX-License-Identifier: Apache-2.0
// A comm or a cgroup path is any bytes that a process liked: made safe for JSON readers and terminals.
#pragma once

#include <string>
#include <string_view>

namespace tcptrail::render {

/// Valid UTF-8: what is not becomes U+FFFD. Control characters stay (JSON escapes them).
std::string valid_utf8(std::string_view bytes);

/// valid_utf8, and control characters become '?', so that no name can steer a terminal.
std::string printable(std::string_view bytes);

}  // namespace tcptrail::render
