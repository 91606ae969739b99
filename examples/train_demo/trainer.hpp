// Trains a small Llama from random weights, with the blocks and the optimizer that compression uses.
#pragma once

#include <model/model_directory.hpp>
#include <subbit/backend/cpu.hpp>
#include <subbit/recon/tuning.hpp>

#include <cstdint>
#include <filesystem>
#include <span>
#include <vector>

namespace train_demo {

using subbit::index;
using subbit::matrix;
using subbit::vector;

struct training_options {
    index steps = 2000;
    index batch = 8;     ///< windows per step
    index window = 128;  ///< tokens
    double rate = 3e-3;  ///< peak learning rate of AdamW
    index warmup = 100;  ///< steps
    std::uint64_t seed = 0;
};

/// A Llama with tied embeddings and no biases, its gradients, and its optimizer.
class trainer {
  public:
    /// Random weights for `config`, which must outlive the trainer.
    trainer(const llama::model_config& config, const training_options& options, int threads);
    trainer(const trainer&) = delete;
    trainer& operator=(const trainer&) = delete;

    /// One step on options.batch windows of options.window tokens, stacked; returns the mean next-token cross entropy
    /// in nats, before the step.
    double step(std::span<const std::int32_t> tokens);

    /// Writes model.safetensors in BF16.
    void save(const std::filesystem::path& path) const;

  private:
    void make_weights();
    std::vector<subbit::parameter<float>> parameters();
    double backward_from_loss(std::span<const std::int32_t> tokens);

    const llama::model_config& config_;
    training_options options_;
    subbit::cpu backend_;
    llama::block_context<float> context_;
    std::vector<llama::block<float>> blocks_;
    std::vector<llama::block_tape<float>> tapes_;
    llama::outer_layers<float> outer_;
    matrix<float> d_embedding_;
    vector<float> d_final_norm_;
    std::vector<matrix<float>> states_;  // hidden states before every block, and after the last
    matrix<float> normed_, d_normed_, gradient_, d_input_;
    subbit::vector<float> inverse_rms_;
    std::vector<subbit::tuner<float>> tuner_;  // one, made once the parameters have their places
};

/// The perplexity of the model in `directory` on windows of `window` tokens.
double perplexity(const std::filesystem::path& directory, std::span<const std::int32_t> tokens, index window,
                  int threads);

}  // namespace train_demo
