// SPDX-License-Identifier: Apache-2.0
// Writes the seeds: fuzz_corpus FOLDER makes FOLDER/reader, FOLDER/columns and FOLDER/stream. Small recordings of each shape.
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <thread>

#include <zstd.h>

#include "capture/layout.h"
#include "capture/writer.h"
#include "traffic.h"

using namespace tcptrail;
using namespace tcptrail::capture;
using test::Traffic;

namespace {

std::string slurp(const std::string& path) {
    std::ifstream in(path, std::ios::binary);
    return {std::istreambuf_iterator<char>(in), {}};
}

void text_record(Writer& writer, tt_type type, std::size_t fixed, const char* text) {
    std::uint64_t words[32] = {};
    auto* bytes = reinterpret_cast<char*>(words);
    std::strcpy(bytes + fixed, text);
    auto* head = reinterpret_cast<tt_head*>(words);
    head->type = type;
    head->size = static_cast<tt_u16>((fixed + std::strlen(text) + 7) / 8 * 8);
    head->time = 4'999'999'999'000;
    (void)writer.append(*head);
}

void recording(const std::string& path, std::uint64_t transitions, unsigned in_flight, unsigned blocks) {
    auto writer = Writer::open({.path = path, .flush_after = std::chrono::milliseconds(1)});
    Traffic traffic({.in_flight = in_flight});
    text_record(**writer, TT_START, sizeof(tt_start), "version=0.1\nkernel=6.1\nboot_id=x\n");
    text_record(**writer, TT_NETNS, sizeof(tt_netns), "net.ipv4.tcp_fin_timeout=60\n");
    text_record(**writer, TT_CGROUP, sizeof(tt_cgroup), "/system.slice/nginx.service");
    for (unsigned block = 0; block < blocks; ++block) {
        traffic.transitions(transitions, [&](const tt_head& record) { (void)(*writer)->append(record); });
        std::this_thread::sleep_for(std::chrono::milliseconds(20));
    }
    for (const auto [type, size] : {std::pair<int, std::size_t>{TT_SOCKET, sizeof(tt_socket)},
                                    {TT_HOLDER, sizeof(tt_holder)},
                                    {TT_PROCESS, sizeof(tt_process)},
                                    {TT_SNAPSHOT, sizeof(tt_snapshot)},
                                    {TT_COUNTERS, sizeof(tt_counters)},
                                    {TT_RESET, sizeof(tt_reset)},
                                    {TT_TICK, sizeof(tt_head)}}) {
        std::uint64_t words[32] = {};
        auto* head = reinterpret_cast<tt_head*>(words);
        head->type = static_cast<tt_u8>(type);
        head->size = static_cast<tt_u16>(size);
        head->time = traffic.now();
        (void)(*writer)->append(*head);
    }
    (void)(*writer)->append(Traffic::end(traffic.now()));
    (void)(*writer)->close();
}

/// Takes the columns out of a recording's blocks.
void columns(const std::string& bytes, const std::string& path) {
    int number = 0;
    for (std::size_t at = sizeof(FileHeader); at + sizeof(BlockHeader) <= bytes.size();) {
        const auto header = load<BlockHeader>(bytes.data() + at);
        std::string packed(header.packed_bytes, '\0');
        ZSTD_decompress(packed.data(), packed.size(), bytes.data() + at + sizeof header, header.stored_bytes);
        std::ofstream out(path + std::to_string(number++), std::ios::binary);
        out.write(reinterpret_cast<const char*>(&header.records), 4);
        out.write(reinterpret_cast<const char*>(&header.raw_bytes), 4);
        out.write(reinterpret_cast<const char*>(&header.first_ns), 8);
        out << packed;
        at += sizeof header + header.stored_bytes;
    }
}

/// A stream as the collector makes one, in front of it the byte that chooses the view.
void stream(const std::string& path, unsigned choice, std::uint64_t transitions) {
    std::ofstream out(path, std::ios::binary);
    out.put(static_cast<char>(choice));
    const auto put = [&](const tt_head& record) { out.write(reinterpret_cast<const char*>(&record), record.size); };
    const std::string text = "boot_id=x\nhook.accept=tracepoint\nhook.time_wait=model\nreport_every_ns=100000000\n";
    std::vector<std::uint64_t> start((sizeof(tt_start) + text.size() + 7) / 8);
    auto* head = reinterpret_cast<tt_head*>(start.data());
    *head = {static_cast<tt_u16>(start.size() * 8), TT_START, 0, 0, 0, 0, 4'999'999'999'000};
    std::memcpy(reinterpret_cast<char*>(start.data()) + sizeof(tt_start), text.data(), text.size());
    put(*head);
    Traffic traffic({.in_flight = 3});
    std::uint64_t cookie = 0;
    const auto keep = [&](const tt_head& record) {
        put(record);
        if (record.type == TT_OPEN) cookie = reinterpret_cast<const tt_step&>(record).cookie;
    };
    traffic.transitions(transitions, keep);
    for (const unsigned flags : {0U, unsigned{TT_F_END}}) {
        tt_snapshot mark{};
        mark.head = {sizeof mark, TT_SNAPSHOT, static_cast<tt_u8>(flags), 0, 0, 0, traffic.now()};
        mark.what = TT_SNAP_SOCKETS | TT_SNAP_HOLDERS | TT_SNAP_REPORT | (flags != 0 ? TT_SNAP_MARK : 0);
        put(mark.head);
        if (flags != 0) break;
        tt_socket socket{};
        socket.head = {sizeof socket, TT_SOCKET, 0, 0, 8, 80, traffic.now()};
        socket.cookie = cookie;
        socket.family = 2;
        put(socket.head);
        tt_holder holder{};
        holder.process.head = {sizeof holder, TT_HOLDER, 0, 0, 0, 0, traffic.now()};
        holder.process.id = 7;
        holder.process.tgid = 7;
        std::strcpy(holder.process.comm, "holder");
        holder.cookie = cookie;
        put(holder.process.head);
    }
    traffic.transitions(transitions, keep);
    put(Traffic::end(traffic.now()));
}

}  // namespace

int main(int argc, char** argv) {
    if (argc != 2) return std::fprintf(stderr, "usage: fuzz_corpus FOLDER\n"), 2;
    const std::string folder = argv[1];
    std::filesystem::create_directories(folder + "/reader");
    std::filesystem::create_directories(folder + "/columns");
    recording(folder + "/reader/tiny", 1, 1, 1);
    recording(folder + "/reader/one", 11, 1, 1);
    recording(folder + "/reader/blocks", 8, 3, 3);
    recording(folder + "/reader/busy", 150, 16, 1);
    for (const char* name : {"tiny", "one", "blocks", "busy"}) {
        columns(slurp(folder + "/reader/" + name), folder + "/columns/" + name);
    }
    std::filesystem::create_directories(folder + "/stream");
    for (unsigned choice = 0; choice < 12; ++choice) {
        stream(folder + "/stream/view" + std::to_string(choice), choice | (choice % 2 == 0 ? 0x80U : 0x40U), 30);
    }
    const std::string whole = slurp(folder + "/reader/blocks");
    std::ofstream(folder + "/reader/torn", std::ios::binary) << whole.substr(0, whole.size() - 20);
    std::ofstream(folder + "/reader/damaged", std::ios::binary)
        << whole.substr(0, 300) << "damage" << whole.substr(310);
    return 0;
}
