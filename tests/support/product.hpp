// Products in tests: of Eigen's, every expression is compiled for itself.
#pragma once

#include <subbit/backend/ops/dense.hpp>
#include <subbit/backend/reference.hpp>

namespace subbit::testing {

/// A B by the reference backend, whose products are compiled once and optimized in every build.
inline matrix<double> product(const matrix<double>& A, const matrix<double>& B) {
    matrix<double> C(A.rows(), B.cols());
    gemm(reference<double>(), A, B, C);
    return C;
}

}  // namespace subbit::testing
