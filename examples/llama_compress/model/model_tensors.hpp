// The tensors of a model folder: which the model reads, which are harmless, and which nobody can have meant.
#pragma once

#include "model/model_config.hpp"

#include <subbit/io/safetensors.hpp>

#include <string>
#include <vector>

namespace llama {

/// Throws format_error naming the first tensor that the model would not read and that is not harmless: a buffer that
/// other programs compute anew, such as rotary_emb.inv_freq, masks and position ids.
void require_known_tensors(const model_config& config, const subbit::safetensors_reader& tensors);

/// The names of the tensors that belong to no block, and those of buffers in blocks: what a compressed or exported
/// folder takes over as it is.
std::vector<std::string> carried_tensors(const model_config& config, const subbit::safetensors_reader& tensors);

/// True for a buffer that other programs compute anew.
bool is_harmless_buffer(const std::string& name);

}  // namespace llama
