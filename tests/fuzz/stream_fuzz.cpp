// SPDX-License-Identifier: Apache-2.0
// Any bytes are a record stream: through the tracker, a view and a renderer. The first byte chooses the view, JSON or
// text, and what is asked of it; then come records, whose sizes are mended so that each is sound as the reader's are.
#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <iterator>
#include <optional>
#include <vector>

#include "capture/layout.h"
#include "export/exporter.h"
#include "render/json.h"
#include "render/text.h"
#include "run.h"

using namespace tcptrail;

namespace {

/// The records in `bytes`, each in words of its own. Time moves a hundred seconds at most: a thousand intervals, each with its
/// report; else the slowest input would be the one with most of them.
void feed(Run& run, const std::uint8_t* bytes, std::size_t size) {
    std::uint64_t left = 100'000'000'000;  // ns
    std::optional<std::uint64_t> latest;
    std::vector<std::uint64_t> words;
    while (size >= sizeof(tt_head)) {
        auto head = capture::load<tt_head>(bytes);
        const std::size_t least = capture::least_bytes(head.type);
        std::size_t wanted = std::max<std::size_t>(head.size / 8 * 8, least);
        wanted = std::min(wanted, std::size_t{4096});
        words.assign(wanted / 8, 0);
        std::memcpy(words.data(), bytes, std::min(wanted, size));
        head.size = static_cast<tt_u16>(wanted);
        if (latest && head.time > *latest) {
            head.time = std::min(head.time, *latest + left);
            left -= head.time - *latest;
        }
        latest = std::max(latest.value_or(head.time), head.time);
        std::memcpy(words.data(), &head, sizeof head);
        run.take(*reinterpret_cast<const tt_head*>(words.data()));
        bytes += std::min(wanted, size);
        size -= std::min(wanted, size);
    }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    if (size < 1) {
        return 0;
    }
    const unsigned choice = data[0];
    const auto kinds = view_kinds();
    RunOptions options;
    if ((choice & 0x40) != 0) {
        options.interval = std::chrono::milliseconds(100);
    }
    if ((choice & 0x20) != 0) {
        options.from = Moment{Moment::Kind::after_start, 1'000'000};
        options.to = Moment{Moment::Kind::after_start, 500'000'000};
    }
    render::Json json;
    render::Text text(false);
    render::Renderer& renderer = (choice & 0x80) != 0 ? static_cast<render::Renderer&>(text) : json;
    render::Output output(-1);
    const std::unique_ptr<exporting::Exporter> exports[] = {exporting::make_csv(), exporting::make_perfetto()};
    const std::size_t number = (choice & 0x1f) % (kinds.size() + std::size(exports));
    MakeView make;
    if (number < kinds.size()) {
        make = [view = kinds[number].view](const view::Scope& scope) { return view::make_view(view, scope); };
    } else {
        make = exporting::views_for(*exports[number - kinds.size()]);
    }
    const std::function<bool()> flush = [&] {
        output.text().clear();
        return true;
    };
    Run run(options, make, renderer, output, flush);
    feed(run, data + 1, size - 1);
    (void)run.finish();
    return 0;
}
