// The types of a layer's parts in the host's memory; a device's backend has its own.
#pragma once

#include <subbit/bits/bit_matrix.hpp>
#include <subbit/core/matrix.hpp>

namespace subbit {

/// The owners in the host's memory, for types that are templates on a memory.
struct host_memory {
    template <class S>
    using matrix = subbit::matrix<S>;
    template <class S>
    using vector = subbit::vector<S>;
    using bits = bit_matrix;
};

}  // namespace subbit
