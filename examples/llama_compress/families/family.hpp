// A family of models: how its config.json is read, which is all that tells it from the others. Each family is one .cpp
// file here that defines `const family NAME_family`, NAME being the file's; the build lists them (CMakeLists.txt).
#pragma once

#include "model/config_section.hpp"
#include "model/model_config.hpp"

#include <string_view>
#include <vector>

namespace llama {

struct family {
    std::vector<std::string_view> model_types;  ///< of config.json
    /// Reads everything from a config.json but what parse_model_config() does for every family.
    void (*read)(const config_section& from, model_config& config);
};

/// Every family of the program.
const std::vector<const family*>& families();

}  // namespace llama
