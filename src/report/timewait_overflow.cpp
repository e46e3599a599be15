// SPDX-License-Identifier: Apache-2.0
#include "report/timewait_overflow.h"

#include <algorithm>
#include <utility>

namespace tcptrail::report {
namespace {

bool same_row(const TimeWaitEntry& a, const TimeWaitEntry& b) {
    if (a.owner.process != b.owner.process || a.closer != b.closer || a.role != b.role ||
        a.ends.family != b.ends.family || a.ends.raddr != b.ends.raddr) {
        return false;
    }
    return a.role == Role::passive ? a.ends.lport == b.ends.lport : a.ends.rport == b.ends.rport;
}

}  // namespace

void TimeWaitOverflow::add(std::uint32_t netns, const DoubtfulEntry& entry) {
    Place& place = places_[netns];
    place.last = std::max(place.last, entry.time);
    ++pending_;
    if (kept_ >= most_) {
        ++place.nameless;
        return;
    }
    ++kept_;
    place.by_cookie[entry.cookie] = static_cast<std::uint32_t>(place.entries.size());
    place.entries.push_back({entry, false});
}

bool TimeWaitOverflow::shows(std::uint32_t netns, std::uint64_t cookie) {
    const auto place = places_.find(netns);
    if (place == places_.end() || place->second.entries.empty()) {
        return false;
    }
    const auto found = place->second.by_cookie.find(cookie);
    if (found == place->second.by_cookie.end()) {
        return false;
    }
    place->second.entries[found->second].shown = true;
    return true;
}

std::uint64_t TimeWaitOverflow::keep(const std::set<std::uint32_t>& namespaces, MonoNs began) {
    std::uint64_t left = 0;
    std::erase_if(places_, [&](const auto& known) {
        const Place& place = known.second;
        if (namespaces.contains(known.first) || place.last >= began) {
            return false;
        }
        left += place.entries.size() + place.nameless;
        kept_ -= place.entries.size();
        return true;
    });
    pending_ -= left;
    return left;
}

OverflowSettled TimeWaitOverflow::settle(std::uint32_t netns, MonoNs time, std::int64_t counter) {
    OverflowSettled out;
    Place& place = places_[netns];
    // A counter that never moved says so even if it was not read before.
    const bool known = place.counter.has_value() || counter == 0;
    const std::int64_t refused = known ? counter - place.counter.value_or(0) + place.carry : 0;
    place.counter = counter;
    place.carry = 0;

    std::vector<Doubtful> later;
    std::vector<DoubtfulEntry> hidden;
    for (const Doubtful& doubtful : place.entries) {
        if (doubtful.shown) {
            out.standing.push_back(doubtful.entry);
        } else if (doubtful.entry.time > time) {
            later.push_back(doubtful);
        } else {
            hidden.push_back(doubtful.entry);
        }
    }
    const std::uint64_t nameless = std::exchange(place.nameless, 0);
    const std::uint64_t unshown = hidden.size() + nameless;
    kept_ -= place.entries.size() - later.size();
    pending_ -= out.standing.size() + unshown;
    place.by_cookie.clear();
    place.entries = std::move(later);
    for (std::size_t i = 0; i < place.entries.size(); ++i) {
        place.by_cookie[place.entries[i].entry.cookie] = static_cast<std::uint32_t>(i);
    }

    if (!known) {
        out.left = unshown;
        return out;
    }
    out.refused = std::min(unshown, static_cast<std::uint64_t>(std::max<std::int64_t>(0, refused)));
    place.carry = refused - static_cast<std::int64_t>(out.refused);
    const std::uint64_t created = unshown - out.refused;
    if (created == 0) {
        return out;
    }
    const bool one_row = nameless == 0 && std::all_of(hidden.begin(), hidden.end(), [&](const DoubtfulEntry& entry) {
                             return same_row(entry.entry, hidden.front().entry);
                         });
    if (one_row) {  // whichever they were, they count in the same row
        hidden.resize(created);
        out.gone = std::move(hidden);
    } else if (out.refused == 0 && nameless == 0) {
        out.gone = std::move(hidden);
    } else {
        out.anonymous = created;
        out.undecided = unshown;
    }
    return out;
}

}  // namespace tcptrail::report
