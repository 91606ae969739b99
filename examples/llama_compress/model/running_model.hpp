// A model that continues a text, token by token.
#pragma once

#include "model_directory.hpp"

#include <cstdint>
#include <span>
#include <utility>
#include <vector>

namespace llama {

/// A whole model in memory, and the keys and values of the tokens that it has seen.
template <class B>
class running_model {
  public:
    running_model(const B& backend, const model_directory& directory, index capacity)
        : backend_(backend),
          config_(directory.config()),
          context_(config_, capacity),
          outer_(directory.load_outer_layers<float>()) {
        for (index l = 0; l < config_.num_hidden_layers; ++l) {
            blocks_.push_back(directory.load_block<float>(l, context_));
            const index width = config_.num_key_value_heads * config_.head_dim;
            caches_.push_back({matrix<float>(capacity, width), matrix<float>(capacity, width), 0});
        }
    }

    /// The scores of the token after `tokens`, which come after all tokens before.
    std::span<const float> next_scores(std::span<const std::int32_t> tokens) {
        const index count = std::ssize(tokens), d = config_.hidden_size;
        X_.resize(count, d);
        Y_.resize(count, d);
        outer_.embed(tokens, subbit::view(X_));
        for (std::size_t l = 0; l < blocks_.size(); ++l) {
            blocks_[l].forward_cached(backend_, const_view(X_), caches_[l], subbit::view(Y_), tape_);
            X_.swap(Y_);
        }
        last_.resize(1, d);
        rms_norm(backend_, const_view(X_).middle_rows(count - 1, 1), subbit::span_of(std::as_const(outer_.final_norm)),
                 config_.rms_norm_eps, subbit::view(last_), inverse_rms_);
        scores_.resize(1, outer_.head().rows());
        subbit::multiply_rows(backend_, const_view(last_), const_view(outer_.head()), subbit::view(scores_));
        return {scores_.data(), static_cast<std::size_t>(scores_.size())};
    }

  private:
    const B& backend_;
    const model_config& config_;
    block_context<float> context_;
    outer_layers<float> outer_;
    std::vector<block<float>> blocks_;
    std::vector<key_value_cache<float>> caches_;
    block_tape<float> tape_;
    matrix<float> X_, Y_, last_, scores_;
    std::vector<float> inverse_rms_;
};

}  // namespace llama
