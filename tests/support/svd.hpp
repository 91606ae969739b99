// Eigen's singular value decomposition, compiled once for all tests.
#pragma once

#include <subbit/core/matrix.hpp>

namespace subbit::testing {

/// X = U diag(values) V', values falling.
struct svd {
    explicit svd(const matrix<double>& X);
    matrix<double> U, V;
    vector<double> values;
};

}  // namespace subbit::testing
