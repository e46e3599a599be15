// SPDX-License-Identifier: Apache-2.0
// Words and commands that the rules share. For report/rules*.cpp alone, and their tests.
#pragma once

#include <cstdint>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "report/evidence.h"
#include "report/finding.h"

namespace tcptrail::report {

/// The namespace in which tcptrail ran: commands for it need no nsenter.
bool is_own(const NetnsEvidence& evidence);
/// "sysctl -w NAME=VALUE…", for this namespace; nullopt where nobody can enter it.
std::optional<std::string> sysctl_command(const NetnsEvidence& evidence,
                                          const std::vector<std::pair<std::string_view, std::string>>& settings);
/// The value of ip_local_reserved_ports with these ports added.
std::string reserved_with(const NetnsEvidence& evidence, const std::set<std::uint16_t>& ports);
/// "nginx (pid 12)"; "a process that is not known".
std::string words(const Who& who);
/// "10.0.0.1:80" of where a group's connections went.
std::string target(const EndedGroup& group);
/// Two decimals.
double rounded(double value);
/// "1 connection", "2 connections".
std::string counted(std::uint64_t count, std::string_view one);
/// Ports from which connect() may choose here.
std::uint64_t capacity(const NetnsEvidence& evidence);
/// tcp_tw_reuse lets connect() take TIME_WAIT ports towards this address.
bool reuses_time_wait(const NetnsEvidence& evidence, const Address& raddr, Family family);
/// A sysctl's value; `otherwise` where the stream does not tell.
std::int64_t setting(const NetnsEvidence& evidence, const std::string& name, std::int64_t otherwise);

}  // namespace tcptrail::report
