// SPDX-License-Identifier: Apache-2.0
#include "capture/file_sink.h"

#include <fcntl.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <filesystem>

#include "capture/block.h"
#include "capture/format.h"
#include "capture/names.h"

namespace tcptrail::capture {
namespace {

/// A ring whose only file is smaller than this when the disk is full ends: dropping it would gain nothing.
constexpr std::uint64_t WORTH_DROPPING_BYTES = 64 << 10;

bool no_space(int error) {
    return error == ENOSPC || error == EDQUOT || error == EFBIG;
}

std::uint64_t random_id() {
    std::uint64_t id = 0;
    if (::getrandom(&id, sizeof id, GRND_NONBLOCK) != sizeof id) {
        id = static_cast<std::uint64_t>(std::chrono::system_clock::now().time_since_epoch().count()) ^
             static_cast<std::uint64_t>(::getpid()) << 48;
    }
    return id;
}

std::uint64_t wall_ns() {
    return static_cast<std::uint64_t>(
        std::chrono::nanoseconds(std::chrono::system_clock::now().time_since_epoch()).count());
}

/// Where a ring goes on after an earlier run: at the first name that is free, else at the oldest file, so that the
/// newest evidence of the run before survives longest.
std::uint64_t oldest_slot(const SinkOptions& options) {
    std::uint64_t oldest = 0;
    timespec oldest_time{};
    for (unsigned slot = 0; slot < options.files; ++slot) {
        struct stat info {};
        if (::stat(file_name(options.path, slot, options.files).c_str(), &info) != 0) return slot;
        const timespec time = info.st_mtim;
        if (slot == 0 || time.tv_sec < oldest_time.tv_sec ||
            (time.tv_sec == oldest_time.tv_sec && time.tv_nsec < oldest_time.tv_nsec)) {
            oldest = slot;
            oldest_time = time;
        }
    }
    return oldest;
}

}  // namespace

FileSink::FileSink(SinkOptions options) : options_(std::move(options)), run_(random_id()) {
    if (options_.ring && options_.files > 0) first_slot_ = oldest_slot(options_);
}

Error FileSink::cannot(const char* what, int error) const {
    return cannot(what, name_, error);
}

Error FileSink::cannot(const char* what, const std::string& name, int error) {
    std::string message = std::string("cannot ") + what + " " + name + ": " + std::strerror(error);
    if (no_space(error)) message += "; what was written before is kept: free some space, or record with --ring";
    return Error{Exit::failed, std::move(message)};
}

void FileSink::sync_folder() const {
    const std::filesystem::path folder = std::filesystem::path(name_).parent_path();
    const Fd fd(::open(folder.empty() ? "." : folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    if (fd) ::fsync(fd.get());
}

Result<void> FileSink::open_file() {
    slot_ = first_slot_ + begun_;
    name_ = file_name(options_.path, slot_, options_.files);
    int flags = O_WRONLY | O_CREAT | O_CLOEXEC | O_NOCTTY;
    if (options_.file_bytes > 0) {
        // A new inode, so that whoever reads the old file keeps it whole.
        if (::unlink(name_.c_str()) != 0 && errno != ENOENT) return tl::unexpected(cannot("replace", errno));
        flags |= O_EXCL;
    } else {
        flags |= O_TRUNC;
    }
    fd_.reset(::open(name_.c_str(), flags, 0600));
    if (!fd_) return tl::unexpected(cannot("create", errno));
    struct stat info {};
    regular_ = ::fstat(fd_.get(), &info) == 0 && S_ISREG(info.st_mode);
    if (regular_ && ::fchmod(fd_.get(), 0600) != 0) return tl::unexpected(cannot("make private", errno));
    bytes_ = 0;
    return {};
}

Result<void> FileSink::begin_file(std::uint64_t first_sequence) {
    if (fd_) {
        if (auto synced = sync(); !synced) return synced;
        fd_.reset();
    }
    auto opened = open_file();
    while (!opened && options_.ring && no_space(errno) && drop_oldest()) opened = open_file();
    if (!opened) return opened;
    if (auto written = write_header(first_sequence); !written) {
        if (regular_) ::unlink(name_.c_str());
        fd_.reset();
        return written;
    }
    ++begun_;
    return {};
}

Result<void> FileSink::write_header(std::uint64_t first_sequence) {
    FileHeader header;
    header.created_ns = wall_ns();
    header.run = run_;
    header.file = begun_;
    header.first_sequence = first_sequence;
    const std::span<const std::uint8_t> bytes(reinterpret_cast<const std::uint8_t*>(&header), sizeof header);
    header.check = header_check(bytes);
    int error = write_all(bytes);
    while (error != 0 && options_.ring && no_space(error) && drop_oldest()) error = write_all(bytes);
    if (error != 0) return tl::unexpected(cannot("write", error));
    if (auto synced = sync(); !synced) return synced;
    sync_folder();
    return {};
}

/// 0, or the errno; the file then ends where it ended before.
int FileSink::write_all(std::span<const std::uint8_t> bytes) {
    std::size_t done = 0;
    while (done < bytes.size()) {
        const ssize_t wrote = ::write(fd_.get(), bytes.data() + done, bytes.size() - done);
        if (wrote > 0) {
            done += static_cast<std::size_t>(wrote);
        } else if (wrote == 0 || errno != EINTR) {
            const int error = wrote == 0 ? ENOSPC : errno;
            if (done > 0 && regular_ && ::ftruncate(fd_.get(), static_cast<off_t>(bytes_)) == 0) {
                ::lseek(fd_.get(), static_cast<off_t>(bytes_), SEEK_SET);
            }
            return error;
        }
    }
    bytes_ += bytes.size();
    return 0;
}

/// Removes the oldest file of the ring, never the current one. False where there is none left.
bool FileSink::drop_oldest() {
    for (unsigned i = 1; i < options_.files; ++i) {
        if (::unlink(file_name(options_.path, slot_ + i, options_.files).c_str()) == 0) {
            ++dropped_;
            sync_folder();
            return true;
        }
    }
    return false;
}

Result<FileSink::Wrote> FileSink::write(std::span<const std::uint8_t> block) {
    for (;;) {
        const int error = write_all(block);
        if (error == 0) return Wrote::whole;
        if (!options_.ring || !no_space(error)) return tl::unexpected(cannot("write", error));
        if (drop_oldest()) continue;
        if (!regular_ || bytes_ < WORTH_DROPPING_BYTES) return tl::unexpected(cannot("write", error));
        // Smaller files from here on, so that next time there is an older one to drop.
        options_.file_bytes = std::max(bytes_ / 4, MIN_FILE_BYTES);
        ::unlink(name_.c_str());
        fd_.reset();
        ++dropped_;
        return Wrote::started_over;
    }
}

Result<void> FileSink::sync() const {
    return sync_file(fd_.get(), regular_, name_);
}

FileSink::Sync FileSink::sync_later() const {
    return {Fd(fd_ ? ::fcntl(fd_.get(), F_DUPFD_CLOEXEC, 0) : -1), regular_, name_};
}

Result<void> FileSink::Sync::wait() const {
    return sync_file(fd.get(), regular, name);
}

Result<void> FileSink::sync_file(int fd, bool regular, const std::string& name) {
    if (fd < 0 || ::fdatasync(fd) == 0) return {};
    if (!regular && (errno == EINVAL || errno == EROFS || errno == ENOTSUP)) return {};
    return tl::unexpected(cannot("write", name, errno));
}

}  // namespace tcptrail::capture
