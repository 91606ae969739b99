// Who does what: how work is shared out among ranks so that its result does not depend on their number.
#pragma once

#include <subbit/core/even_share.hpp>

#include <algorithm>
#include <bit>
#include <cstddef>
#include <numeric>
#include <span>
#include <vector>

namespace subbit {

/// The owner of each job, so that the ranks' costs are about even: the most expensive job first, to the rank that has
/// least (longest processing time first).
inline std::vector<int> owners_by_cost(std::span<const double> costs, int ranks) {
    std::vector<std::size_t> order(costs.size());
    std::iota(order.begin(), order.end(), std::size_t{0});
    std::stable_sort(order.begin(), order.end(), [&](auto a, auto b) { return costs[a] > costs[b]; });
    std::vector<double> load(static_cast<std::size_t>(ranks));
    std::vector<int> owners(costs.size());
    for (const std::size_t job : order) {
        const auto least = std::min_element(load.begin(), load.end());
        *least += costs[job];
        owners[job] = static_cast<int>(least - load.begin());
    }
    return owners;
}

/// The busiest rank's costs over the mean of all ranks', as owners_by_cost() shares the jobs out: 1 if they are even.
inline double unevenness(std::span<const double> costs, int ranks) {
    const auto owners = owners_by_cost(costs, ranks);
    std::vector<double> load(static_cast<std::size_t>(ranks));
    for (std::size_t job = 0; job < costs.size(); ++job)
        load[static_cast<std::size_t>(owners[job])] += costs[job];
    const double total = std::accumulate(load.begin(), load.end(), 0.0);
    return total > 0 ? *std::max_element(load.begin(), load.end()) * ranks / total : 1;
}

/// The number of terms in the left part of a sum of n: the largest power of two below n. A rank that adds its terms one
/// after the other, joining parts of equal size, makes this tree (train/pairwise_sum.hpp).
constexpr index left_terms(index n) {
    return static_cast<index>(std::bit_floor(static_cast<std::size_t>(n - 1)));
}

/// A part of the tree by which `terms` terms are summed, and the ranks that make it.
struct sum_node {
    unit_range terms;
    int first_rank = 0, ranks = 1;

    /// True where one rank makes the part by itself; the others of its ranks have nothing to do.
    bool is_leaf() const { return ranks == 1 || terms.count() == 1; }
    sum_node left() const { return {{terms.first, middle()}, first_rank, left_ranks()}; }
    sum_node right() const { return {{middle(), terms.last}, first_rank + left_ranks(), ranks - left_ranks()}; }

  private:
    index middle() const { return terms.first + left_terms(terms.count()); }
    int left_ranks() const {
        const auto share = (ranks * left_terms(terms.count()) + terms.count() / 2) / terms.count();
        return std::clamp(static_cast<int>(share), 1, ranks - 1);
    }
};

/// The terms of a sum of n that a rank makes, perhaps none.
inline unit_range terms_of(index n, int ranks, int rank) {
    if (n == 0) return {};
    sum_node node{{0, n}, 0, ranks};
    while (!node.is_leaf())
        node = rank < node.right().first_rank ? node.left() : node.right();
    return rank == node.first_rank ? node.terms : unit_range{};
}

}  // namespace subbit
