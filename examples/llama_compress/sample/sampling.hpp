// Chooses the next token by its scores.
#pragma once

#include <subbit/core/random.hpp>

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

namespace llama {

struct sampling_options {
    double temperature = 0;  ///< 0, or so low that it makes no difference: the most likely token
    std::int64_t top_k = 0;  ///< only the k most likely tokens (0: all)
    double top_p = 1;        ///< only the most likely tokens that together have this probability

    /// Scores differ by more than this temperature, or are equal.
    bool greedy() const { return temperature < 1e-9; }
    bool keeps_all(std::int64_t tokens) const { return top_p >= 1 && (top_k <= 0 || top_k >= tokens); }
};

/// True if no score is a NaN or an infinity.
bool all_finite(std::span<const float> scores);

/// The first of the largest scores.
std::size_t index_of_largest(std::span<const float> scores);

/// Chooses tokens; keeps its buffers, so only the first call allocates.
class sampler {
  public:
    sampler(const sampling_options& options, const subbit::random_stream& stream)
        : options_(options), stream_(stream) {}

    /// The token that position `at` of the random stream chooses by the scores of all tokens: with probabilities
    /// proportional to exp(score / temperature) among the top_k most likely, reduced to the most likely ones that
    /// together reach top_p. Of equal scores, the lower id counts as the more likely.
    std::int32_t pick(std::span<const float> scores, std::uint64_t at);

  private:
    double weight(std::int32_t id) const { return static_cast<double>(weights_[static_cast<std::size_t>(id)]); }
    double mass() const;  // of the candidates
    double weigh(std::span<const float> scores, float top);
    std::size_t pick_of_all(double target, std::size_t otherwise) const;
    void keep_candidates(std::span<const float> scores, double total);
    double take_above(float cut);
    void keep_mass(double wanted);

    sampling_options options_;
    subbit::random_stream stream_;
    std::vector<float> weights_;      // by token
    std::vector<double> run_masses_;  // of neighbouring tokens
    std::vector<std::int32_t> candidates_;
};

}  // namespace llama
