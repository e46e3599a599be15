// SPDX-License-Identifier: Apache-2.0
#include "report/snapshot.h"

#include <utility>

#include <tcptrail/record_text.h>

namespace tcptrail::report {

void read_facts(const tt_netns& record, NetnsFacts& facts) {
    const bool counters = (record.head.flags & TT_F_COUNTERS) != 0;
    if (counters) {
        facts.time = record.head.time;
    }
    for_each_setting(text_after(record), [&](std::string_view key, std::string_view value) {
        if (!counters) {
            facts.settings[std::string(key)] = value;
        } else if (const auto number = number_in(value)) {
            facts.counters[std::string(key)] = *number;
        }
    });
}

bool SnapshotGatherer::take(const tt_head& record) {
    switch (record.type) {
        case TT_SNAPSHOT: {
            if (record.size < sizeof(tt_snapshot)) {
                return false;
            }
            const auto& mark = reinterpret_cast<const tt_snapshot&>(record);
            if (!open_) {
                gathering_ = {};
                gathering_.began = record.time;
                open_ = true;
            }
            gathering_.what |= mark.what;
            if ((mark.what & TT_SNAP_MARK) == 0 || (record.flags & TT_F_END) == 0) {
                return false;
            }
            gathering_.ended = record.time;
            latest_ = std::exchange(gathering_, {});
            open_ = false;
            have_ = true;
            return true;
        }
        case TT_SOCKET:
            if (open_ && record.size >= sizeof(tt_socket)) {
                gathering_.sockets.push_back(reinterpret_cast<const tt_socket&>(record));
            }
            return false;
        case TT_HOLDER:
            if (open_ && record.size >= sizeof(tt_holder)) {
                const auto& holder = reinterpret_cast<const tt_holder&>(record);
                gathering_.holders[holder.cookie].push_back({table_.process_of(holder.process.id), holder.fd});
            }
            return false;
        case TT_NETNS:
            if (open_ && record.size >= sizeof(tt_netns)) {
                const auto& facts = reinterpret_cast<const tt_netns&>(record);
                read_facts(facts, gathering_.namespaces[facts.netns]);
            }
            return false;
        default: return false;
    }
}

}  // namespace tcptrail::report
