// SPDX-License-Identifier: Apache-2.0
// Where the tracker's connections stand: found by cookie, and time-wait sockets by their two ends as well. Both indexes hold
// 32-bit numbers of places, so one more connection costs its own bytes, its place in the index and little else.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <type_traits>
#include <vector>

#include <tsl/robin_set.h>

#include "connection.h"
#include "huge_memory.h"

namespace tcptrail::track {

/// The memory that a container got last.
struct Extent {
    const char* begin = nullptr;
    std::size_t element = 0;  // bytes of each
};

/// Tells where the container stands, so that what it will look at can be fetched beforehand.
template <typename T>
struct KnownAllocator {
    using value_type = T;
    Extent* last;

    explicit KnownAllocator(Extent* at) : last(at) {}
    template <typename U>
    KnownAllocator(const KnownAllocator<U>& other) : last(other.last) {}
    T* allocate(std::size_t n) {
        T* const at = HugeAllocator<T>().allocate(n);
        *last = {reinterpret_cast<const char*>(at), sizeof(T)};
        return at;
    }
    void deallocate(T* at, std::size_t n) { HugeAllocator<T>().deallocate(at, n); }
    template <typename U>
    bool operator==(const KnownAllocator<U>& other) const {
        return last == other.last;
    }
};

class Connections {
public:
    Connections();
    Connections(const Connections&) = delete;
    Connections& operator=(const Connections&) = delete;

    std::size_t size() const { return by_cookie_.size(); }

    const Connection* find(std::uint64_t cookie) const {
        const Connection* const late = lately_[cookie % kLately];
        return late != nullptr && late->cookie == cookie ? late : look_up(cookie);
    }
    Connection* find(std::uint64_t cookie) {
        return const_cast<Connection*>(static_cast<const Connections*>(this)->find(cookie));
    }
    /// A new one, which must not stand there yet. References stay valid until its erase().
    Connection& create(std::uint64_t cookie);
    void erase(Connection& connection);
    /// So many more are to come soon, time-wait sockets in the end: has their room ready.
    void make_room(std::size_t more);

    /// The next in the order of places that may go, time-wait first; nullptr: none may.
    Connection* next_victim();

    /// From now on, and until stop_waiting() or erase(), this one is found by its ends. They must not change meanwhile.
    void wait(Connection& connection);
    void stop_waiting(Connection& connection);
    bool none_waiting() const { return by_ends_.empty(); }
    Connection* waiting_between(const Endpoints& ends);
    /// A hint that waiting_between(ends) follows soon.
    void fetch_waiting(const Endpoints& ends);

    template <typename Visit>
    void each(Visit&& visit) const {
        for (std::uint32_t place = 0; place < places_.size; ++place) {
            if (places_[place].in_use) {
                visit(places_[place]);
            }
        }
    }

private:
    struct Places {
        static constexpr unsigned kShift = 17;  // places in a chunk: eleven huge pages
        static constexpr std::size_t kBytes = sizeof(Connection) << kShift;
        static_assert(kBytes % kHugePage == 0 && std::is_trivially_destructible_v<Connection>);
        struct Free {
            void operator()(Connection* places) const { free_huge(places); }
        };
        std::vector<std::unique_ptr<Connection, Free>> chunks;  // each place's first use constructs it
        std::uint32_t size = 0;

        void add_chunk() { chunks.emplace_back(static_cast<Connection*>(allocate_huge(kBytes))); }
        Connection& operator[](std::uint32_t place) const {
            return chunks[place >> kShift].get()[place & ((1U << kShift) - 1)];
        }
    };
    struct Cookie {
        std::uint64_t value;
    };
    struct CookieHash {
        const Places* places;
        std::size_t operator()(Cookie cookie) const { return cookie.value; }  // the kernel counts them up
        std::size_t operator()(std::uint32_t place) const { return (*places)[place].cookie; }
    };
    struct SameCookie {
        using is_transparent = void;
        const Places* places;
        bool operator()(Cookie a, std::uint32_t b) const { return a.value == (*places)[b].cookie; }
        bool operator()(std::uint32_t a, Cookie b) const { return b.value == (*places)[a].cookie; }
        bool operator()(std::uint32_t a, std::uint32_t b) const { return (*places)[a].cookie == (*places)[b].cookie; }
    };
    /// Stands for any ends of this hash.
    struct Hashed {
        std::size_t hash;
    };
    struct EndsHash {
        const Places* places;
        std::size_t operator()(Hashed ends) const { return ends.hash; }
        std::size_t operator()(const Endpoints& ends) const;
        std::size_t operator()(std::uint32_t place) const { return (*this)((*places)[place].ends); }
    };
    struct SameEnds {
        using is_transparent = void;
        const Places* places;
        bool operator()(Hashed, std::uint32_t) const { return true; }
        bool operator()(std::uint32_t, Hashed) const { return true; }
        bool operator()(const Endpoints& a, std::uint32_t b) const { return a == (*places)[b].ends; }
        bool operator()(std::uint32_t a, const Endpoints& b) const { return b == (*places)[a].ends; }
        bool operator()(std::uint32_t a, std::uint32_t b) const { return (*places)[a].ends == (*places)[b].ends; }
    };
    // The stored hashes save a look at every connection when the index grows.
    using ByCookie = tsl::robin_set<std::uint32_t, CookieHash, SameCookie, HugeAllocator<std::uint32_t>, true>;
    using ByEnds = tsl::robin_set<std::uint32_t, EndsHash, SameEnds, KnownAllocator<std::uint32_t>, true>;

    static constexpr std::size_t kLately = 512;

    const Connection* look_up(std::uint64_t cookie) const;

    Places places_;
    /// The last one that was created or looked up of each remainder: most records are about one of these.
    mutable std::array<const Connection*, kLately> lately_{};
    Extent ends_index_;                      // where by_ends_ stands
    std::array<std::size_t, 4> fetching_{};  // hashes whose buckets are on their way, the oldest at fetched_
    std::size_t fetched_ = 0;
    std::vector<std::uint32_t> free_;
    ByCookie by_cookie_;
    ByEnds by_ends_;
    std::uint32_t hand_ = 0;  // of next_victim()
};

}  // namespace tcptrail::track
