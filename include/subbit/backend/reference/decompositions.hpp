// What the reference has a library decompose (eigen_decompositions.hpp).
#pragma once

#include <subbit/core/matrix.hpp>

namespace subbit {

/// R (m,k) <- R G^-1 for a symmetric G (k,k), positive definite but for rounding. Throws value_error where G is
/// singular.
template <class S>
void solve_symmetric(matrix_view<const S> G, matrix_view<S> R);

/// V = the eigenvectors of a symmetric G (k,k) as columns, by falling eigenvalue; computed in double. Throws
/// value_error where they are not found.
template <class S>
void eigenvectors_of(matrix_view<const S> G, matrix_view<S> V);

}  // namespace subbit
