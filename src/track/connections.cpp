// SPDX-License-Identifier: Apache-2.0
#include "connections.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "mix.h"

namespace tcptrail::track {
namespace {

std::uint64_t word(const Address& address, std::size_t at) {
    std::uint64_t out = 0;
    std::memcpy(&out, address.data() + at, sizeof(out));
    return out;
}

}  // namespace

Connections::Connections()
    : by_cookie_(0, CookieHash{&places_}, SameCookie{&places_}),
      by_ends_(0, EndsHash{&places_}, SameEnds{&places_}, KnownAllocator<std::uint32_t>(&ends_index_)) {}

std::size_t Connections::EndsHash::operator()(const Endpoints& ends) const {
    std::uint64_t hash =
        static_cast<std::uint64_t>(ends.netns) << 32 | static_cast<std::uint64_t>(ends.lport) << 16 | ends.rport;
    hash = mix(hash) + word(ends.laddr, 0);
    hash = mix(hash) + word(ends.raddr, 0);
    if (ends.family == Family::ipv6) {  // the rest is zero in IPv4
        hash = mix(hash) + word(ends.laddr, sizeof(hash));
        hash = mix(hash) + word(ends.raddr, sizeof(hash));
    }
    return mix(hash);
}

const Connection* Connections::look_up(std::uint64_t cookie) const {
    const auto found = by_cookie_.find(Cookie{cookie});
    return found == by_cookie_.end() ? nullptr : lately_[cookie % kLately] = &places_[*found];
}

Connection& Connections::create(std::uint64_t cookie) {
    std::uint32_t place = 0;
    if (free_.empty()) {
        place = places_.size++;
        if (place >> Places::kShift == places_.chunks.size()) {
            places_.add_chunk();
        }
    } else {
        place = free_.back();
        free_.pop_back();
    }
    Connection& connection = *std::construct_at(&places_[place]);
    connection.cookie = cookie;
    connection.in_use = true;
    by_cookie_.insert(place);
    lately_[cookie % kLately] = &connection;
    return connection;
}

void Connections::erase(Connection& connection) {
    stop_waiting(connection);
    const auto found = by_cookie_.find(Cookie{connection.cookie});
    if (found == by_cookie_.end()) {
        return;
    }
    connection.in_use = false;
    if (const Connection*& late = lately_[connection.cookie % kLately]; late == &connection) {
        late = nullptr;
    }
    free_.push_back(*found);
    by_cookie_.erase(found);
}

void Connections::make_room(std::size_t more) {
    const std::size_t wanted = places_.size + more;
    by_cookie_.reserve(wanted);
    by_ends_.reserve(wanted);
    for (std::size_t place = places_.size; place < wanted;) {
        const std::size_t chunk = place >> Places::kShift;
        const std::size_t end = std::min(wanted, (chunk + 1) << Places::kShift);
        if (chunk == places_.chunks.size()) {
            places_.add_chunk();
        }
        // Whole huge pages: the kernel brings what is asked for in pages of its own, whichever these are.
        const auto page_of = [](std::size_t byte) { return (byte + kHugePage - 1) / kHugePage * kHugePage; };
        const std::size_t first = chunk << Places::kShift;
        const std::size_t from = page_of((place - first) * sizeof(Connection));
        const std::size_t to = page_of((end - first) * sizeof(Connection));
        populate(reinterpret_cast<char*>(places_.chunks[chunk].get()) + from, to - from);
        place = end;
    }
}

Connection* Connections::next_victim() {
    constexpr std::uint32_t kLook = 64;  // how far ahead a time-wait socket is looked for
    Connection* victim = nullptr;
    for (std::uint32_t looked = 0; looked < places_.size; ++looked) {
        hand_ = (hand_ + 1) % places_.size;
        Connection& candidate = places_[hand_];
        if (!candidate.in_use || candidate.state == State::listen) {
            continue;
        }
        if (victim == nullptr || candidate.state == State::time_wait) {
            victim = &candidate;
        }
        if (candidate.state == State::time_wait || looked >= kLook) {
            break;
        }
    }
    return victim;
}

void Connections::wait(Connection& connection) {
    if (!connection.addresses) {
        return;  // nobody could find it
    }
    const std::uint32_t place = *by_cookie_.find(Cookie{connection.cookie});
    auto [found, fresh] = by_ends_.insert(place);
    if (!fresh) {
        places_[*found].waiting = false;
        by_ends_.erase(found);
        by_ends_.insert(place);
    }
    connection.waiting = true;
}

void Connections::stop_waiting(Connection& connection) {
    if (connection.waiting) {
        connection.waiting = false;
        by_ends_.erase(connection.ends);
    }
}

void Connections::fetch_waiting(const Endpoints& ends) {
    const std::size_t buckets = by_ends_.bucket_count();
    if (buckets == 0) {
        return;
    }
    // The index is a power of two of buckets; were it otherwise, this would fetch in vain.
    const std::size_t hash = EndsHash{&places_}(ends);
    __builtin_prefetch(ends_index_.begin + (hash & (buckets - 1)) * ends_index_.element);
    // By now the bucket of an earlier one is there, and says where the connection stands.
    const std::size_t earlier = std::exchange(fetching_[fetched_++ % fetching_.size()], hash);
    if (const auto found = by_ends_.find(Hashed{earlier}, earlier); found != by_ends_.end()) {
        constexpr std::size_t line = 64;
        const char* const connection = reinterpret_cast<const char*>(&places_[*found]);
        for (std::size_t at = 0; at < sizeof(Connection); at += line) {
            __builtin_prefetch(connection + at);
        }
    }
}

Connection* Connections::waiting_between(const Endpoints& ends) {
    const auto found = by_ends_.find(ends);
    return found == by_ends_.end() ? nullptr : &places_[*found];
}

}  // namespace tcptrail::track
