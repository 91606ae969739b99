// One pass over a model's tensors before a long job: every number is finite and of a size that the job's types hold.
#pragma once

#include "model/model_config.hpp"

#include <subbit/io/safetensors.hpp>

namespace llama {

/// Throws value_error naming the first tensor with a number that is not finite or too large: a linear layer's weights
/// and biases may reach the largest 16-bit float, since scales may be stored as such; those of norms, embedding and
/// head 10^18, since a norm adds up squares as float32. The tensors of a dense model are read once, and given back to
/// the system.
void require_usable_values(const model_config& config, const subbit::safetensors_reader& tensors);

}  // namespace llama
