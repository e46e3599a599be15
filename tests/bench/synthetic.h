// A made-up stream of records with the proportions of real churn: each connection opens, is established, is closed by either side and ends;
// `live` of them stand at any time. Made once, outside of what is timed.
#pragma once

#include <tcptrail/wire.h>

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <vector>

namespace bench {

enum : std::uint8_t {
    kEstablished = 1,
    kSynSent = 2,
    kSynRecv = 3,
    kFinWait1 = 4,
    kFinWait2 = 5,
    kClose = 7,
    kCloseWait = 8,
    kLastAck = 9,
    kListen = 10
};

class Stream {
public:
    std::size_t transitions = 0;
    std::size_t connections = 0;

    /// Each record starts at a multiple of 8 and says its own size.
    template <typename Handler>
    void each(Handler&& handler) const {
        for (std::size_t at = 0; at < words_.size();) {
            const auto& head = *reinterpret_cast<const tt_head*>(&words_[at]);
            handler(head);
            at += head.size / 8U;
        }
    }
    const void* data() const { return words_.data(); }
    std::size_t bytes() const { return words_.size() * 8; }

    template <typename Record>
    Record& add(std::uint8_t type, std::uint8_t old_state, std::uint8_t new_state, std::uint16_t lport) {
        static_assert(sizeof(Record) % 8 == 0);
        const std::size_t at = words_.size();
        words_.resize(at + sizeof(Record) / 8);
        auto* record = reinterpret_cast<Record*>(&words_[at]);
        auto* head = reinterpret_cast<tt_head*>(record);
        *head = {.size = sizeof(Record),
                 .type = type,
                 .flags = TT_F_OWNED | TT_F_HAS_SOCKET,
                 .old_state = old_state,
                 .new_state = new_state,
                 .lport = lport,
                 .time = time_ += 1000};
        return *record;
    }

private:
    std::vector<std::uint64_t> words_;
    std::uint64_t time_ = 1'000'000'000;
};

/// `connections` active opens and as many passive ones; the close of a pair comes `live` pairs after its open.
inline Stream churn(std::size_t connections, std::size_t live) {
    Stream s;
    constexpr std::uint32_t local = 0x0100007f;  // 127.0.0.1, network order
    const auto open = [&](std::uint64_t cookie, std::uint8_t from, std::uint8_t to, std::uint16_t lport,
                          std::uint16_t rport, std::uint64_t listener) {
        auto& r = s.add<tt_open>(TT_OPEN, from, to, lport);
        r.step.cookie = cookie;
        r.step.actor = 77;
        r.netns = 4026531840U;
        r.family = 2;
        r.rport = rport;
        std::memcpy(r.laddr, &local, 4);
        std::memcpy(r.raddr, &local, 4);
        r.listener = listener;
        ++s.transitions;
    };
    const auto step = [&](std::uint64_t cookie, std::uint8_t from, std::uint8_t to, std::uint16_t lport) {
        auto& r = s.add<tt_step>(TT_STEP, from, to, lport);
        r.cookie = cookie;
        r.actor = 77;
        ++s.transitions;
    };
    const auto close = [&](std::uint64_t cookie, std::uint8_t from, std::uint16_t lport) {
        auto& r = s.add<tt_close>(TT_CLOSE, from, kClose, lport);
        r.step.cookie = cookie;
        r.step.actor = 77;
        r.bytes_acked = 2;
        r.bytes_received = 1;
        r.netns = 4026531840U;
        r.srtt_us = 40;
        r.tw_count = 1000;
        r.tw_max = 131072;
        r.segs_out = 4;
        r.fin_timeout_s = 60;
        r.shutdown = 3;
        r.close_flags = TT_C_DEAD | TT_C_DONE;
        ++s.transitions;
    };
    auto& process = s.add<tt_process>(TT_PROCESS, 0, 0, 0);
    process.id = 77;
    process.start_ns = 1;
    process.tgid = 4242;
    process.netns = 4026531840U;
    std::strcpy(process.comm, "churn");
    std::strcpy(process.thread, "churn");

    constexpr std::uint16_t server = 7800;
    for (std::size_t n = 0; n < connections + live; ++n) {
        if (n < connections) {
            const std::uint64_t active = 2 * n + 0x1000, passive = active + 1;
            const auto port = static_cast<std::uint16_t>(20000 + n % 40000);
            open(active, kClose, kSynSent, 0, server, 0);
            open(passive, kListen, kSynRecv, server, port, 7);
            step(active, kSynSent, kEstablished, port);
            step(passive, kSynRecv, kEstablished, server);
            ++s.connections;
        }
        if (n < live) continue;
        const std::size_t ended = n - live;
        const std::uint64_t active = 2 * ended + 0x1000, passive = active + 1;
        const auto port = static_cast<std::uint16_t>(20000 + ended % 40000);
        const bool active_first = ended % 2 == 0;
        const std::uint64_t first = active_first ? active : passive, second = active_first ? passive : active;
        const std::uint16_t first_port = active_first ? port : server, second_port = active_first ? server : port;
        step(first, kEstablished, kFinWait1, first_port);
        step(second, kEstablished, kCloseWait, second_port);
        step(first, kFinWait1, kFinWait2, first_port);
        step(second, kCloseWait, kLastAck, second_port);
        close(first, kFinWait2, first_port);
        close(second, kLastAck, second_port);
    }
    return s;
}

}  // namespace bench
