// The number of signs that training changed.
#pragma once

#include <subbit/bits/bit_matrix.hpp>
#include <subbit/core/error.hpp>

#include <bit>
#include <vector>

namespace subbit {

/// The number of entries in which two sign matrices of the same shape differ.
inline index count_differences(bit_view a, bit_view b) {
    require_shape("count_differences", b.rows(), b.cols(), a.rows(), a.cols());
    index different = 0;
    for (index w = 0; w < a.word_count(); ++w)
        different += std::popcount(a.words()[w] ^ b.words()[w]);
    return different;
}

/// The share of entries that differ between two lists of sign matrices of the same shapes.
inline double share_flipped(const std::vector<bit_matrix>& before, const std::vector<bit_matrix>& after) {
    require_size("share_flipped", std::ssize(after), std::ssize(before));
    index different = 0, total = 0;
    for (std::size_t i = 0; i < before.size(); ++i) {
        different += count_differences(before[i], after[i]);
        total += before[i].rows() * before[i].cols();
    }
    return total > 0 ? static_cast<double>(different) / static_cast<double>(total) : 0.0;
}

}  // namespace subbit
