// The tensors of a model folder: those that the model reads, those that are harmless, and all others, which are
// refused.
#pragma once

#include "model/model_config.hpp"

#include <subbit/distribute/shares.hpp>
#include <subbit/io/safetensors.hpp>

#include <string>
#include <vector>

namespace llama {

/// Of a tied model some programs store the matrix of both ends by the head's name alone: then the embedding has it.
void use_stored_embedding(model_config& config, const subbit::safetensors_reader& tensors);

/// Throws format_error naming the first tensor that the model does not read, unless it is harmless: a buffer that other
/// programs recompute, such as rotary_emb.inv_freq, masks and position ids.
void require_known_tensors(const model_config& config, const subbit::safetensors_reader& tensors);

/// The names of the tensors outside the blocks `changed`, and of buffers in these: a compressed or exported folder has
/// unchanged copies of them. A tied model's second copy of the embedding is not among them.
std::vector<std::string> carried_tensors(const model_config& config, const subbit::safetensors_reader& tensors,
                                         subbit::unit_range changed);

/// True for a buffer that other programs recompute.
bool is_harmless_buffer(const std::string& name);

}  // namespace llama
