// A model that continues a text, token by token.
#pragma once

#include "generate/token_model.hpp"
#include "model/model_directory.hpp"

#include <algorithm>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

namespace llama {

/// A whole model in memory but for an embedding that is not also the head, and the keys and values of the tokens that
/// it has seen. Its buffers are kept from token to token. Refers to the directory.
template <class B>
class running_model : public token_model {
  public:
    /// Room for `capacity` tokens.
    running_model(const B& backend, const model_directory& directory, index capacity,
                  const model_rounding& rounding = {})
        : backend_(backend),
          config_(directory.config()),
          context_(config_, capacity, for_prompts(rounding.packed)),
          directory_(directory),
          head_format_(rounding.head),
          head_(directory.load_head(backend, rounding.head)),
          final_norm_(directory.load_final_norm<float>()) {
        constexpr index ahead = 4;  // blocks on their way from the disk, so that it seldom waits for the processor
        for (index l = 0; l < ahead; ++l)
            directory.prefetch(l);
        for (index l = 0; l < config_.num_hidden_layers; ++l) {
            directory.prefetch(l + ahead);
            blocks_.push_back(directory.load_block(backend, l, context_, signs_));
            caches_.emplace_back(capacity, config_.num_key_value_heads, config_.head_dim,
                                 config_.block(l).attention.span, rounding.cache);
            directory.tensors().release();
        }
        scores_.resize(static_cast<std::size_t>(config_.vocab_size));
        last_.resize(1, config_.hidden_size);
    }

    /// The scores of the token after `tokens`, which come after all tokens before; value_error for an id outside the
    /// vocabulary, shape_error where the room is used up.
    std::span<const float> next_scores(std::span<const std::int32_t> tokens) override {
        constexpr auto most = static_cast<std::size_t>(key_value_cache<float>::most_piece);
        for (; tokens.size() > most; tokens = tokens.subspan(most))
            append(tokens.first(most));
        append(tokens);
        rms_norm(backend_, const_view(X_).middle_rows(X_.rows() - 1, 1), subbit::const_span(final_norm_), config_.norm,
                 view(last_), inverse_rms_);
        head_.multiply(backend_, {last_.data(), static_cast<std::size_t>(last_.size())}, scores_);
        return scores_;
    }

  private:
    /// Nobody compares a prompt's sums with those of its tokens one by one.
    static subbit::apply_options for_prompts(subbit::apply_options packed) {
        using subbit::packed_precision;
        if (packed.precision == packed_precision::exact) packed.precision = packed_precision::reordered;
        return packed;
    }

    /// Leaves the tokens' last hidden states in X_.
    void append(std::span<const std::int32_t> tokens) {
        X_.resize(std::ssize(tokens), config_.hidden_size);
        Y_.resize(X_.rows(), X_.cols());
        for (index t = 0; t < X_.rows(); ++t)
            embed(tokens[static_cast<std::size_t>(t)], {&X_(t, 0), static_cast<std::size_t>(X_.cols())});
        if (!config_.tie_word_embeddings) directory_.tensors().release();
        for (std::size_t l = 0; l < blocks_.size(); ++l) {
            blocks_[l].infer_cached(backend_, const_view(X_), caches_[l], view(Y_), tape_);
            X_.swap(Y_);
        }
    }

    /// A head of its own leaves no use for a table of the embedding: a token's row comes from the file.
    void embed(std::int32_t token, std::span<float> x) const {
        if (config_.tie_word_embeddings)
            head_.read_embedding(token, config_.embedding_scale, x);
        else
            directory_.read_embedding(token, head_format_, x);
    }

    const B& backend_;
    const model_config& config_;
    block_context<float> context_;
    const model_directory& directory_;
    row_format head_format_;
    row_table head_;
    vector<float> final_norm_;
    subbit::streaming_arena signs_;  // of all blocks, in the order of a pass
    std::vector<block<float>> blocks_;
    std::vector<key_value_cache<float>> caches_;
    block_tape<float> tape_;
    matrix<float> X_, Y_, last_;  // (tokens, d), (tokens, d), (1, d)
    std::vector<float> scores_;
    vector<float> inverse_rms_;
};

extern template class running_model<subbit::cpu>;  // in running_model.cpp

}  // namespace llama
