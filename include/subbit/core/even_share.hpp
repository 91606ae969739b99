// Work in units, cut into contiguous shares.
#pragma once

#include <subbit/core/matrix.hpp>

namespace subbit {

/// Units of work first, first + 1, ..., last - 1.
struct unit_range {
    index first = 0, last = 0;

    index count() const { return last - first; }
    bool contains(index unit) const { return first <= unit && unit < last; }
};

/// The contiguous share of a rank, or of a thread, in `units` units of work; shares differ by at most one unit.
inline unit_range even_share(index units, int ranks, int rank) {
    const auto from = [&](index r) { return units * r / ranks; };
    return {from(rank), from(rank + 1)};
}

}  // namespace subbit
