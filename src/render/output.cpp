// SPDX-License-Identifier: Apache-2.0
#include "render/output.h"

#include <cerrno>
#include <cstring>

#include <poll.h>
#include <unistd.h>

namespace tcptrail::render {

Result<Reader> Output::flush() {
    std::size_t written = 0;
    while (written < text_.size()) {
        const ssize_t n = ::write(fd_, text_.data() + written, text_.size() - written);
        if (n >= 0) {
            written += static_cast<std::size_t>(n);
        } else if (errno == EAGAIN) {  // somebody made the terminal or the pipe non-blocking
            pollfd wait{fd_, POLLOUT, 0};
            ::poll(&wait, 1, -1);
        } else if (errno == EPIPE) {
            text_.clear();
            return Reader::gone;
        } else if (errno != EINTR) {
            const std::string why = std::strerror(errno);
            text_.clear();
            return fail(Exit::failed, "cannot write the output: " + why + "; check where stdout goes");
        }
    }
    text_.clear();
    if (written == 0) {
        pollfd look{fd_, 0, 0};
        if (::poll(&look, 1, 0) == 1 && (look.revents & POLLERR) != 0) {
            return Reader::gone;
        }
    }
    return Reader::there;
}

}  // namespace tcptrail::render
