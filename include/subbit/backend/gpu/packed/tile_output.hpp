// How the kernels of tiles add what they have summed to an output: a lane has, of a strip of 32 rows, four neighbouring
// rows, and of each group of 8 tokens two neighbouring ones.
#pragma once

#include <subbit/backend/gpu/device/block.hpp>
#include <subbit/backend/gpu/device/instructions.hpp>
#include <subbit/backend/gpu/kernels/fours.hpp>
#include <subbit/backend/gpu/kernels/rounding.hpp>
#include <subbit/backend/gpu/packed/product.hpp>
#include <subbit/core/half.hpp>

#include <cstddef>
#include <cstdint>
#include <type_traits>

namespace subbit::gpu {

/// Where a lane's results of a strip begin, and how many rows and tokens there are from there to the last.
struct strip_place {
    index row, token;
    int rows, tokens;

    /// Of lane `lane`, for the strip of rows `first_row`.. and the tokens from `first_token` on.
    template <class In, class Out, class Real>
    SUBBIT_KERNEL strip_place(const packed_output<In, Out, Real>& output, int lane, index first_row, index first_token)
        : row(first_row + 4 * (lane / 4)),
          token(first_token + 2 * (lane % 4)),
          rows(count(output.rows() - row)),
          tokens(count(output.tokens() - token)) {}

  private:
    SUBBIT_KERNEL static int count(index n) {
        constexpr index more_than_a_tile = 1 << 16;
        return static_cast<int>(n < more_than_a_tile ? n : more_than_a_tile);
    }
};

/// The rows' results for two tokens of each group of 8.
template <class Real, int Groups>
using strip_values = four<Real>[Groups][2];

/// The values are what `sum(tile, row, c)` stands for, times `post`: the sum of row `row` of the four and of column c
/// of the lane's two in a tile of 8 columns of digits. Anything for rows and tokens that do not exist.
template <int Groups, class In, class Real, class Sum>
SUBBIT_KERNEL void find_digit_values(const packed_part<In, Real>& part, const strip_place& place, Sum sum,
                                     strip_values<Real, Groups>& values) {
    constexpr int digits = fixed_point<Real>::digits;
    const four<Real> post = load_four(part.post, place.row, place.rows, 0, Real(1));
    const std::int32_t* const column_sums = part.digits.sums + place.token / 8 * 8 * digits + place.token % 8;
    SUBBIT_UNROLL
    for (int group = 0; group < Groups; ++group)
        SUBBIT_UNROLL
    for (int c = 0; c < 2; ++c) {
        const int t = 8 * group + c;
        const Real to_real = t < place.tokens ? part.digits.to_real[place.token + t] : Real(0);
        std::int32_t all[digits];
        SUBBIT_UNROLL
        for (int d = 0; d < digits; ++d)
            all[d] = column_sums[8 * digits * group + c + 8 * d];
        SUBBIT_UNROLL
        for (int row = 0; row < 4; ++row) {
            std::int32_t totals[digits];
            SUBBIT_UNROLL
            for (int d = 0; d < digits; ++d)
                totals[d] = 2 * sum(group * digits + d, row, c) - all[d];
            values[group][c].at[row] = rounded_product(post.at[row], from_digit_sums(totals, 1, to_real));
        }
    }
}

/// Stores four numbers, rounded; by one instruction, which the compiler does not make of four 16-bit numbers.
template <class Out, class Block, class Real>
SUBBIT_KERNEL void store_four(const Block& block, const four<Real>& x, four<Out>* to) {
    if constexpr (std::is_same_v<Out, bf16> && sizeof(Real) == 4) {
        struct alignas(8) word_pair {
            std::uint32_t low, high;
        };
        *reinterpret_cast<word_pair*>(to) = {rounded_pair(block, x.at[0], x.at[1]),
                                             rounded_pair(block, x.at[2], x.at[3])};
    } else {
        four<Out> out;
        SUBBIT_UNROLL
        for (int e = 0; e < 4; ++e)
            out.at[e] = static_cast<Out>(x.at[e]);
        *to = out;
    }
}

/// packed_output::add for Y of whole fours. What it loads for some groups it does before their first store: the
/// compiler cannot know that a store changes nothing of it.
template <bool Reads, int Groups, class Block, class In, class Out, class Real>
SUBBIT_KERNEL void add_fours(const Block& block, const packed_output<In, Out, Real>& output, bool first,
                             const strip_place& place, const strip_values<Real, Groups>& values) {
    constexpr int at_once = 4;
    if (place.rows <= 0) return;
    // A sum with -0 changes nothing.
    const four<Real> bias = load_four(first ? output.bias : nullptr, place.row, place.rows, 0, -Real(0));
    const Real alpha = output.alpha, factor = first ? output.beta : Real(1);
    Out* y_of_begin = output.Y.row(place.token) + place.row;
    SUBBIT_UNROLL
    for (int begin = 0; begin < Groups; begin += at_once) {
        four<Out> old[at_once][2];
        const auto for_each = [&](auto f) {
            Out* y = y_of_begin;
            SUBBIT_UNROLL
            for (int group = begin; group < begin + at_once && group < Groups; ++group, y += 8 * output.Y.row_stride)
                SUBBIT_UNROLL
            for (int c = 0; c < 2; ++c)
                if (8 * group + c < place.tokens)
                    f(group, c, reinterpret_cast<four<Out>*>(y + c * output.Y.row_stride));
            return y;
        };
        if constexpr (Reads) for_each([&](int group, int c, const four<Out>* y) { old[group - begin][c] = *y; });
        y_of_begin = for_each([&](int group, int c, four<Out>* y) {
            four<Real> totals;
            SUBBIT_UNROLL
            for (int row = 0; row < 4; ++row) {
                Real& total = totals.at[row];
                total = rounded_product(alpha, values[group][c].at[row] + bias.at[row]);
                if constexpr (Reads) total += factor * static_cast<Real>(old[group - begin][c].at[row]);
            }
            store_four(block, totals, y);
        });
    }
}

/// Bytes of shared memory that a thread needs for add_values.
template <class Real, int Groups>
inline constexpr std::size_t value_bytes = sizeof(strip_values<Real, Groups>);

/// Adds a lane's values to the output. `memory` is value_bytes of shared memory for each thread: where Y is not whole
/// fours, the values go there, so that a loop of few instructions can index them.
template <int Groups, class Block, class In, class Out, class Real>
SUBBIT_KERNEL void add_values(const Block& block, const packed_output<In, Out, Real>& output, bool first,
                              const strip_place& place, const strip_values<Real, Groups>& values, void* memory) {
    if (holds_fours(output.Y)) {
        if (!first || output.beta != Real(0))
            add_fours<true, Groups>(block, output, first, place, values);
        else
            add_fours<false, Groups>(block, output, first, place, values);
        return;
    }
    four<Real>* const mine = static_cast<four<Real>*>(memory) + block.thread();
    SUBBIT_UNROLL
    for (int k = 0; k < 2 * Groups; ++k)
        mine[k * block.threads()] = values[k / 2][k % 2];
    for (int k = 0; k < 2 * Groups; ++k) {
        const int t = k / 2 * 8 + k % 2;
        for (int row = 0; row < 4; ++row)
            if (row < place.rows && t < place.tokens)
                output.add(place.token + t, place.row + row, mine[k * block.threads()].at[row], first);
    }
}

}  // namespace subbit::gpu
