// Sampling against a plain version that sorts everything, and the properties that its options promise.
#include "sample/sampling.hpp"

#include <doctest/doctest.h>
#include <algorithm>
#include <cmath>
#include <limits>
#include <map>
#include <numeric>
#include <set>
#include <vector>

namespace llama {
namespace {

const subbit::random_stream stream(7);

std::vector<int> draw(const std::vector<float>& scores, const sampling_options& options, std::uint64_t times = 4000) {
    std::vector<int> counts(scores.size());
    sampler choice(options, stream);
    for (std::uint64_t i = 0; i < times; ++i)
        ++counts[static_cast<std::size_t>(choice.pick(scores, i))];
    return counts;
}

/// The probability of each token, by the definition.
std::vector<double> probabilities(const std::vector<float>& scores, const sampling_options& options) {
    std::vector<std::size_t> order(scores.size());
    std::iota(order.begin(), order.end(), std::size_t{0});
    std::stable_sort(order.begin(), order.end(), [&](auto a, auto b) { return scores[a] > scores[b]; });
    if (options.top_k > 0) order.resize(std::min(order.size(), static_cast<std::size_t>(options.top_k)));
    std::vector<double> weight(scores.size());
    double total = 0, within = 0;
    for (const auto i : order)
        total += std::exp((scores[i] - scores[order[0]]) / options.temperature);
    for (const auto i : order) {
        if (within > 0 && within >= options.top_p * total) break;
        weight[i] = std::exp((scores[i] - scores[order[0]]) / options.temperature);
        within += weight[i];
    }
    for (double& w : weight)
        w /= within;
    return weight;
}

std::vector<float> normal_scores(std::size_t count, double deviation, std::uint64_t seed) {
    std::vector<float> scores(count);
    const subbit::random_stream numbers(seed);
    for (std::size_t i = 0; i < count; ++i)
        scores[i] = static_cast<float>(deviation * numbers.normal(i));
    return scores;
}

}  // namespace

TEST_CASE("temperature 0 takes the first of the largest scores") {
    CHECK(draw({0, 3, 1, 3, -2}, {.temperature = 0}) == std::vector<int>{0, 4000, 0, 0, 0});
    const float nan = std::numeric_limits<float>::quiet_NaN(), infinite = std::numeric_limits<float>::infinity();
    CHECK(index_of_largest(std::vector<float>{-infinite, -infinite}) == 0);
    for (const auto& scores : {std::vector<float>{nan, nan, nan}, {1, nan, 2}, {-infinite, -infinite}, {infinite, 1}})
        for (const sampling_options& options : {sampling_options{},
                                                {.temperature = 1},
                                                {.temperature = 1, .top_k = 2},
                                                {.temperature = 1, .top_p = 0.5}}) {
            const auto token = sampler(options, stream).pick(scores, 0);
            CHECK((token >= 0 && token < std::ssize(scores)));
        }
    for (std::size_t at = 0; at < 70; ++at) {
        std::vector<float> scores(70, -1.0F);
        scores[at] = 2;
        CHECK(index_of_largest(scores) == at);
    }
}

TEST_CASE("every token is drawn as often as its probability says, with every mix of options") {
    constexpr std::uint64_t times = 20000;
    for (const double temperature : {0.3, 1.0, 3.0})
        for (const std::int64_t top_k : {0, 1, 2, 7, 100})
            for (const double top_p : {0.0, 0.3, 0.9, 1.0}) {
                const sampling_options options{temperature, top_k, top_p};
                const auto scores = normal_scores(12, 1.5, static_cast<std::uint64_t>(top_k) + 1);
                const auto counts = draw(scores, options, times);
                const auto expected = probabilities(scores, options);
                for (std::size_t i = 0; i < scores.size(); ++i) {
                    CAPTURE(temperature);
                    CAPTURE(top_k);
                    CAPTURE(top_p);
                    const double share = static_cast<double>(counts[i]) / times;
                    if (expected[i] == 0) CHECK(counts[i] == 0);
                    CHECK(std::abs(share - expected[i]) < 5 * std::sqrt(expected[i] / times) + 3.0 / times);
                }
            }
}

TEST_CASE("of a large vocabulary, what is drawn lies among the candidates, and equal scores prefer the lower id") {
    for (const std::uint64_t seed : {1UL, 2UL, 3UL})
        for (const double deviation : {0.0, 0.1, 3.0, 40.0})
            for (const auto& options : {sampling_options{.temperature = 1, .top_k = 50},
                                        {.temperature = 0.5, .top_k = 500, .top_p = 0.8},
                                        {.temperature = 1, .top_p = 0.95}}) {
                const auto scores = normal_scores(5000, deviation, seed);
                const auto expected = probabilities(scores, options);
                sampler choice(options, stream);
                std::set<std::int32_t> seen;
                for (std::uint64_t i = 0; i < 300; ++i)
                    seen.insert(choice.pick(scores, i));
                for (const auto id : seen)
                    CHECK(expected[static_cast<std::size_t>(id)] > 0);
            }
}

TEST_CASE(
    "of a large vocabulary without limits, the token is the one at which the probabilities pass the random number") {
    for (const std::size_t count : {1023U, 1024U, 1025U, 5000U})
        for (const double deviation : {0.0, 1.0, 20.0}) {
            const auto scores = normal_scores(count, deviation, count);
            const auto expected = probabilities(scores, {.temperature = 0.7});
            sampler choice({.temperature = 0.7}, stream);
            for (std::uint64_t i = 0; i < 300; ++i) {
                const auto id = static_cast<std::size_t>(choice.pick(scores, i));
                const double below = std::accumulate(expected.begin(), expected.begin() + static_cast<long>(id), 0.0);
                CHECK(below <= stream.uniform(i) + 1e-6);
                CHECK(below + expected[id] >= stream.uniform(i) - 1e-6);
            }
        }
}

TEST_CASE("a seed and a position name a token") {
    const auto scores = normal_scores(300, 1, 9);
    const sampling_options options{.temperature = 1, .top_k = 100, .top_p = 0.9};
    const auto sequence = [&](std::uint64_t seed) {
        sampler choice(options, subbit::random_stream(seed));
        std::vector<std::int32_t> picked;
        for (std::uint64_t i = 0; i < 50; ++i)
            picked.push_back(choice.pick(scores, i));
        return picked;
    };
    CHECK(sequence(3) == sequence(3));
    CHECK(sequence(3) != sequence(4));
    sampler choice(options, subbit::random_stream(3));
    CHECK(choice.pick(scores, 49) == sequence(3)[49]);
}

}  // namespace llama
