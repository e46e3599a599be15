// SPDX-License-Identifier: Apache-2.0
#include "flood.h"

#include <arpa/inet.h>
#include <netinet/ip.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

#include <algorithm>
#include <cstring>

#include "harness.h"
#include "sockets.h"
#include "suites.h"

namespace tcptrail::live {

namespace {

struct Packet {
    iphdr ip;
    tcphdr tcp;
};

std::uint32_t sum_of(const void* data, std::size_t bytes) {
    std::uint32_t sum = 0;
    for (std::size_t i = 0; i + 1 < bytes; i += 2) {
        std::uint16_t word = 0;
        std::memcpy(&word, static_cast<const char*>(data) + i, 2);
        sum += word;
    }
    return sum;
}

std::uint16_t folded(std::uint32_t sum) {
    while (sum >> 16 != 0) {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    return static_cast<std::uint16_t>(~sum);
}

Packet syn(std::uint16_t port, std::uint32_t number) {
    Packet packet{};
    packet.ip.version = 4;
    packet.ip.ihl = 5;
    packet.ip.ttl = 64;
    packet.ip.protocol = IPPROTO_TCP;
    packet.ip.tot_len = htons(sizeof(packet));
    packet.ip.daddr = htonl(INADDR_LOOPBACK);
    packet.ip.saddr = number % 4 == 0 ? inet_addr(kLoudSource) : htonl((10U << 24) + (99U << 16) + 1 + number % 65000);
    packet.tcp.source = htons(static_cast<std::uint16_t>(1024 + number % 60000));
    packet.tcp.dest = htons(port);
    packet.tcp.seq = htonl(number * 64000);
    packet.tcp.doff = 5;
    packet.tcp.syn = 1;
    packet.tcp.window = htons(65535);
    const std::uint16_t length = htons(sizeof(packet.tcp));
    packet.tcp.check =
        folded(sum_of(&packet.ip.saddr, 8) + htons(IPPROTO_TCP) + length + sum_of(&packet.tcp, sizeof(packet.tcp)));
    return packet;
}

}  // namespace

void flood_with_syns(const Flood& flood) {
    const Fd raw(socket(AF_INET, SOCK_RAW | SOCK_CLOEXEC, IPPROTO_RAW));
    sockaddr_in to{};
    to.sin_family = AF_INET;
    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    const std::int64_t began = wall_clock_ns();
    std::int64_t sent = 0;
    for (std::int64_t passed = 0; passed < std::int64_t{flood.ms} * 1'000'000; passed = wall_clock_ns() - began) {
        const std::int64_t due = passed * flood.per_s / 1'000'000'000;
        for (; sent < due; ++sent) {
            const Packet packet = syn(flood.port, static_cast<std::uint32_t>(sent));
            if (sendto(raw.get(), &packet, sizeof(packet), 0, reinterpret_cast<const sockaddr*>(&to), sizeof(to)) < 0) {
                raise("send a SYN");
            }
        }
        sleep_ms(1);
    }
}

}  // namespace tcptrail::live
