#include "sample/sampling.hpp"

#include <subbit/backend/cpu.hpp>
#include <subbit/core/math.hpp>

#include <algorithm>

namespace llama {

using subbit::index;

namespace {

/// Calls f(), with its loops vectorized for the machine.
template <class F>
void vectorized_here(F&& f) {
    static const subbit::cpu machine({.threads = 1});
    machine.vectorized(f);
}

constexpr index run = 1024;  // weights

}  // namespace

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
    const float top = subbit::largest_of(std::ssize(scores), [&](index i) { return s[i]; });
    const auto found = std::find(scores.begin(), scores.end(), top);
    return found == scores.end() ? 0 : static_cast<std::size_t>(found - scores.begin());  // a NaN equals nothing
}

std::int32_t sampler::pick(std::span<const float> scores, std::uint64_t at) {
    const std::size_t best = index_of_largest(scores);
    if (options_.greedy()) return static_cast<std::int32_t>(best);
    const double total = weigh(scores, scores[best]);
    const double share = stream_.uniform(at);
    if (options_.keeps_all(std::ssize(scores))) return static_cast<std::int32_t>(pick_of_all(share * total, best));
    keep_candidates(scores, total);
    const double target = share * mass();
    double passed = 0;
    for (const std::int32_t id : candidates_) {
        passed += weight(id);
        if (target < passed) return id;
    }
    return candidates_.empty() ? static_cast<std::int32_t>(best) : candidates_.back();
}

/// Unnormalized probabilities, of which the largest is 1; returns their sum.
double sampler::weigh(std::span<const float> scores, float top) {
    const index all = std::ssize(scores);
    weights_.resize(scores.size());
    run_masses_.resize(static_cast<std::size_t>((all + run - 1) / run));
    const auto inverse = static_cast<float>(1 / options_.temperature);
    const float* const s = scores.data();
    float* const w = weights_.data();
    vectorized_here([&] {
#pragma omp simd
        for (index i = 0; i < all; ++i)
            w[i] = subbit::fast_exp((s[i] - top) * inverse);
        for (index first = 0; first < all; first += run)
            run_masses_[static_cast<std::size_t>(first / run)] =
                subbit::lane_sum(w + first, std::min(run, all - first));
    });
    double total = 0;
    for (const double mass : run_masses_)
        total += mass;
    return total;
}

/// The token at which the weights, summed in the order of ids, pass the target; should rounding keep them below it, the
/// last one of any weight nearby, or `otherwise`.
std::size_t sampler::pick_of_all(double target, std::size_t otherwise) const {
    std::size_t at = 0;
    while (at + 1 < run_masses_.size() && target >= run_masses_[at])
        target -= run_masses_[at++];
    const std::size_t first = at * run, end = std::min(weights_.size(), first + run);
    std::size_t last = otherwise;
    for (std::size_t id = first; id < end && target >= 0; ++id) {
        if (weights_[id] == 0) continue;
        target -= static_cast<double>(weights_[id]);
        last = id;
    }
    return last;
}

/// The tokens to choose among. The trick: only scores above a threshold are sorted, and the threshold is lowered
/// until there are enough.
void sampler::keep_candidates(std::span<const float> scores, double total) {
    const std::size_t all = scores.size();
    const std::size_t k = options_.top_k > 0 ? std::min(all, static_cast<std::size_t>(options_.top_k)) : all;
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
