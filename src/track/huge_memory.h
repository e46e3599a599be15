// SPDX-License-Identifier: Apache-2.0
// Memory for tables that grow to hundreds of megabytes: in pages of 2 MiB where the kernel has them. A fault for each 4 KiB of a
// table that a flood fills was a tenth of the reader's time, and more where the machine is a guest.
#pragma once

#include <sys/mman.h>

#include <cstddef>
#include <new>

namespace tcptrail::track {

constexpr std::size_t kHugePage = std::size_t{2} << 20;

/// Not initialised, at a huge page's beginning. Throws std::bad_alloc.
inline void* allocate_huge(std::size_t bytes) {
    void* const at = ::operator new (bytes, std::align_val_t{kHugePage});
    (void)madvise(at, bytes, MADV_HUGEPAGE);  // a wish: without it, it is memory all the same
    return at;
}

/// Has the kernel bring it now, not when it is first written. A wish too.
inline void populate(void* at, std::size_t bytes) {
    (void)madvise(at, bytes, MADV_POPULATE_WRITE);  // Linux 5.14
}

inline void free_huge(void* at) {
    ::operator delete (at, std::align_val_t{kHugePage});
}

/// std::allocator, but for what is a huge page or more.
template <typename T>
struct HugeAllocator {
    using value_type = T;

    HugeAllocator() = default;
    template <typename U>
    HugeAllocator(const HugeAllocator<U>&) {}
    T* allocate(std::size_t n) {
        return static_cast<T*>(is_huge(n) ? allocate_huge(n * sizeof(T)) : ::operator new(n * sizeof(T)));
    }
    void deallocate(T* at, std::size_t n) { is_huge(n) ? free_huge(at) : ::operator delete(at); }
    template <typename U>
    bool operator==(const HugeAllocator<U>&) const {
        return true;
    }

private:
    static bool is_huge(std::size_t n) { return n * sizeof(T) >= kHugePage; }
};

}  // namespace tcptrail::track
