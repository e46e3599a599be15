// SPDX-License-Identifier: Apache-2.0
#include "scene.h"

#include <iterator>

namespace tcptrail::live {

namespace {

void append(std::vector<Scene>& all, std::vector<Scene> more) {
    all.insert(all.end(), std::make_move_iterator(more.begin()), std::make_move_iterator(more.end()));
}

}  // namespace

const std::vector<Scene>& scenes() {
    static const std::vector<Scene> all = [] {
        std::vector<Scene> made;
        append(made, close_scenes());
        append(made, break_scenes());
        append(made, timeout_scenes());
        append(made, after_fin_scenes());
        return made;
    }();
    return all;
}

const std::vector<Scene>& owner_scenes() {
    static const std::vector<Scene> all = [] {
        std::vector<Scene> made;
        append(made, process_scenes());
        append(made, older_scenes());
        append(made, uring_scenes());
        append(made, hands_scenes());
        return made;
    }();
    return all;
}

}  // namespace tcptrail::live
