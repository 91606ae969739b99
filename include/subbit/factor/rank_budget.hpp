// Bits and ranks: the storage of a low-rank binary layer, the largest rank within a number of bits, and how the bits of
// a block are divided among its layers. Only packed signs and scales of the factorized matrices are counted.
#pragma once

#include <subbit/bits/low_rank_binary_linear.hpp>
#include <subbit/bits/scale_format.hpp>
#include <subbit/core/finite.hpp>
#include <subbit/core/matrix.hpp>
#include <subbit/core/types.hpp>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <span>
#include <string>
#include <vector>

namespace subbit {

/// How bits are counted and how ranks are rounded.
struct rank_rule {
    index granularity = 8;  ///< ranks are multiples of it (the paper: 32)
    int scales = 2;         ///< 2: s_post and s_pre; 3: s_mid too
    index minimum = 0;  ///< lower ranks are raised to it, even beyond the budget (the paper: 32); 0: never beyond it
    scale_format stored_scales = scale_format::f16;
    bool up_to_full = false;  ///< ranks are at most min(m,n), as dual_svid needs them; else at most largest_rank()
};

/// The size of one linear layer's weight.
struct layer_shape {
    index rows;
    index cols;
};

namespace detail {

inline void require_rule(const rank_rule& rule) {
    if (rule.granularity < 1 || (rule.scales != 2 && rule.scales != 3) || rule.minimum < 0)
        throw value_error("rank rule: granularity " + std::to_string(rule.granularity) + ", " +
                          std::to_string(rule.scales) + " scales, minimum " + std::to_string(rule.minimum) +
                          ", expected a granularity of 1 or more, 2 or 3 scales, minimum 0 or more");
}

inline void require_budget(double bits, layer_shape shape) {
    if (shape.rows < 1 || shape.cols < 1)
        throw value_error("rank rule: a weight of " + shape_text(shape.rows, shape.cols) + ", expected at least 1x1");
    if (!(bits > 0) || !is_finite(bits))
        throw value_error("rank rule: " + std::to_string(bits) + " bits per weight, expected a positive number");
}

}  // namespace detail

/// Stored bits of an m x n weight at rank r (docs/method.md, eq. 3): r(m+n) signs and m+n scales, or m+n+r scales in
/// the three-scale form.
constexpr std::int64_t storage_bits(index m, index n, index r, const rank_rule& rule = {}) {
    const auto scales = [&](index count) { return stored_bits(rule.stored_scales, count); };
    return std::int64_t{r} * (m + n) + scales(m) + scales(n) + (rule.scales == 3 ? scales(r) : 0);
}

/// The bits per weight of a layer at rank r.
inline bits_per_weight reached(index m, index n, index r, const rank_rule& rule = {}) {
    return bits_per_weight{static_cast<double>(storage_bits(m, n, r, rule)) /
                           (static_cast<double>(m) * static_cast<double>(n))};
}

/// The highest rank that the rule gives a layer.
inline index highest_rank(layer_shape shape, const rank_rule& rule) {
    return rule.up_to_full ? std::min(shape.rows, shape.cols) : largest_rank(shape.rows, shape.cols);
}

/// The lowest rank that the rule gives a layer: a granule, or the minimum.
inline index lowest_rank(layer_shape shape, const rank_rule& rule) {
    return std::min(highest_rank(shape, rule), std::max(rule.granularity, rule.minimum));
}

/// The largest rank, a multiple of the granularity, whose storage is within the target (docs/method.md, eq. 4); at
/// most highest_rank(). It rounds down to a multiple of 8 unless the rule says otherwise:
/// {.granularity = 1} gives every rank.
/// Throws value_error if even one granule is too much, unless rule.minimum raises the rank.
inline index rank_for(bits_per_weight target, index m, index n, const rank_rule& rule = {}) {
    detail::require_rule(rule);
    detail::require_budget(target.value, {m, n});
    const double budget = target.value * static_cast<double>(m) * static_cast<double>(n);
    const index limit = highest_rank({m, n}, rule);
    const auto fixed = static_cast<double>(storage_bits(m, n, 0, rule));
    const double per_rank = static_cast<double>(storage_bits(m, n, 1, rule)) - fixed;
    const double exact = (budget - fixed) / per_rank;
    const auto whole = static_cast<index>(std::floor(std::clamp(exact, 0.0, static_cast<double>(limit))));
    const index rank = whole == limit ? limit : whole / rule.granularity * rule.granularity;
    const index lowest = std::min(limit, rule.minimum);
    if (std::max(rank, lowest) < 1)
        throw value_error("rank rule: " + std::to_string(target.value) +
                          " bits per weight are too few for a weight of " + shape_text(m, n) + ": rank " +
                          std::to_string(std::min(limit, rule.granularity)) + " takes " +
                          std::to_string(reached(m, n, std::min(limit, rule.granularity), rule).value));
    return std::max(rank, lowest);
}

/// The bits per weight of several layers together.
inline bits_per_weight reached(std::span<const layer_shape> shapes, std::span<const index> ranks,
                               const rank_rule& rule = {}) {
    require_size("rank rule: ranks", std::ssize(ranks), std::ssize(shapes));
    double bits = 0, weights = 0;
    for (std::size_t l = 0; l < shapes.size(); ++l) {
        bits += static_cast<double>(storage_bits(shapes[l].rows, shapes[l].cols, ranks[l], rule));
        weights += static_cast<double>(shapes[l].rows) * static_cast<double>(shapes[l].cols);
    }
    return bits_per_weight{bits / weights};
}

/// Divides a budget among several layers (docs/method.md, eq. 35): ranks are as near as possible to c profile_l with
/// one common c. They are multiples of the granularity from lowest_rank() to highest_rank(); together they are within
/// the target, and no further granule fits. `profile` has one positive number per layer, for instance ranks that were
/// found to be good; an empty one gives each layer the share that rank_for would.
///
/// Throws value_error if the budget is less than one granule for each layer, or a share is not positive; shape_error
/// unless there are as many shares as layers.
inline std::vector<index> distribute_ranks(std::span<const layer_shape> shapes, std::span<const double> profile,
                                           bits_per_weight target, const rank_rule& rule = {}) {
    detail::require_rule(rule);
    std::vector<double> share(profile.begin(), profile.end());
    double budget = 0, spent = 0;
    for (const layer_shape s : shapes) {
        detail::require_budget(target.value, s);
        const double weights = static_cast<double>(s.rows) * static_cast<double>(s.cols);
        budget += target.value * weights;
        if (profile.empty()) share.push_back(weights / static_cast<double>(s.rows + s.cols));
    }
    require_size("rank rule: profile", std::ssize(share), std::ssize(shapes));

    std::vector<index> ranks(shapes.size());
    const auto limit = [&](std::size_t l) { return highest_rank(shapes[l], rule); };
    const auto bits = [&](std::size_t l, index r) {
        return static_cast<double>(storage_bits(shapes[l].rows, shapes[l].cols, r, rule));
    };
    for (std::size_t l = 0; l < shapes.size(); ++l) {
        if (!(share[l] > 0) || !is_finite(share[l]))
            throw value_error("rank rule: the profile's share " + std::to_string(l) + " is " +
                              std::to_string(share[l]) + ", expected a positive number");
        ranks[l] = lowest_rank(shapes[l], rule);
        spent += bits(l, ranks[l]);
    }
    if (spent > budget)
        throw value_error("rank rule: " + std::to_string(target.value) + " bits per weight are too few for " +
                          std::to_string(shapes.size()) + " layers: their lowest ranks take " +
                          std::to_string(reached(shapes, ranks, rule).value));

    // One granule at a time to the layer that is furthest below its share, among those that still fit.
    for (;;) {
        std::size_t next = shapes.size();
        double lowest = std::numeric_limits<double>::infinity();
        for (std::size_t l = 0; l < shapes.size(); ++l) {
            const index raised = std::min(limit(l), ranks[l] + rule.granularity);
            const double level = static_cast<double>(raised) / share[l];
            if (raised == ranks[l] || level >= lowest || spent + bits(l, raised) - bits(l, ranks[l]) > budget) continue;
            lowest = level;
            next = l;
        }
        if (next == shapes.size()) return ranks;
        const index raised = std::min(limit(next), ranks[next] + rule.granularity);
        spent += bits(next, raised) - bits(next, ranks[next]);
        ranks[next] = raised;
    }
}

}  // namespace subbit
