// The directory of the demo model that comes with the program.
#pragma once

#include <filesystem>

namespace llama {

/// The directory with the demo model, its texts and grammar.json: the environment variable LLAMA_COMPRESS_DEMO_MODEL,
/// else the source tree that the program was built from, else the installed copy beside the program. io_error if
/// there is none.
std::filesystem::path demo_model_directory();

}  // namespace llama
