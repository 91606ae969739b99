// Many texts continued at once by one model: each step reads the weights once for all of them.
#pragma once

#include "model/evaluation.hpp"
#include "sample/sampling.hpp"

#include <subbit/core/progress.hpp>
#include <subbit/core/random.hpp>

#include <algorithm>
#include <limits>
#include <set>
#include <span>
#include <utility>
#include <vector>

namespace llama {

/// Ids that are never chosen: those that are no token of the vocabulary, and those that end a text.
inline std::vector<std::size_t> ids_not_to_sample(const model_directory& model, const tokenizer& words) {
    std::set<std::int32_t> without = model.end_tokens(words);
    for (std::int32_t id = 0; id < model.config().vocab_size; ++id)
        if (!words.is_token(id)) without.insert(id);
    return {without.begin(), without.end()};
}

/// Bytes of the keys and values of a text of `length` tokens, in all blocks.
inline index cache_bytes(const model_config& config, index length) {
    index bytes = 0;
    for (index l = 0; l < config.num_hidden_layers; ++l)
        bytes += key_value_cache<float>::bytes(length, config.key_width(), config.block(l).attention.span);
    return bytes;
}

/// Texts of `length` tokens that are continued at once: 16 to 128, as many as have their keys and values in 2 GiB. The
/// more they are, the more seldom the weights are read.
inline std::size_t texts_at_once(const model_config& config, index length) {
    constexpr index bytes_of_all = index{1} << 31;
    return static_cast<std::size_t>(std::clamp<index>(bytes_of_all / cache_bytes(config, length), 16, 128));
}

template <subbit::host_backend B>
class batch_sampler {
  public:
    /// Texts of `length` tokens. Reads the whole model.
    batch_sampler(const B& b, const model_directory& model, index length, std::vector<std::size_t> without)
        : b_(b),
          config_(model.config()),
          length_(length),
          without_(std::move(without)),
          context_(config_, length),
          outer_(model.load_outer_layers<float>()) {
        for (index l = 0; l < config_.num_hidden_layers; ++l) {
            model.prefetch(l + 1);
            blocks_.push_back(model.load_block<B, float>(b, l, context_));
            model.tensors().release();
        }
    }

    batch_sampler(const batch_sampler&) = delete;
    batch_sampler& operator=(const batch_sampler&) = delete;

    /// Continues every text, of one token or more, to its full length. The same seed gives the same texts, whatever
    /// their number; value_error if the model's scores are not finite.
    window_list run(window_list texts, const sampling_options& options, std::uint64_t seed,
                    subbit::progress& watcher = subbit::unwatched()) {
        for (auto& text : texts)
            text.resize(std::min(text.size(), static_cast<std::size_t>(length_)));
        std::size_t done = 0;
        const std::size_t at_once = texts_at_once(config_, length_);
        const std::size_t groups = (texts.size() + at_once - 1) / at_once;
        for (std::size_t first = 0; first < texts.size(); first += at_once) {
            const auto group = std::span(texts).subspan(first, std::min(at_once, texts.size() - first));
            begin(group.size());
            choices_.clear();
            for (std::size_t i = 0; i < group.size(); ++i)
                choices_.emplace_back(options, subbit::random_stream(seed, first + i));
            for (index t = 0; t + 1 < length_; ++t) {
                step(group, t);
                choose(group, t);
                report_step(watcher, "sample", ++done, groups * static_cast<std::size_t>(length_ - 1), -1);
            }
        }
        return texts;
    }

  private:
    /// Empty caches for so many texts.
    void begin(std::size_t count) {
        caches_.clear();
        for (index l = 0; l < config_.num_hidden_layers; ++l)
            caches_.emplace_back(count, key_value_cache<float>(length_, config_.num_key_value_heads, config_.head_dim,
                                                               config_.block(l).attention.span));
        X_.resize(static_cast<index>(count), config_.hidden_size);
        Y_.resize(X_.rows(), X_.cols());
    }

    /// X_ = the last hidden states of every text's token t.
    void step(std::span<const std::vector<std::int32_t>> group, index t) {
        std::vector<std::int32_t> tokens;
        for (const auto& text : group)
            tokens.push_back(text[static_cast<std::size_t>(t)]);
        outer_.embed(b_, tokens, view(X_));
        for (std::size_t l = 0; l < blocks_.size(); ++l) {
            blocks_[l].infer_cached(b_, const_view(X_), std::span(caches_[l]), view(Y_), tape_);
            X_.swap(Y_);
        }
    }

    /// Appends token t + 1 to the texts that do not have it yet.
    void choose(std::span<std::vector<std::int32_t>> group, index t) {
        const auto ends_here = [&](const auto& text) { return std::ssize(text) == t + 1; };
        if (std::ranges::none_of(group, ends_here)) return;
        rms_norm(b_, const_view(X_), subbit::const_span(outer_.final_norm), config_.norm, view(Y_), inverse_rms_);
        scores_.resize(X_.rows(), config_.vocab_size);
        gemm(b_, const_view(Y_), const_view(outer_.head()).t(), view(scores_));
        b_.parallel_for(std::ssize(group), 1, [&](index begin, index end) {
            for (index i = begin; i < end; ++i) {
                auto& text = group[static_cast<std::size_t>(i)];
                const std::span<float> scores(&scores_(i, 0), static_cast<std::size_t>(scores_.cols()));
                if (!ends_here(text)) continue;
                if (!all_finite(scores))
                    throw subbit::value_error("sample: the logits of the next token are not finite");
                for (const std::size_t id : without_)
                    scores[id] = -std::numeric_limits<float>::infinity();
                text.push_back(choices_[static_cast<std::size_t>(i)].pick(scores, static_cast<std::uint64_t>(t)));
            }
        });
    }

    const B& b_;
    const model_config& config_;
    index length_;
    std::vector<std::size_t> without_;
    block_context<float> context_;
    outer_layers<float> outer_;
    std::vector<block<float>> blocks_;
    std::vector<std::vector<key_value_cache<float>>> caches_;  // of every block and text
    std::vector<sampler> choices_;                             // of every text
    block_tape<float> tape_;
    matrix<float> X_, Y_, scores_;  // (texts, d), (texts, d), (texts, vocabulary)
    vector<float> inverse_rms_;
};

extern template class batch_sampler<subbit::cpu>;  // in batch_sampler.cpp

}  // namespace llama
