// From the scores of the next token to the token.
#pragma once

#include <subbit/core/random.hpp>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <span>
#include <vector>

namespace llama {

struct sampling_options {
    double temperature = 0;  ///< 0: the most likely token
    std::int64_t top_k = 0;  ///< only the k most likely tokens (0: all)
    double top_p = 1;        ///< only the most likely tokens that together have this probability
};

/// The token that position `at` of the random stream picks; the lowest id where scores are equal.
inline std::int32_t sample(std::span<const float> scores, const sampling_options& options,
                           const subbit::random_stream& stream, std::uint64_t at) {
    if (options.temperature <= 0)
        return static_cast<std::int32_t>(std::max_element(scores.begin(), scores.end()) - scores.begin());

    struct candidate {
        double probability;
        std::int32_t id;
    };
    const double top = static_cast<double>(*std::max_element(scores.begin(), scores.end()));
    std::vector<candidate> list(scores.size());
    for (std::size_t i = 0; i < scores.size(); ++i)
        list[i] = {std::exp((static_cast<double>(scores[i]) - top) / options.temperature),
                   static_cast<std::int32_t>(i)};
    const auto kept = options.top_k > 0 ? std::min(list.size(), static_cast<std::size_t>(options.top_k)) : list.size();
    std::partial_sort(list.begin(), list.begin() + static_cast<std::ptrdiff_t>(kept), list.end(),
                      [](const candidate& a, const candidate& b) {
                          return a.probability != b.probability ? a.probability > b.probability : a.id < b.id;
                      });
    list.resize(kept);

    double total = 0;
    for (const auto& c : list)
        total += c.probability;
    double within = 0;
    std::size_t count = 0;
    while (count < list.size() && (count == 0 || within < options.top_p * total))
        within += list[count++].probability;

    const double target = stream.uniform(at) * within;
    double passed = 0;
    for (std::size_t i = 0; i < count; ++i) {
        passed += list[i].probability;
        if (target < passed) return list[i].id;
    }
    return list[count - 1].id;
}

}  // namespace llama
