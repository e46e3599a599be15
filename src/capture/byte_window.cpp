// SPDX-License-Identifier: Apache-2.0
#include "capture/byte_window.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

namespace tcptrail::capture {
namespace {

constexpr std::size_t READ_BYTES = 256 << 10;

}  // namespace

Result<ByteWindow> ByteWindow::open(const std::string& path) {
    ByteWindow window;
    window.path_ = path == "-" ? "standard input" : path;
    window.fd_.reset(path == "-" ? STDIN_FILENO : ::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NOCTTY));
    if (!window.fd_) return fail(Exit::failed, "cannot read " + path + ": " + std::strerror(errno));
    struct stat info {};
    if (::fstat(window.fd_.get(), &info) == 0) {
        if (S_ISDIR(info.st_mode)) {
            return fail(Exit::failed, "cannot read " + path + ": it is a directory; give the recording's files");
        }
        window.rereadable_ = S_ISREG(info.st_mode) && path != "-";
        window.device_ = info.st_dev;
        window.inode_ = info.st_ino;
    }
    return window;
}

Result<std::span<const std::uint8_t>> ByteWindow::peek(std::size_t count) {
    while (end_ - begin_ < count && !at_end_) {
        if (begin_ > 0) {
            std::memmove(buffer_.data(), buffer_.data() + begin_, end_ - begin_);
            end_ -= begin_;
            begin_ = 0;
        }
        buffer_.resize(std::max(buffer_.size(), std::max(count, READ_BYTES)));
        const ssize_t got = ::read(fd_.get(), buffer_.data() + end_, buffer_.size() - end_);
        if (got > 0) {
            end_ += static_cast<std::size_t>(got);
        } else if (got == 0) {
            at_end_ = true;
        } else if (errno != EINTR) {
            return fail(Exit::failed, "cannot read " + path_ + ": " + std::strerror(errno));
        }
    }
    return std::span<const std::uint8_t>(buffer_).subspan(begin_, end_ - begin_);
}

void ByteWindow::skip(std::size_t count) {
    begin_ += count;
    offset_ += count;
}

}  // namespace tcptrail::capture
