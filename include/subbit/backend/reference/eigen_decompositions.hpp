// What the reference has Eigen decompose. These are large headers: with subbit::compiled only the library sees them.
#pragma once

#include <subbit/backend/reference/eigenvectors.hpp>
#include <subbit/core/error.hpp>
#include <subbit/core/matrix.hpp>

#include <Eigen/Eigenvalues>

namespace subbit {

template <class S>
void eigenvectors_of(matrix_view<const S> G, matrix_view<S> V) {
    const matrix<double> g = as_eigen(G).template cast<double>();
    const Eigen::SelfAdjointEigenSolver<matrix<double>> solver(g);
    if (solver.info() != Eigen::Success)
        throw value_error("symmetric_eigenvectors: G (" + shape_text(G.rows, G.cols) + ") did not converge");
    as_eigen(V) = solver.eigenvectors().rowwise().reverse().template cast<S>();
}

}  // namespace subbit
