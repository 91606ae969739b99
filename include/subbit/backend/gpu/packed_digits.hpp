// The digits of vectors (fixed_point.hpp): made by a block for itself, or beforehand for all tokens of a launch.
#pragma once

#include <subbit/backend/gpu/block.hpp>
#include <subbit/backend/gpu/fixed_point.hpp>
#include <subbit/backend/gpu/packed_product.hpp>

#include <cstdint>

namespace subbit::gpu {

/// One vector, scaled as it is read: pre o x.
template <class In, class Real>
struct scaled_row {
    const In* x;
    index stride;
    index size;
    const Real* pre;

    SUBBIT_KERNEL scaled_row(const packed_part<In, Real>& part, index token)
        : x(part.X.row(token)), stride(part.X.col_stride), size(part.X.cols), pre(part.pre) {}

    SUBBIT_KERNEL Real operator[](index j) const {
        const Real value = static_cast<Real>(x[j * stride]);
        return pre != nullptr ? value * pre[j] : value;
    }
};

/// The factors of a vector; every thread of the block gets them.
template <class Block, class In, class Real>
SUBBIT_KERNEL fixed_scale<Real> find_scale(Block& block, const scaled_row<In, Real>& v) {
    typename fixed_point<Real>::pattern largest = 0;
    for (index j = block.thread(); j < v.size; j += block.threads()) {
        const auto p = magnitude_pattern(v[j]);
        largest = largest < p ? p : largest;
    }
    return fixed_scale_of<Real>(block.reduce(largest, maximum{}));
}

/// Writes the digits of entries [begin, end), begin a multiple of a step, to columns of `words`, `stride` words from
/// one digit to the next, and adds this thread's part of each digit's sum to sums[d]. Entries beyond the last are zero.
template <class Block, class In, class Real>
SUBBIT_KERNEL void write_digits(const Block& block, const scaled_row<In, Real>& v, index begin, index end,
                                Real to_integer, std::uint32_t* words, index stride, std::int32_t* sums) {
    constexpr int digits = fixed_point<Real>::digits;
    const index count = digit_layout::words(end - begin);
    for (index w = block.thread(); w < count; w += block.threads()) {
        std::uint32_t out[digits] = {};
        for (int i = 0; i < 4; ++i) {
            const index j = begin + digit_layout::first_entry(w) + 8 * i;
            const auto bytes = j < v.size ? to_digits(v[j], to_integer) : 0;
            for (int d = 0; d < digits; ++d)
                out[d] |= static_cast<std::uint32_t>(bytes >> 8 * d & 255u) << 8 * i;
        }
        for (int d = 0; d < digits; ++d) {
            words[d * stride + w] = out[d];
            sums[d] += byte_sum(block, out[d]);
        }
    }
}

/// Makes the digits of one part for each job, a block for each token.
template <class In, class Real>
struct digits_kernel {
    struct job {
        packed_part<In, Real> part;
        std::uint32_t* words;
        std::int32_t* sums;
        Real* to_real;
    };
    job jobs[outputs_at_once * max_paths];
    index tokens;

    template <class Block>
    SUBBIT_KERNEL void operator()(Block& block) const {
        constexpr int digits = fixed_point<Real>::digits;
        const job& mine = jobs[block.index() / tokens];
        const index token = block.index() % tokens, first_column = token / 8 * 8 * digits + token % 8;
        const scaled_row<In, Real> v(mine.part, token);
        const fixed_scale<Real> scale = find_scale(block, v);
        const index words = digit_layout::words(v.size);
        std::int32_t sums[digits] = {};
        write_digits(block, v, 0, v.size, scale.to_integer, mine.words + first_column * words, 8 * words, sums);
        for (int d = 0; d < digits; ++d) {
            const std::int32_t sum = block.sum(sums[d]);
            if (block.thread() == 0) mine.sums[first_column + 8 * d] = sum;
        }
        if (block.thread() == 0) mine.to_real[token] = scale.to_real;
    }
};

}  // namespace subbit::gpu
