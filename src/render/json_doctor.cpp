// SPDX-License-Identifier: Apache-2.0
// JSON of `doctor`: a line for each finding.
#include "render/json.h"
#include "render/json_fields.h"
#include "render/safe_text.h"

namespace tcptrail::render {
namespace {

void facts_object(Writer& to, const report::Facts& facts, const Clock& clock);

void fact(Writer& to, const report::Fact& fact, const Clock& clock) {
    key(to, fact.name);
    if (const auto* number = std::get_if<std::uint64_t>(&fact.value)) {
        to.Uint64(*number);
    } else if (const auto* real = std::get_if<double>(&fact.value)) {
        to.Double(*real);
    } else if (const auto* truth = std::get_if<bool>(&fact.value)) {
        to.Bool(*truth);
    } else if (const auto* text = std::get_if<std::string>(&fact.value)) {
        string(to, valid_utf8(*text));
    } else if (const auto* who = std::get_if<report::Who>(&fact.value)) {
        owner_object(to, who->process ? &*who->process : nullptr, who->evidence, clock);
    } else if (const auto* rows = std::get_if<std::vector<report::Facts>>(&fact.value)) {
        to.StartArray();
        for (const report::Facts& row : *rows) {
            facts_object(to, row, clock);
        }
        to.EndArray();
    }
}

void facts_object(Writer& to, const report::Facts& facts, const Clock& clock) {
    to.StartObject();
    for (const report::Fact& each : facts) {
        fact(to, each, clock);
    }
    to.EndObject();
}

}  // namespace

void Json::write_findings(std::string& out, const std::vector<report::Finding>& findings, const Context& context) {
    for (const report::Finding& finding : findings) {
        begin("finding");
        field(writer_, "id", finding.id);
        field(writer_, "severity", name(finding.severity));
        field(writer_, "title", valid_utf8(finding.title));
        key(writer_, "observed");
        facts_object(writer_, finding.observed, context.clock);
        field(writer_, "why", valid_utf8(finding.why));
        untrusted_field(writer_, "command", finding.command);
        field(writer_, "effect", valid_utf8(finding.effect));
        key(writer_, "will_not_help");
        writer_.StartArray();
        for (const std::string& each : finding.will_not_help) {
            string(writer_, each);
        }
        writer_.EndArray();
        finish(out);
    }
}

}  // namespace tcptrail::render
