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
        return made;
    }();
    return all;
}

const std::vector<Scene>& owner_scenes() {
    static const std::vector<Scene> all;
    return all;
}

}  // namespace tcptrail::live
