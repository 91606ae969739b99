// The eigenvectors of a symmetric matrix on the host.
#pragma once

#include <subbit/core/matrix.hpp>

namespace subbit {

/// V = the eigenvectors of a symmetric G (k,k) as columns, by falling eigenvalue; computed in double. Throws
/// value_error where they are not found.
template <class S>
void eigenvectors_of(matrix_view<const S> G, matrix_view<S> V);

}  // namespace subbit
