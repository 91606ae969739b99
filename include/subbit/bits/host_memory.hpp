// What a layer is made of where its numbers lie in the host's memory; a device's backend names its own.
#pragma once

#include <subbit/bits/bit_matrix.hpp>
#include <subbit/core/matrix.hpp>

namespace subbit {

/// The owners of the host's memory, for types that are made for the memory of any backend.
struct host_memory {
    template <class S>
    using matrix = subbit::matrix<S>;
    template <class S>
    using vector = subbit::vector<S>;
    using bits = bit_matrix;
};

}  // namespace subbit
