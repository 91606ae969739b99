// Generation and perplexity on an NVIDIA GPU. Where the program was built without CUDA, each throws device_error and
// says so.
#pragma once

#include "generate/token_model.hpp"
#include "model/evaluation.hpp"

#include <memory>
#include <span>
#include <vector>

namespace llama {

/// A gpu_running_model on the first GPU; device_error where there is none, or it fails.
std::unique_ptr<token_model> running_model_on_cuda(const model_directory& directory, index capacity, row_format head);

/// perplexity<float>(), each rank of a machine on a GPU of its own, its products in TF32 where asked; device_error
/// likewise.
perplexity_result perplexity_on_cuda(const model_directory& directory,
                                     std::span<const std::vector<std::int32_t>> windows, subbit::progress& watcher,
                                     bool tf32, const model_rounding& rounding, const subbit::communicator& ranks);

}  // namespace llama
