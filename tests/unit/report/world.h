// SPDX-License-Identifier: Apache-2.0
// Literal worlds for reports on what stands: snapshots, and the events between them, written as records.
//     World world;
//     world.snapshot().listener(1, A, {.ack_backlog = 3}).holder(1, kServer, 5).ends();
#pragma once

#include <cstring>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include <tcptrail/rows.h>
#include <tcptrail/wire.h>

#include "report/snapshot.h"
#include "track/table.h"
#include "trail.h"

namespace tcptrail::test {

inline constexpr std::uint16_t kInet = 2;
inline constexpr std::uint64_t kEpoch = 1'000'000'000;  // ns: when the run starts

class World {
public:
    explicit World(std::string_view start_text = "hook.accept=fentry\n") {
        tt_start start{};
        with_text(start, TT_START, 0, start_text);
    }

    /// Hears each record after the table.
    std::function<void(const tt_head&)> on_record;

    World& wait(Gap gap) {
        now += static_cast<std::uint64_t>(gap.count());
        return *this;
    }

    // A snapshot, of one namespace.
    World& snapshot(std::uint32_t what = TT_SNAP_REPORT) {
        what_ = what;
        return mark(what | TT_SNAP_SOCKETS, 0);
    }
    /// `facts` is sent as it is, with the ends, the state and the cookie filled in.
    World& socket(std::uint64_t cookie, State state, End local, End remote = {}, tt_socket facts = {}) {
        facts.head.type = TT_SOCKET;
        facts.head.size = sizeof(facts);
        facts.head.new_state = static_cast<std::uint8_t>(state);
        facts.head.lport = local.port;
        facts.head.time = now;
        facts.cookie = cookie;
        facts.netns = kNetns;
        facts.family = kInet;
        facts.rport = remote.port;
        put(facts.laddr, local);
        put(facts.raddr, remote);
        send(facts.head);
        return *this;
    }
    /// 0.0.0.0 if `local.host` is 0.
    World& listener(std::uint64_t cookie, End local, tt_socket facts = {}) {
        return socket(cookie, State::listen, local, {}, facts);
    }
    /// A descriptor of `cookie`; after all sockets.
    World& holder(std::uint64_t cookie, const Actor& actor, std::uint32_t fd = 3) {
        tt_holder record{};
        fill(record.process, actor);
        record.process.head.type = TT_HOLDER;
        record.process.head.size = sizeof(record);
        record.cookie = cookie;
        record.fd = fd;
        send(record.process.head);
        return *this;
    }
    /// Settings ("net.core.somaxconn=128\n") or counters ("TcpExt.ListenDrops=8\n") of the namespace.
    World& settings(std::string_view lines) { return facts(lines, 0); }
    World& counters(std::string_view lines) { return facts(lines, TT_F_COUNTERS); }
    World& ends() { return mark(what_ | TT_SNAP_MARK, TT_F_END); }

    // Events.
    World& process(const Actor& actor) {
        tt_process record{};
        fill(record, actor);
        record.head.type = TT_PROCESS;
        record.head.size = sizeof(record);
        send(record.head);
        return *this;
    }
    /// A passive connection's birth: its two transitions.
    World& child(std::uint64_t cookie, std::uint64_t listener, End local, End remote) {
        return born(cookie, listener, local, remote).step(cookie, State::syn_recv, State::established);
    }
    /// The first of the two.
    World& born(std::uint64_t cookie, std::uint64_t listener, End local, End remote) {
        tt_open open{};
        open.step.head.type = TT_OPEN;
        open.step.head.size = sizeof(open);
        open.step.head.old_state = static_cast<std::uint8_t>(State::listen);
        open.step.head.new_state = static_cast<std::uint8_t>(State::syn_recv);
        open.step.head.lport = local.port;
        open.step.head.time = now;
        open.step.cookie = cookie;
        open.netns = kNetns;
        open.family = kInet;
        open.rport = remote.port;
        put(open.laddr, local);
        put(open.raddr, remote);
        open.listener = listener;
        send(open.step.head);
        return *this;
    }
    World& step(std::uint64_t cookie, State from, State to, unsigned flags = 0, const Actor* actor = nullptr) {
        tt_step record{};
        record.head.flags = static_cast<std::uint8_t>(flags);
        record.head.old_state = static_cast<std::uint8_t>(from);
        record.head.new_state = static_cast<std::uint8_t>(to);
        return step_record(record, TT_STEP, cookie, actor);
    }
    World& destroyed(std::uint64_t cookie) { return step_record({}, TT_DESTROY, cookie, nullptr); }
    World& accept(std::uint64_t cookie, const Actor& actor) { return step_record({}, TT_ACCEPT, cookie, &actor); }
    World& close(std::uint64_t cookie, State from, unsigned flags = 0, const Actor* actor = nullptr) {
        tt_close record{};
        record.step.head.type = TT_CLOSE;
        record.step.head.size = sizeof(record);
        record.step.head.flags = static_cast<std::uint8_t>(flags);
        record.step.head.old_state = static_cast<std::uint8_t>(from);
        record.step.head.new_state = static_cast<std::uint8_t>(State::close);
        record.step.head.time = now;
        record.step.cookie = cookie;
        record.step.actor = actor != nullptr ? actor->id : 0;
        record.netns = kNetns;
        send(record.step.head);
        return *this;
    }

private:
    TrackObserver nobody_;

public:
    MonoNs now = kEpoch;
    ConnectionTable table{nobody_};
    report::SnapshotGatherer gatherer{table};

private:
    static void put(tt_u8 (&to)[16], End end) {
        if (end.host != 0) {
            to[0] = 10;
            to[3] = end.host;
        }
    }

    void fill(tt_process& record, const Actor& actor) const {
        record.head.time = now;
        record.id = actor.id;
        record.start_ns = actor.start_ns;
        record.tgid = actor.pid;
        record.netns = kNetns;
        std::strncpy(record.comm, actor.comm, sizeof(record.comm) - 1);
        std::strncpy(record.thread, actor.comm, sizeof(record.thread) - 1);
    }

    World& step_record(tt_step record, tt_type type, std::uint64_t cookie, const Actor* actor) {
        record.head.type = type;
        record.head.size = sizeof(record);
        record.head.time = now;
        record.cookie = cookie;
        record.actor = actor != nullptr ? actor->id : 0;
        send(record.head);
        return *this;
    }

    World& mark(std::uint32_t what, unsigned flags) {
        tt_snapshot record{};
        record.head.type = TT_SNAPSHOT;
        record.head.size = sizeof(record);
        record.head.flags = static_cast<std::uint8_t>(flags);
        record.head.time = now;
        record.what = what;
        record.netns = kNetns;
        send(record.head);
        return *this;
    }

    World& facts(std::string_view lines, unsigned flags) {
        tt_netns record{};
        record.netns = kNetns;
        with_text(record, TT_NETNS, flags, lines);
        return *this;
    }

    template <typename Record>
    void with_text(Record& record, tt_type type, unsigned flags, std::string_view text) {
        const std::size_t words = (sizeof(Record) + text.size() + 7) / 8;
        std::vector<std::uint64_t> room(words);
        record.head.type = type;
        record.head.flags = static_cast<std::uint8_t>(flags);
        record.head.size = static_cast<std::uint16_t>(words * 8);
        record.head.time = now;
        auto* bytes = reinterpret_cast<char*>(room.data());
        std::memcpy(bytes, &record, sizeof(Record));
        std::memcpy(bytes + sizeof(Record), text.data(), text.size());
        send(*reinterpret_cast<const tt_head*>(room.data()));
    }

    void send(const tt_head& record) {
        table.apply(record);
        gatherer.take(record);
        if (on_record) {
            on_record(record);
        }
    }

    std::uint32_t what_ = 0;
};

}  // namespace tcptrail::test
