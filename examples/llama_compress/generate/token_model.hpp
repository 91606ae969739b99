// What generation asks of a model, wherever it runs.
#pragma once

#include <cstdint>
#include <span>

namespace llama {

class token_model {
  public:
    virtual ~token_model() = default;
    /// The scores of the token after `tokens`, which come after all tokens before. They are good until the next call.
    virtual std::span<const float> next_scores(std::span<const std::int32_t> tokens) = 0;
};

}  // namespace llama
