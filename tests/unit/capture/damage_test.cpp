// SPDX-License-Identifier: Apache-2.0
#include <random>

#include "fixture.h"

namespace tcptrail::capture::test {
namespace {

/// A recording of a few blocks: one for each part, because the writer has time to flush between them.
struct Small {
    Folder folder;
    std::string path = folder / "f";
    std::string bytes;
    std::vector<std::size_t> block_ends;     // offsets in the file
    std::vector<std::size_t> records_until;  // records in all blocks until there
    Records records;

    explicit Small(int parts = 4) {
        auto writer = Writer::open({.path = path, .flush_after = std::chrono::milliseconds(1)});
        Traffic traffic({.in_flight = 2});
        for (int part = 0; part < parts; ++part) {
            const auto put = [&](const tt_head& record) {
                records.push_back(bytes_of(record));
                EXPECT_TRUE((*writer)->append(record));
            };
            traffic.transitions(6, put);
            if (part == parts - 1) put(Traffic::end(traffic.now()));
            while ((*writer)->stats().records < records.size()) {
                EXPECT_TRUE((*writer)->check());  // as an idle owner does
                std::this_thread::sleep_for(std::chrono::milliseconds(1));
            }
        }
        EXPECT_TRUE((*writer)->close());
        bytes = slurp(path);
        std::size_t count = 0;
        for (std::size_t at = sizeof(FileHeader); at < bytes.size();) {
            BlockHeader header;
            std::memcpy(&header, bytes.data() + at, sizeof header);
            at += header.header_bytes + header.stored_bytes;
            count += header.records;
            block_ends.push_back(at);
            records_until.push_back(count);
        }
    }

    Read with(const std::string& other) const {
        spill(folder / "other", other);
        return read({folder / "other"});
    }
};

bool in_order_within(const Records& some, const Records& all) {
    std::size_t at = 0;
    for (const std::string& record : some) {
        while (at < all.size() && all[at] != record) ++at;
        if (at++ == all.size()) return false;
    }
    return true;
}

TEST(Damage, CutAtEveryByteEveryWholeBlockBeforeTheCutIsRead) {
    const Small small;
    for (std::size_t cut = 1; cut < small.bytes.size(); ++cut) {
        const Read back = small.with(small.bytes.substr(0, cut));
        ASSERT_EQ(back.error, "") << cut;
        std::size_t expected = 0;
        for (std::size_t i = 0; i < small.block_ends.size() && small.block_ends[i] <= cut; ++i) {
            expected = small.records_until[i];
        }
        ASSERT_EQ(back.records, Records(small.records.begin(), small.records.begin() + static_cast<long>(expected)))
            << cut;
        ASSERT_TRUE(back.completeness.truncated) << cut;
        ASSERT_EQ(back.completeness.damaged_blocks, 0u) << cut;
        ASSERT_EQ(back.completeness.skipped_bytes, 0u) << cut;
    }
}

TEST(Damage, OneFlippedBitCostsAtMostOneBlockAndIsSaid) {
    const Small small;
    for (std::size_t bit = 0; bit < small.bytes.size() * 8; bit += 3) {
        std::string bytes = small.bytes;
        bytes[bit / 8] = static_cast<char>(bytes[bit / 8] ^ (1 << bit % 8));
        const Read back = small.with(bytes);
        if (!back.error.empty()) {  // only what says which file this is may refuse it
            ASSERT_LT(bit / 8, 16u) << back.error;
            continue;
        }
        ASSERT_TRUE(in_order_within(back.records, small.records)) << bit;
        std::size_t most = 0;
        for (std::size_t i = 0; i < small.block_ends.size(); ++i) {
            most = std::max(most, small.records_until[i] - (i == 0 ? 0 : small.records_until[i - 1]));
        }
        ASSERT_GE(back.records.size() + most, small.records.size()) << bit;
        ASSERT_EQ(back.completeness.damaged_blocks, 1u) << bit;
        ASSERT_GT(back.completeness.skipped_bytes, 0u) << bit;
        ASSERT_FALSE(back.completeness.whole()) << bit;
    }
}

TEST(Damage, BytesLostOrAddedInTheMiddleCostNoOtherBlock) {
    const Small small;
    const std::size_t middle = (small.block_ends[0] + small.block_ends[1]) / 2;
    for (const std::string& bytes : {small.bytes.substr(0, middle) + small.bytes.substr(middle + 5),
                                     small.bytes.substr(0, middle) + "12345" + small.bytes.substr(middle),
                                     small.bytes.substr(0, small.block_ends[0]) + std::string(300'000, '\0') +
                                         small.bytes.substr(small.block_ends[0])}) {
        const Read back = small.with(bytes);
        EXPECT_EQ(back.error, "");
        EXPECT_TRUE(in_order_within(back.records, small.records));
        EXPECT_EQ(back.records.back(), small.records.back());
        EXPECT_GE(back.completeness.damaged_blocks, 1u);
        EXPECT_GE(back.records.size(), small.records.size() - (small.records_until[1] - small.records_until[0]));
    }
}

TEST(Damage, ABlockTakenOutIsMissed) {
    const Small small;
    const Read back = small.with(small.bytes.substr(0, small.block_ends[0]) + small.bytes.substr(small.block_ends[1]));
    EXPECT_EQ(back.completeness.missing_blocks, 1u);
    EXPECT_EQ(back.completeness.damaged_blocks, 0u);
    EXPECT_FALSE(back.completeness.truncated);
}

TEST(Damage, RandomBytesNeverDoMoreThanDamage) {
    const Small small;
    std::mt19937_64 random(3);
    for (int round = 0; round < 2'000; ++round) {
        std::string bytes = small.bytes;
        for (int i = 0; i < 8; ++i) bytes[64 + random() % (bytes.size() - 64)] = static_cast<char>(random());
        ASSERT_TRUE(in_order_within(small.with(bytes).records, small.records));
    }
}

TEST(Refused, WithOneClearLine) {
    const Small small;
    const auto error = [&](const std::string& bytes) { return small.with(bytes).error; };
    const std::string cannot = "cannot read " + (small.folder / "other") + ": ";
    EXPECT_EQ(error(""), cannot + "it is empty");
    EXPECT_EQ(error("10:00:00 localhost curl ESTABLISHED\n"), cannot + "not a tcptrail recording: it is text");
    EXPECT_EQ(error(std::string("\xd4\xc3\xb2\xa1\x02\x00", 6)),
              cannot + "not a tcptrail recording: it is a pcap file, of packets: tcpdump reads it");
    EXPECT_EQ(error(std::string(4096, '\0')),
              cannot + "not a tcptrail recording: its first bytes are not a recording's");
    std::string future = small.bytes;
    future[12] = 2;
    EXPECT_EQ(error(future), cannot +
                                 "its format is version 2.0, this tcptrail reads up to 1.x: use the tcptrail that "
                                 "recorded it, or a newer one");
    EXPECT_EQ(read({small.folder.str()}).error,
              "cannot read " + small.folder.str() + ": it is a directory; give the recording's files");
    EXPECT_EQ(read({small.folder / "none"}).error,
              "cannot read " + (small.folder / "none") + ": No such file or directory");
}

TEST(Versions, ANewerMinorWithLongerHeadersIsRead) {
    const Small small;
    // Both kinds of header grow by 16 bytes before their check.
    const auto grown = [](std::string header, std::size_t length_at) {
        header.insert(header.size() - 8, 16, '\x55');
        const auto length = static_cast<std::uint16_t>(header.size());
        std::memcpy(&header[length_at], &length, 2);
        const std::uint64_t check = header_check({reinterpret_cast<const std::uint8_t*>(header.data()), header.size()});
        std::memcpy(&header[header.size() - 8], &check, 8);
        return header;
    };
    std::string head = small.bytes.substr(0, 64);
    head[14] = 9;
    std::string bytes = grown(head, 10);
    std::size_t at = 64;
    for (const std::size_t end : small.block_ends) {
        bytes += grown(small.bytes.substr(at, sizeof(BlockHeader)), 8);
        bytes += small.bytes.substr(at + sizeof(BlockHeader), end - at - sizeof(BlockHeader));
        at = end;
    }
    const Read back = small.with(bytes);
    EXPECT_EQ(back.error, "");
    EXPECT_EQ(back.records, small.records);
    EXPECT_TRUE(back.completeness.whole());
}

}  // namespace
}  // namespace tcptrail::capture::test
