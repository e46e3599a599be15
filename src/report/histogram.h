// SPDX-License-Identifier: Apache-2.0
// Quantiles of positive numbers in little memory.
//
// Logarithmic buckets: values below 128 have a bucket each; above, every power of two is cut into 64 equal buckets, and a
// quantile answers with its bucket's middle. A bucket is at most 1/64 of its lower edge wide, so the answer is at most
// 1/128 (0.8 %) off. The maximum is exact. Only buckets in use take memory.
#pragma once

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdint>
#include <optional>
#include <vector>

namespace tcptrail::report {

class Histogram {
public:
    void add(std::uint64_t value) {
        const std::uint16_t at = index(value);
        auto found = std::lower_bound(buckets_.begin(), buckets_.end(), at,
                                      [](const Bucket& bucket, std::uint16_t index) { return bucket.index < index; });
        if (found == buckets_.end() || found->index != at) {
            found = buckets_.insert(found, {at, 0});
        }
        ++found->count;
        ++count_;
        max_ = std::max(max_, value);
    }

    std::uint64_t count() const { return count_; }

    /// nullopt while nothing was added.
    std::optional<std::uint64_t> max() const { return count_ > 0 ? std::optional(max_) : std::nullopt; }

    /// The smallest value that at least `part` (0 to 1) of all values do not exceed; nullopt while nothing was added.
    std::optional<std::uint64_t> quantile(double part) const {
        if (count_ == 0) {
            return std::nullopt;
        }
        const auto rank = std::clamp<std::uint64_t>(
            static_cast<std::uint64_t>(std::ceil(part * static_cast<double>(count_))), 1, count_);
        std::uint64_t seen = 0;
        for (const Bucket& bucket : buckets_) {
            seen += bucket.count;
            if (seen >= rank) {
                return std::min(middle(bucket.index), max_);
            }
        }
        return max_;
    }

private:
    static constexpr int fraction_bits = 6;
    static constexpr std::uint64_t per_octave = 1U << fraction_bits;

    static std::uint16_t index(std::uint64_t value) {
        if (value < 2 * per_octave) {
            return static_cast<std::uint16_t>(value);
        }
        const int shift = static_cast<int>(std::bit_width(value)) - 1 - fraction_bits;
        return static_cast<std::uint16_t>(static_cast<std::uint64_t>(shift) * per_octave + (value >> shift));
    }

    static std::uint64_t middle(std::uint16_t bucket) {
        if (bucket < 2 * per_octave) {
            return bucket;
        }
        const int shift = static_cast<int>(bucket / per_octave) - 1;
        const std::uint64_t lower = (bucket % per_octave + per_octave) << shift;
        return lower + ((std::uint64_t{1} << shift) - 1) / 2;
    }

    struct Bucket {
        std::uint16_t index;
        std::uint64_t count;
    };
    std::vector<Bucket> buckets_;  // sorted: a quarter of a map's memory, and thousands of rows have one
    std::uint64_t count_ = 0;
    std::uint64_t max_ = 0;
};

}  // namespace tcptrail::report
