#include "sample/sampling.hpp"

#include <subbit/core/math.hpp>

#include <algorithm>

namespace llama {

bool all_finite(std::span<const float> scores) {
    float sum = 0;  // of zeros, or a NaN
    const float* const s = scores.data();
#pragma omp simd reduction(+ : sum)
    for (std::size_t i = 0; i < scores.size(); ++i)
        sum += s[i] * 0;
    return sum == 0;
}

std::size_t index_of_largest(std::span<const float> scores) {
    const float* const s = scores.data();
    const float top = subbit::largest_of(std::ssize(scores), [&](subbit::index i) { return s[i]; });
    const auto found = std::find(scores.begin(), scores.end(), top);
    return found == scores.end() ? 0 : static_cast<std::size_t>(found - scores.begin());  // a NaN equals nothing
}

std::int32_t sampler::pick(std::span<const float> scores, std::uint64_t at) {
    const std::size_t best = index_of_largest(scores);
    if (options_.greedy()) return static_cast<std::int32_t>(best);
    weigh(scores, scores[best]);
    keep_candidates(scores);
    const double target = stream_.uniform(at) * mass();
    double passed = 0;
    for (const std::int32_t id : candidates_) {
        passed += weight(id);
        if (target < passed) return id;
    }
    return candidates_.empty() ? static_cast<std::int32_t>(best) : candidates_.back();
}

/// Unnormalized probabilities; the largest is 1.
void sampler::weigh(std::span<const float> scores, float top) {
    weights_.resize(scores.size());
    const auto inverse = static_cast<float>(1 / options_.temperature);
    const float* const s = scores.data();
    float* const w = weights_.data();
#pragma omp simd
    for (std::size_t i = 0; i < scores.size(); ++i)
        w[i] = subbit::fast_exp((s[i] - top) * inverse);
}

/// The tokens to choose among. The trick: only scores above a threshold are sorted, and the threshold is lowered
/// until there are enough.
void sampler::keep_candidates(std::span<const float> scores) {
    const std::size_t all = scores.size();
    const std::size_t k = options_.top_k > 0 ? std::min(all, static_cast<std::size_t>(options_.top_k)) : all;
    const double total = take_above(0);
    if (k == all && options_.top_p >= 1) return;
    double above = 0;
    for (float cut = 1.0F / 16;; cut = cut > 1e-30F ? cut / 64 : 0) {
        above = take_above(cut);
        if (cut == 0 || (k < all ? candidates_.size() >= k : above >= options_.top_p * total)) break;
    }
    std::sort(candidates_.begin(), candidates_.end(), [&](std::int32_t a, std::int32_t b) {
        const float x = scores[static_cast<std::size_t>(a)], y = scores[static_cast<std::size_t>(b)];
        return x != y ? x > y : a < b;
    });
    if (k < candidates_.size()) candidates_.resize(k);
    if (options_.top_p < 1) keep_mass(options_.top_p * (k < all ? mass() : total));
}

/// Takes the tokens of at least that weight, by id; returns their weight.
double sampler::take_above(float cut) {
    candidates_.clear();
    for (std::size_t i = 0; i < weights_.size(); ++i)
        if (weights_[i] >= cut) candidates_.push_back(static_cast<std::int32_t>(i));
    return mass();
}

double sampler::mass() const {
    double sum = 0;
    for (const std::int32_t id : candidates_)
        sum += weight(id);
    return sum;
}

/// Keeps the first candidates that weigh `wanted`, at least one.
void sampler::keep_mass(double wanted) {
    double within = 0;
    std::size_t count = 0;
    while (count < candidates_.size() && (count == 0 || within < wanted))
        within += weight(candidates_[count++]);
    candidates_.resize(count);
}

}  // namespace llama
