// The reference: plain Eigen and plain loops, any scalar type, one thread. Every other backend is tested against it.
#pragma once

#include <subbit/backend/concept.hpp>

namespace subbit {

/// The backend that is easiest to understand, and with which others are compared; `Scalar` is the caller's usual type,
/// not a restriction.
template <class Scalar = double>
struct reference {
    using tag = reference_tag;
    template <class S>
    using matrix = subbit::matrix<S>;
    template <class S>
    using vector = subbit::vector<S>;

    int threads() const { return 1; }
    template <class F>
    void parallel_for(index n, index /*grain*/, F&& body) const {
        if (n > 0) body(index{0}, n);
    }
};

}  // namespace subbit
