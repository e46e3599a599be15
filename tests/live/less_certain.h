// SPDX-License-Identifier: Apache-2.0
// For runs in which a hook is missing: an answer may be less certain than the truth, and must say so; it may not be wrong.
#pragma once

#include <vector>

#include "compare.h"

namespace tcptrail::live {

/// Fills in the truth where a row of `trace` or `life` openly does not know it: an owner by a weaker evidence, nobody for
/// the actor or the closer, an unknown reason, a null. What is claimed stays as it is, so that a comparison afterwards
/// finds what is wrong. Connections with a gap that the output counts leave `truth` and `rows`.
void forgive_ignorance(Truth& truth, std::vector<Json>& rows);

}  // namespace tcptrail::live
