// Seeded matrices for the factor room's tests.
#pragma once

#include <subbit/backend/reference.hpp>
#include <subbit/factor/sign_factors.hpp>

#include <cstdint>

namespace subbit::testing {

inline const reference<double> oracle;

inline matrix<double> normal_matrix(std::uint64_t seed, index rows, index cols) {
    matrix<double> X(rows, cols);
    fill_normal(oracle, random_stream(seed), X);
    return X;
}

/// A matrix of low rank and noise of a tenth of its size, with rows and columns of uneven size: what weights look like.
inline matrix<double> weight_like(std::uint64_t seed, index rows, index cols) {
    const index rank = std::max<index>(1, std::min(rows, cols) / 4);
    matrix<double> W = normal_matrix(seed, rows, rank) * normal_matrix(seed + 1, rank, cols) / std::sqrt(double(rank));
    return W + 0.3 * normal_matrix(seed + 2, rows, cols);
}

inline vector<double> positive_vector(std::uint64_t seed, index n) {
    return normal_matrix(seed, n, 1).array().abs() + 0.1;
}

inline sign_factors<reference<double>, double> random_factors(std::uint64_t seed, index rows, index cols, index rank,
                                                              bool three_scales) {
    sign_factors<reference<double>, double> f{{normal_matrix(seed, rows, rank), positive_vector(seed + 1, rows)},
                                              {normal_matrix(seed + 2, cols, rank), positive_vector(seed + 3, cols)},
                                              {}};
    take_signs(oracle, f.left.signs);
    take_signs(oracle, f.right.signs);
    if (three_scales) f.mid = positive_vector(seed + 4, rank);
    return f;
}

/// diag(a) U diag(s) V diag(b)
inline matrix<double> product(const sign_factors<reference<double>, double>& f) {
    matrix<double> left = f.left.scale.asDiagonal() * f.left.signs;
    if (f.mid) left = left * f.mid->asDiagonal();
    return left * f.right.signs.transpose() * f.right.scale.asDiagonal();
}

}  // namespace subbit::testing
