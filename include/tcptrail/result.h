// SPDX-License-Identifier: Apache-2.0
// Failures that the caller can act on: a value, or what went wrong and the exit status it deserves.
#pragma once

#include <string>
#include <utility>

#include <tl/expected.hpp>

namespace tcptrail {

/// Exit statuses that scripts rely on.
enum class Exit : int {
    done = 0,
    failed = 1,       // could not do it; the line on stderr says what and what to do
    usage = 2,        // wrong usage
    not_allowed = 3,  // the kernel or the privileges do not allow it
    finding = 4,      // doctor found something of the highest severity
};

struct Error {
    Exit exit = Exit::failed;
    std::string message;  // one line: what failed, with the errno's text, and what to do about it
};

template <typename T>
using Result = tl::expected<T, Error>;

inline tl::unexpected<Error> fail(Exit exit, std::string message) {
    return tl::unexpected<Error>(Error{exit, std::move(message)});
}

}  // namespace tcptrail
