// How the products of a warpgroup (instructions.hpp) find an operand in shared memory: PTX's canonical layout without
// swizzling, for an operand whose columns are consecutive along the sum.
//
// A core matrix is 16 bytes of each of 8 columns, 128 consecutive bytes, which the tensor core reads without bank
// conflicts. Those of one piece of 16 bytes follow one another, column after column; then come the next 16 bytes.
#pragma once

#include <subbit/core/kernel.hpp>

namespace subbit::gpu {

inline constexpr int warpgroup_size = 128;

struct core_matrices {
    static constexpr int piece_bytes = 16, group_columns = 8;
    static constexpr int bytes = piece_bytes * group_columns;
    /// From a core matrix to the one beside it: the same columns' next piece is this far, of so many columns.
    SUBBIT_KERNEL static constexpr int piece_stride(int columns) { return columns / group_columns * bytes; }
    /// The next 8 columns' same piece.
    static constexpr int group_stride = bytes;
    /// Bytes of one product's operand: 32 of each column.
    SUBBIT_KERNEL static constexpr int operand_bytes(int columns) { return 2 * piece_stride(columns); }

    /// Where piece `piece` of a column begins.
    SUBBIT_KERNEL static constexpr int byte_of(int columns, int column, int piece) {
        return piece * piece_stride(columns) + column / group_columns * group_stride +
               column % group_columns * piece_bytes;
    }
};

}  // namespace subbit::gpu
