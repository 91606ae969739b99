#include "compress/rank_choice.hpp"

#include "compress/recipe.hpp"

#include <subbit/factor/rank_budget.hpp>

#include <algorithm>
#include <cmath>

namespace llama {

nlohmann::json to_json(const rank_costs& costs) {
    nlohmann::json losses = nlohmann::json::array();
    for (const auto& of_block : costs.losses)
        losses.push_back(nlohmann::json(std::vector<double>(of_block.begin(), of_block.end())));
    return {{"ranks", costs.ranks}, {"losses", losses}};
}

rank_costs rank_costs_from(const nlohmann::json& numbers) {
    rank_costs costs{numbers.at("ranks").get<std::vector<index>>(), {}};
    for (const auto& of_block : numbers.at("losses")) {
        auto& losses = costs.losses.emplace_back();
        for (std::size_t k = 0; k < layer_count; ++k)
            losses[k] = of_block.at(k).get<double>();
    }
    return costs;
}

namespace {

subbit::rank_rule rule_of(const compress_options& o) {
    return {.granularity = o.granularity,
            .scales = o.scales,
            .minimum = o.minimum_rank,
            .stored_scales = stored_scales(o),
            .up_to_full = solver_of(o) == solver_kind::dual_svid};
}

}  // namespace

std::vector<index> choose_ranks(const block_schema& block, const compress_options& options) {
    if (is_rabit(options)) return std::vector<index>(layer_count, 0);
    const auto rule = rule_of(options);
    const subbit::bits_per_weight target{options.bits};
    const auto shapes = block.shapes();
    std::vector<double> profile;
    std::vector<index> ranks;
    for (const auto& linear : block.linears) {
        const index rank = subbit::rank_for(target, linear.shape.rows, linear.shape.cols, rule);
        ranks.push_back(rank);
        profile.push_back(linear.rank_share * static_cast<double>(rank));
    }
    if (rank_choice_of(options) == rank_choice::even) return ranks;
    // Lowest ranks that take more than the bits leave nothing to distribute.
    std::vector<index> lowest;
    for (const layer_shape shape : shapes)
        lowest.push_back(subbit::lowest_rank(shape, rule));
    const bool minimum_decides = options.minimum_rank > 0 && subbit::reached(shapes, lowest, rule).value > target.value;
    return minimum_decides ? lowest : subbit::distribute_ranks(shapes, profile, target, rule);
}

bool are_highest_ranks(const block_schema& block, const compress_options& options, const std::vector<index>& ranks) {
    return !is_rabit(options) && std::ranges::all_of(block.linears, [&](const linear_spec& linear) {
        return ranks[linear.number()] == subbit::highest_rank(linear.shape, rule_of(options));
    });
}

namespace {

/// What a layer's rank is to be multiplied by, but for a factor that all layers share: eq. 52 of docs/method.md.
double wished_change(double loss, index rank, layer_shape shape) {
    constexpr double power = 1.15;
    const double bits = static_cast<double>(rank) * static_cast<double>(shape.rows + shape.cols);
    return std::pow(std::max(loss, 0.0) / bits, 1 / (1 + power));
}

/// The changes times that factor with which all ranks together take as many bits as before. Each is at most 2 and at
/// least 1/2: a power law holds near where it was measured.
std::vector<double> bounded_changes(const std::vector<double>& wished, const std::vector<double>& bits) {
    std::vector<double> changes(wished.size());
    const auto more_bits = [&](double exponent) {
        double more = 0;
        for (std::size_t i = 0; i < wished.size(); ++i) {
            changes[i] = std::clamp(wished[i] * std::exp2(exponent), 0.5, 2.0);
            more += bits[i] * (changes[i] - 1);
        }
        return more;
    };
    double low = -400, high = 400;
    for (int step = 0; step < 100; ++step) {
        const double middle = (low + high) / 2;
        (more_bits(middle) < 0 ? low : high) = middle;
    }
    more_bits(high);
    return changes;
}

}  // namespace

std::vector<std::vector<index>> ranks_from_costs(const block_schema& block, const compress_options& options,
                                                 const rank_costs& costs) {
    std::vector<layer_shape> shapes;
    std::vector<index> measured;
    std::vector<double> wished, bits;
    for (const auto& of_block : costs.losses)
        for (const auto& linear : block.linears) {
            shapes.push_back(linear.shape);
            measured.push_back(costs.ranks[linear.number()]);
            wished.push_back(wished_change(of_block[linear.number()], measured.back(), linear.shape));
            bits.push_back(static_cast<double>(measured.back() * (linear.shape.rows + linear.shape.cols)));
        }
    const auto rule = rule_of(options);
    const subbit::bits_per_weight target{options.bits};
    // Lowest ranks that take more than the bits leave nothing to distribute.
    if (options.minimum_rank > 0 && subbit::reached(shapes, measured, rule).value > target.value)
        return std::vector<std::vector<index>>(costs.losses.size(), costs.ranks);
    auto profile = bounded_changes(wished, bits);
    for (std::size_t i = 0; i < profile.size(); ++i)
        profile[i] *= static_cast<double>(measured[i]);
    const auto all = subbit::distribute_ranks(shapes, profile, target, rule);
    std::vector<std::vector<index>> ranks;
    for (auto of_block = all.begin(); of_block != all.end(); of_block += layer_count)
        ranks.emplace_back(of_block, of_block + layer_count);
    return ranks;
}

}  // namespace llama
