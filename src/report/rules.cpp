// SPDX-License-Identifier: Apache-2.0
#include "report/rules.h"

#include <algorithm>
#include <set>
#include <utility>

#include "report/rule_words.h"

namespace tcptrail::report {

std::string_view name(Severity severity) {
    switch (severity) {
        case Severity::high: return "high";
        case Severity::medium: return "medium";
        case Severity::low: return "low";
    }
    return "";
}

std::vector<Rule> all_rules() {
    std::vector<Rule> all;
    for (const auto rules : {rules_ports(), rules_listen(), rules_peers(), rules_close(), rules_time_wait()}) {
        all.insert(all.end(), rules.begin(), rules.end());
    }
    return all;
}

std::vector<Finding> diagnose(const std::vector<NetnsEvidence>& evidence) {
    std::vector<Finding> findings;
    std::set<std::pair<std::uint32_t, std::string_view>> told;
    static const std::vector<Rule> rules = all_rules();
    for (const Rule& rule : rules) {
        for (const NetnsEvidence& netns : evidence) {
            if (std::any_of(rule.told_by.begin(), rule.told_by.end(), [&](std::string_view other) {
                    return told.contains({netns.netns, other});
                })) {
                continue;
            }
            if (auto finding = rule.judge(netns)) {
                told.emplace(netns.netns, rule.id);
                finding->id = rule.id;
                Facts observed{{"netns", std::uint64_t{netns.netns}}, {"window_s", rounded(netns.window_s())}};
                observed.insert(observed.end(), finding->observed.begin(), finding->observed.end());
                finding->observed = std::move(observed);
                if (!is_own(netns)) {
                    finding->title += " (network namespace " + std::to_string(netns.netns) + ")";
                }
                findings.push_back(std::move(*finding));
            }
        }
    }
    std::stable_sort(findings.begin(), findings.end(),
                     [](const Finding& a, const Finding& b) { return a.severity < b.severity; });
    return findings;
}

}  // namespace tcptrail::report
