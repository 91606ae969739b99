// A family of models: how its config.json is read, which is the only difference between families. Each family is one
// .cpp file in this folder that defines `const family NAME_family`, where NAME is that of the file; the build lists
// them (CMakeLists.txt).
#pragma once

#include "model/config_section.hpp"
#include "model/model_config.hpp"

#include <string_view>
#include <vector>

namespace llama {

struct family {
    std::vector<std::string_view> model_types;  ///< of config.json
    /// Reads everything from a config.json that parse_model_config() does not read for every family.
    void (*read)(const config_section& from, model_config& config);
};

/// Every family of the program.
const std::vector<const family*>& families();

}  // namespace llama
