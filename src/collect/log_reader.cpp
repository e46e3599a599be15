// SPDX-License-Identifier: Apache-2.0
#include "collect/log_reader.h"

#include <bit>
#include <cerrno>
#include <cstring>

#include <bpf/bpf.h>
#include <sys/mman.h>
#include <unistd.h>

namespace tcptrail::collect {
namespace {

std::size_t page_size() {
    return static_cast<std::size_t>(sysconf(_SC_PAGESIZE));
}

std::uint64_t read_counter(const tt_u64& counter) {
    return std::atomic_ref(const_cast<tt_u64&>(counter)).load(std::memory_order_relaxed);
}

/// Old kernels take no array value above 4 MiB.
bool kernel_takes(const LogLayout& layout) {
    LIBBPF_OPTS(bpf_map_create_opts, options);
    options.map_flags = BPF_F_MMAPABLE;
    const int fd = bpf_map_create(BPF_MAP_TYPE_ARRAY, "tcptrail_probe", sizeof(std::uint32_t),
                                  static_cast<std::uint32_t>(layout.value_bytes()), 1, &options);
    if (fd >= 0) close(fd);
    return fd >= 0;
}

}  // namespace

LogReader::LogReader(int fd, std::uint32_t count, std::uint64_t bytes, int& error) : bytes_(bytes) {
    const std::size_t stride = (LogLayout{count, bytes}.value_bytes() + 7) / 8 * 8;
    mapped_ = (stride * count + page_size() - 1) / page_size() * page_size();
    void* const at = mmap(nullptr, mapped_, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, fd, 0);
    error = at == MAP_FAILED ? errno : 0;
    if (error != 0) return;
    base_ = static_cast<std::byte*>(at);
    for (std::uint32_t i = 0; i < count; ++i) {
        Log log;
        log.shared = reinterpret_cast<tt_log*>(base_ + stride * i);
        log.data = reinterpret_cast<std::byte*>(log.shared + 1);
        logs_.push_back(log);
    }
    heap_.reserve(count);
}

LogReader::~LogReader() {
    if (base_ != nullptr) munmap(base_, mapped_);
}

bool LogReader::wait_complete(const Log& log) const {
    constexpr int kTries = 1000;  // its CPU may have been taken away for longer; then the next drain finds it
    for (int i = 0; i < kTries; ++i)
        if (is_complete(log)) return true;
    return false;
}

bool LogReader::collect_heads(std::uint64_t until) {
    heap_.clear();
    for (Log& log : logs_) {
        switch (look(log, until)) {
            case Head::incomplete: return false;
            case Head::none: break;
            case Head::there: heap_.push_back(&log); break;
        }
    }
    std::make_heap(heap_.begin(), heap_.end(), [](const Log* a, const Log* b) { return a->time > b->time; });
    return true;
}

void LogReader::free_read(Log& log) const {
    const std::uint64_t size = log.position - log.freed;
    if (size == 0) return;
    const std::uint64_t from = log.freed & (bytes_ - 1);
    const std::uint64_t before_end = std::min(size, bytes_ - from);
    std::memset(log.data + from, 0, before_end);
    if (before_end < size) {  // the last one before the end ran past it
        std::memset(log.data + bytes_, 0, TT_LOG_SLACK);
        std::memset(log.data, 0, size - before_end);
    }
    log.freed = log.position;
    std::atomic_ref(log.shared->read).store(log.freed, std::memory_order_release);
}

LogCounts LogReader::counts() const {
    LogCounts sum;
    for (const Log& log : logs_) {
        sum.lost += read_counter(log.shared->lost);
        sum.lost_other += read_counter(log.shared->lost_other);
        sum.caught += read_counter(log.shared->caught);
        sum.counted += read_counter(log.shared->counted);
    }
    return sum;
}

LogLayout choose_layout(std::size_t wanted) {
    constexpr std::uint64_t kEach = 8 << 20;      // 1 s of the worst flood that one core makes
    constexpr std::uint64_t kAlways = 2 << 20;    // every kernel takes this one
    constexpr std::uint64_t kAtLeast = 64 << 10;  // a smaller one is shared by several CPUs instead
    constexpr std::uint64_t kAll = 256 << 20;
    constexpr std::uint64_t kMost = 1 << 30;
    const auto cpus = std::bit_ceil(static_cast<std::uint64_t>(std::max(1L, sysconf(_SC_NPROCESSORS_ONLN))));
    LogLayout layout;
    const std::uint64_t all = wanted != 0 ? std::bit_ceil(std::clamp<std::uint64_t>(wanted, page_size(), kMost))
                                          : std::min(cpus * kEach, kAll);
    layout.count = static_cast<std::uint32_t>(std::clamp<std::uint64_t>(all / kAtLeast, 1, cpus));
    layout.bytes = all / layout.count;
    while (layout.bytes > kAlways && !kernel_takes(layout)) layout.bytes /= 2;
    return layout;
}

}  // namespace tcptrail::collect
