// SPDX-License-Identifier: Apache-2.0
#include "collect/settings.h"

#include <algorithm>
#include <fstream>
#include <map>
#include <sstream>
#include <string>

#include "collect/sysctl_files.h"

namespace tcptrail::collect {
namespace {

// Keys as sysctl(8) names them. Those that this kernel lacks, or that are the host's alone, are left out.
constexpr const char* setting_names[] = {
    "net.core.somaxconn",
    "net.core.netdev_max_backlog",
    "net.ipv4.ip_local_port_range",
    "net.ipv4.ip_local_reserved_ports",
    "net.ipv4.tcp_abort_on_overflow",
    "net.ipv4.tcp_fin_timeout",
    "net.ipv4.tcp_keepalive_intvl",
    "net.ipv4.tcp_keepalive_probes",
    "net.ipv4.tcp_keepalive_time",
    "net.ipv4.tcp_max_orphans",
    "net.ipv4.tcp_max_syn_backlog",
    "net.ipv4.tcp_max_tw_buckets",
    "net.ipv4.tcp_migrate_req",
    "net.ipv4.tcp_orphan_retries",
    "net.ipv4.tcp_retries1",
    "net.ipv4.tcp_retries2",
    "net.ipv4.tcp_rfc1337",
    "net.ipv4.tcp_syn_retries",
    "net.ipv4.tcp_synack_retries",
    "net.ipv4.tcp_syncookies",
    "net.ipv4.tcp_timestamps",
    "net.ipv4.tcp_tw_reuse",
    "net.ipv4.tcp_tw_reuse_delay",
    "net.netfilter.nf_conntrack_max",
    "net.netfilter.nf_conntrack_tcp_timeout_established",
};

void add_line(std::string& text, const std::string& key, const std::string& value) {
    text += key;
    text += '=';
    text += value;
    text += '\n';
}

std::string read_settings() {
    std::string text;
    for (const std::string name : setting_names) {
        std::string path = name;
        std::replace(path.begin(), path.end(), '.', '/');
        std::ifstream file("/proc/sys/" + path);
        std::string value;
        if (!file || !std::getline(file, value))
            if (!file.eof()) continue;
        std::replace(value.begin(), value.end(), '\t', ' ');
        add_line(text, name, value);
    }
    return text;
}

/// sockstat's "TCP: inuse 5 orphan 0 tw 1 alloc 6 mem 0": keys become sockstat.TCP.inuse and so on.
void parse_sockstat(std::string& text, std::istream& file) {
    for (std::string line; std::getline(file, line);) {
        std::istringstream words(line);
        std::string name;
        words >> name;
        if (name != "TCP:" && name != "TCP6:") continue;
        name.pop_back();
        for (std::string key, value; words >> key >> value;) add_line(text, "sockstat." + name + "." + key, value);
    }
}

/// With the moment at which it was read: again where we were held up meanwhile, because the count belongs to that moment.
void read_sockstat(std::string& text) {
    constexpr std::uint64_t kHeldUp = 200'000;
    std::string lines;
    std::uint64_t read = 0;
    for (int left = 4; true; --left) {
        std::ifstream file("/proc/thread-self/net/sockstat");
        const std::uint64_t begin = monotonic_ns();
        lines.assign(std::istreambuf_iterator<char>(file), {});
        read = monotonic_ns();
        if (read - begin < kHeldUp || left == 0) break;
    }
    std::istringstream file(lines);
    parse_sockstat(text, file);
    add_line(text, "sockstat.read_ns", std::to_string(read));
}

/// Files where a line of names is followed by a line of values, each behind "Group:". Zeroes are told too.
void read_pairs(std::string& text, const char* path, const std::string& group) {
    std::ifstream file(path);
    for (std::string names, values; std::getline(file, names) && std::getline(file, values);) {
        if (names.rfind(group + ":", 0) != 0) continue;
        std::istringstream name_words(names);
        std::istringstream value_words(values);
        std::string name;
        std::string value;
        name_words >> name;
        value_words >> value;
        while (name_words >> name && value_words >> value) add_line(text, group + "." + name, value);
    }
}

/// The table of the connection tracker, where it is loaded: how full it is, and what it had no room for. Its file has a
/// line of hexadecimal numbers for each CPU.
void read_conntrack(std::string& text) {
    std::ifstream count("/proc/sys/net/netfilter/nf_conntrack_count");
    if (std::string value; std::getline(count, value)) add_line(text, "conntrack.count", value);
    std::ifstream file("/proc/thread-self/net/stat/nf_conntrack");
    std::string names;
    if (!std::getline(file, names)) return;
    std::map<std::string, std::uint64_t> sums;
    for (std::string line; std::getline(file, line);) {
        std::istringstream name_words(names);
        std::istringstream value_words(line);
        std::string name;
        for (std::uint64_t value = 0; name_words >> name && value_words >> std::hex >> value;) sums[name] += value;
    }
    for (const char* name : {"drop", "early_drop", "insert_failed"})
        add_line(text, std::string("conntrack.") + name, std::to_string(sums[name]));
}

/// thread-self and not /proc/net: that one is the main thread's, wherever this thread is.
std::string read_counters() {
    std::string text;
    read_sockstat(text);
    std::ifstream sockstat6("/proc/thread-self/net/sockstat6");
    parse_sockstat(text, sockstat6);
    read_pairs(text, "/proc/thread-self/net/snmp", "Tcp");
    read_pairs(text, "/proc/thread-self/net/netstat", "TcpExt");
    add_line(text, "netstat.read_ns", std::to_string(monotonic_ns()));
    read_conntrack(text);
    return text;
}

}  // namespace

void append_settings(RecordBuffer& out, const Namespace& place) {
    std::string settings = read_settings();
    if (!place.path().empty()) add_line(settings, "netns.path", place.path());
    if (place.own()) settings += read_sysctl_files();
    tt_netns record{};
    record.netns = place.inode();
    record.head = make_head(TT_NETNS);
    out.append_with_text(record, settings);
    const std::string counters = read_counters();
    record.head = make_head(TT_NETNS, TT_F_COUNTERS);
    out.append_with_text(record, counters);
}

}  // namespace tcptrail::collect
