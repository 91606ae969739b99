// What the reference has Eigen decompose. These are large headers: with subbit::compiled only the library sees them.
#pragma once

#include <subbit/backend/reference/decompositions.hpp>
#include <subbit/core/error.hpp>
#include <subbit/core/matrix.hpp>

#include <Eigen/Cholesky>
#include <Eigen/Eigenvalues>
#include <Eigen/LU>

namespace subbit {

template <class S>
void solve_symmetric(matrix_view<const S> G, matrix_view<S> R) {
    const matrix<S> g = as_eigen(G), right = as_eigen(R).transpose();
    const Eigen::LLT<matrix<S>> cholesky(g);
    if (cholesky.info() == Eigen::Success) {
        as_eigen(R) = cholesky.solve(right).transpose();
        return;
    }
    const Eigen::FullPivLU<matrix<S>> lu(g);
    if (!lu.isInvertible()) throw value_error("spd_solve: G (" + shape_text(G.rows, G.cols) + ") is singular");
    as_eigen(R) = lu.solve(right).transpose();
}

template <class S>
void eigenvectors_of(matrix_view<const S> G, matrix_view<S> V) {
    const matrix<double> g = as_eigen(G).template cast<double>();
    const Eigen::SelfAdjointEigenSolver<matrix<double>> solver(g);
    if (solver.info() != Eigen::Success)
        throw value_error("symmetric_eigenvectors: G (" + shape_text(G.rows, G.cols) + ") did not converge");
    as_eigen(V) = solver.eigenvectors().rowwise().reverse().template cast<S>();
}

}  // namespace subbit
