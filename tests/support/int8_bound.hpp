// How far products with packed_precision::int8 may be from the exact ones: what apply_options states.
#pragma once

#include <subbit/bits/low_rank_binary_linear.hpp>
#include <subbit/bits/residual_binary_linear.hpp>

#include <algorithm>
#include <cmath>

namespace subbit::testing {

/// The bound of each output of B x for any B.
inline double int8_bound(const vector<double>& x) {
    double bound = 1e-28;  // runs below 1e-30 count as zero
    for (index run = 0; run < x.size(); run += 128) {
        double largest = 0;
        for (index j = run; j < std::min(run + 128, x.size()); j += 4)
            largest = std::max(largest, x.segment(j, std::min<index>(4, x.size() - j)).cwiseAbs().sum());
        bound += 32 * largest / 254;
    }
    const double rounding = static_cast<double>(x.size() + 8) * 0x1p-23;
    return bound * (1 + 0x1p-20) + rounding * x.cwiseAbs().sum();
}

/// The bounds of the outputs of a layer: what V leaves reaches every output through U.
template <class S>
vector<double> int8_bound(const low_rank_binary_linear<S>& layer, const vector<double>& x) {
    const vector<double> in = layer.s_pre.template cast<double>().cwiseProduct(x);
    const vector<double> middle = layer.s_mid.size() == 0 ? vector<double>(vector<double>::Ones(layer.rank()))
                                                          : vector<double>(layer.s_mid.template cast<double>());
    const double first = int8_bound(in);
    const vector<double> hidden = layer.V.template unpack<double>() * in;
    const vector<double> widest = middle.cwiseAbs().cwiseProduct((hidden.cwiseAbs().array() + first).matrix());
    vector<double> bound =
        layer.s_post.template cast<double>().cwiseAbs() * (middle.cwiseAbs().sum() * first + int8_bound(widest));
    if (layer.bias.size() != 0) bound += 0x1p-22 * layer.bias.template cast<double>().cwiseAbs();
    return bound;
}

template <class S>
vector<double> int8_bound(const residual_binary_linear<S>& layer, const vector<double>& x) {
    vector<double> bound = vector<double>::Zero(layer.rows());
    for (const auto& path : layer.paths) {
        const vector<double> in = path.s_pre.template cast<double>().cwiseProduct(x);
        const vector<double> post = path.s_post.template cast<double>().cwiseAbs();
        bound += post * (int8_bound(in) + 0x1p-21 * in.cwiseAbs().sum());  // and the rounding of the sum over the paths
    }
    if (layer.bias.size() != 0) bound += 0x1p-22 * layer.bias.template cast<double>().cwiseAbs();
    return bound;
}

}  // namespace subbit::testing
