// Windows that the original model writes itself, to distill on.
#pragma once

#include "compress/compress.hpp"

namespace llama {

/// The tokens of a window that are not the model's own: the first ones of a calibration window.
inline constexpr index given_tokens = 8;

/// The windows that the options ask for: sampled at temperature 1, on the processor, each from the first tokens of a
/// calibration window, in turn. The same seed gives the same windows.
window_list sample_windows(const compress_job& job, const model_directory& model,
                           std::span<const std::vector<std::int32_t>> calibration, subbit::progress& watcher);

}  // namespace llama
