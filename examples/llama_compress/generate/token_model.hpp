// A model for generation, on the cpu or on a GPU.
#pragma once

#include <cstdint>
#include <span>

namespace llama {

class token_model {
  public:
    virtual ~token_model() = default;
    /// Appends `tokens` to those before, and returns the scores of the next token, which are valid until the next call.
    virtual std::span<const float> next_scores(std::span<const std::int32_t> tokens) = 0;
};

}  // namespace llama
