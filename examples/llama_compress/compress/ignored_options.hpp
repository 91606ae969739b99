// Options that have no effect beside the others.
#pragma once

#include "compress/options.hpp"

#include <set>
#include <string>
#include <vector>

namespace llama {

/// A sentence for each of the `given` options (names without dashes) that has no effect beside the others.
std::vector<std::string> ignored_options(const compress_options& options, const std::set<std::string>& given);

}  // namespace llama
