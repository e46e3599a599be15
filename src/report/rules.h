// SPDX-License-Identifier: Apache-2.0
// The doctor's rules as data: each judges the facts of one namespace and finds something or nothing. Pure.
#pragma once

#include <array>
#include <optional>
#include <span>
#include <string_view>
#include <vector>

#include "report/evidence.h"
#include "report/finding.h"

namespace tcptrail::report {

struct Rule {
    std::string_view id;
    std::optional<Finding> (*judge)(const NetnsEvidence&);
    std::array<std::string_view, 2> told_by = {};  // where one of these was found, this one would say it again
};

// By what they are about; each in a file of its name.
std::span<const Rule> rules_ports();
std::span<const Rule> rules_time_wait();
std::span<const Rule> rules_listen();
std::span<const Rule> rules_close();
std::span<const Rule> rules_peers();

/// Every rule, in the order in which findings of one severity are told.
std::vector<Rule> all_rules();

/// What the rules find in all namespaces, the most important first.
std::vector<Finding> diagnose(const std::vector<NetnsEvidence>& evidence);

}  // namespace tcptrail::report
