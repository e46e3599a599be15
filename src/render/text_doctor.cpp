// SPDX-License-Identifier: Apache-2.0
// Text of `doctor`: each finding as a paragraph; what to type stands on a line of its own, to be copied whole.
#include <iterator>

#include <fmt/format.h>

#include "render/safe_text.h"
#include "render/text.h"
#include "render/text_fields.h"

namespace tcptrail::render {
namespace {

constexpr std::size_t indent = 10;
constexpr std::size_t rows_shown = 3;

std::string value_of(const report::Fact& fact);

std::string line_of(const report::Facts& facts) {
    std::string text;
    for (const report::Fact& fact : facts) {
        text += fmt::format("{}{} {}", text.empty() ? "" : ", ", fact.name, value_of(fact));
    }
    return text;
}

std::string value_of(const report::Fact& fact) {
    if (const auto* number = std::get_if<std::uint64_t>(&fact.value)) {
        return fmt::format("{}", *number);
    }
    if (const auto* real = std::get_if<double>(&fact.value)) {
        return fmt::format("{:g}", *real);
    }
    if (const auto* truth = std::get_if<bool>(&fact.value)) {
        return *truth ? "on" : "off";
    }
    if (const auto* text = std::get_if<std::string>(&fact.value)) {
        return *text;
    }
    if (const auto* who = std::get_if<report::Who>(&fact.value)) {
        return who->process ? fmt::format("{}/{}", who->process->comm, who->process->pid) : "not known";
    }
    std::string text;
    const auto& rows = std::get<std::vector<report::Facts>>(fact.value);
    for (std::size_t i = 0; i < rows.size() && i < rows_shown; ++i) {
        text += fmt::format("{}({})", text.empty() ? "" : " ", line_of(rows[i]));
    }
    return rows.size() > rows_shown ? fmt::format("{} and {} more", text, rows.size() - rows_shown)
           : rows.empty()           ? "none"
                                    : text;
}

/// `text` behind `label`, broken between words.
void paragraph(std::string& out, std::string_view label, std::string_view text) {
    std::string line = fmt::format("  {:<{}}", label, indent - 2);
    const std::string blank(indent, ' ');
    bool first = true;
    while (!text.empty()) {
        const std::size_t end = std::min(text.find(' '), text.size());
        const std::string_view word = text.substr(0, end);
        text.remove_prefix(std::min(end + 1, text.size()));
        if (!first && line.size() + 1 + word.size() > text_width) {
            out += line + "\n";
            line = blank;
            first = true;
        }
        line += first ? "" : " ";
        line += word;
        first = false;
    }
    out += line + "\n";
}

const char* colour_of(report::Severity severity) {
    switch (severity) {
        case report::Severity::high: return red;
        case report::Severity::medium: return yellow;
        case report::Severity::low: return nullptr;
    }
    return nullptr;
}

}  // namespace

void Text::write_findings(std::string& out, const std::vector<report::Finding>& findings, const Context&) {
    if (findings.empty()) {
        out += "no findings: nothing is wrong that tcptrail knows of\n\n";
        return;
    }
    bool sysctl = false;
    for (const report::Finding& finding : findings) {
        std::string title;
        paragraph(title, name(finding.severity), printable(finding.title));
        out += colour_ ? paint(title.substr(0, title.size() - 1), colour_of(finding.severity)) + "\n" : title;
        paragraph(out, "", fmt::format("{}", finding.id));
        paragraph(out, "seen", printable(line_of(finding.observed)));
        paragraph(out, "why", printable(finding.why));
        if (finding.command) {
            out += fmt::format("  {:<{}}{}\n", "type", indent - 2, paint(printable(*finding.command), bold));
            sysctl = sysctl || finding.command->find("sysctl -w") != std::string::npos;
        }
        paragraph(out, finding.command ? "effect" : "do", printable(finding.effect));
        for (std::size_t i = 0; i < finding.will_not_help.size(); ++i) {
            paragraph(out, i == 0 ? "not" : "", finding.will_not_help[i]);
        }
        out += "\n";
    }
    if (sysctl) {
        out +=
            "sysctl -w lasts until the next boot; a file in /etc/sysctl.d keeps it. tcptrail itself changes nothing.\n";
    }
}

}  // namespace tcptrail::render
