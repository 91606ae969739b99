// The digits of vectors (fixed_point.hpp), made for all tokens of a launch before it.
//
// A thread holds its share of a vector in registers, so that x is read once, for the largest magnitude and for the
// digits, unless the vector is longer than all threads hold together. The loads of a share are straight code and none
// waits for another: one latency of the memory, not one for each.
#pragma once

#include <subbit/backend/gpu/device/block.hpp>
#include <subbit/backend/gpu/device/instructions.hpp>
#include <subbit/backend/gpu/kernels/fours.hpp>
#include <subbit/backend/gpu/packed/fixed_point.hpp>
#include <subbit/backend/gpu/packed/product.hpp>

#include <cstddef>
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
    /// True where x and pre can be read by fours.
    SUBBIT_KERNEL bool in_fours() const { return stride == 1 && size % 4 == 0 && holds_fours(x) && holds_fours(pre); }
};

/// One thread's work on the digits of a vector, of `Threads` threads that have it to do together.
///
/// Unit u of a vector is words 4u .. 4u + 3 of each of its columns of digits, 16 entries: by digit_layout the four
/// words' lowest bytes are neighbours, and their other bytes are 8, 16 and 24 entries later. A thread has `Units` units
/// at a time, which are read before anything waits for one of them.
template <class In, class Real, int Threads, int Units>
class digit_maker {
  public:
    using pattern = typename fixed_point<Real>::pattern;
    static constexpr int digits = fixed_point<Real>::digits, warps = Threads / warp_size;
    static constexpr index unit_words = 4;

    /// Of a vector of n entries.
    static constexpr int units(index n) { return static_cast<int>(digit_layout::words(n) / unit_words); }

    SUBBIT_KERNEL digit_maker(int thread, const scaled_row<In, Real>& v)
        : thread_(thread), units_(units(v.size)), in_fours_(v.in_fours()), v_(v) {}

    /// Finds the scale; `of_warps` is shared memory for a pattern for each warp. Until the kernel before this one is
    /// done, only factors are read.
    template <class Block>
    SUBBIT_KERNEL void find_scale(Block& block, pattern* of_warps) {
        pattern largest = 0;
        read_factors(0);
        wait_for_predecessor(block);
        for (int first = 0; first < units_; first += at_once) {
            if (first > 0) read_factors(first);
            read_entries(first);
            SUBBIT_UNROLL
            for (int e = 0; e < Units * 16; ++e)
                largest = maximum{}(largest, magnitude_pattern(values_[e / 16][e / 4 % 4].at[e % 4]));
        }
        largest = block.warp_reduce(largest, maximum{});
        if (block.lane() == 0) of_warps[block.warp()] = largest;
        block.sync();
        SUBBIT_UNROLL
        for (int w = 0; w < warps; ++w)
            largest = maximum{}(largest, of_warps[w]);
        scale_ = fixed_scale_of<Real>(largest);
    }

    /// Writes all digits: digit d to words + d * digit_stride.
    template <class Block>
    SUBBIT_KERNEL void write_digits(const Block& block, std::uint32_t* words, index digit_stride) {
        for (int first = 0; first < units_; first += at_once) {
            if (units_ > at_once) {  // else they are here since find_scale()
                read_factors(first);
                read_entries(first);
            }
            SUBBIT_UNROLL
            for (int u = 0; u < Units; ++u)
                if (const int unit = first + u * Threads + thread_; unit < units_)
                    write_unit(block, u, words + unit * unit_words, digit_stride);
        }
    }

    /// of_warps[warp * digits + d] = the warp's share of the sum of digit d.
    template <class Block>
    SUBBIT_KERNEL void write_sums(Block& block, std::int32_t* of_warps) const {
        SUBBIT_UNROLL
        for (int d = 0; d < digits; ++d) {
            const std::int32_t sum = block.warp_sum(sums_[d]);
            if (block.lane() == 0) of_warps[block.warp() * digits + d] = sum;
        }
    }
    SUBBIT_KERNEL Real to_real() const { return scale_.to_real; }

  private:
    static constexpr int at_once = Threads * Units;

    template <class T>
    using numbers = four<T>[Units][4];  ///< entries 0.., 8.., 16.. and 24.. of each unit

    SUBBIT_KERNEL void read_factors(int first) {
        if (v_.pre != nullptr) return read(v_.pre, 1, first, factors_);
        SUBBIT_UNROLL
        for (int e = 0; e < Units * 16; ++e)
            factors_[e / 16][e / 4 % 4].at[e % 4] = 1;
    }
    /// Reads entries, and scales them by the factors that were read last.
    SUBBIT_KERNEL void read_entries(int first) {
        numbers<In> x;
        read(v_.x, v_.stride, first, x);
        SUBBIT_UNROLL
        for (int e = 0; e < Units * 16; ++e)
            values_[e / 16][e / 4 % 4].at[e % 4] =
                static_cast<Real>(x[e / 16][e / 4 % 4].at[e % 4]) * factors_[e / 16][e / 4 % 4].at[e % 4];
    }
    /// Zeros where there are no more entries.
    template <class T>
    SUBBIT_KERNEL void read(const T* from, index stride, int first, numbers<T>& to) const {
        const int size = static_cast<int>(v_.size);
        // `first` is a multiple of a step's 8 units.
        const int entry = first * 16 + static_cast<int>(digit_layout::first_entry(thread_ * unit_words));
        SUBBIT_UNROLL
        for (int f = 0; f < Units * 4; ++f)
            to[f / 4][f % 4] = {};
        if (in_fours_) {
            SUBBIT_UNROLL
            for (int f = 0; f < Units * 4; ++f)
                if (const int j = entry + f / 4 * Threads * 16 + f % 4 * 8; j < size)
                    to[f / 4][f % 4] = *reinterpret_cast<const four<T>*>(from + j);
        } else {
            SUBBIT_UNROLL
            for (int e = 0; e < Units * 16; ++e)
                if (const int j = entry + e / 16 * Threads * 16 + e / 4 % 4 * 8 + e % 4; j < size)
                    to[e / 16][e / 4 % 4].at[e % 4] = from[j * stride];
        }
    }

    template <class Block>
    SUBBIT_KERNEL void write_unit(const Block& block, int u, std::uint32_t* words, index digit_stride) {
        digit_words out[digits] = {};
        SUBBIT_UNROLL
        for (int e = 0; e < 16; ++e) {
            const pattern bytes = to_digits(values_[u][e / 4].at[e % 4], scale_.to_integer);
            SUBBIT_UNROLL
            for (int d = 0; d < digits; ++d)
                out[d].word[e % 4] |= static_cast<std::uint32_t>(bytes >> 8 * d & 255u) << e / 4 * 8;
        }
        SUBBIT_UNROLL
        for (int d = 0; d < digits; ++d) {
            *reinterpret_cast<digit_words*>(words + d * digit_stride) = out[d];
            SUBBIT_UNROLL
            for (int k = 0; k < 4; ++k)
                sums_[d] += byte_sum(block, out[d].word[k]);
        }
    }

    int thread_, units_;
    bool in_fours_;
    scaled_row<In, Real> v_;
    numbers<Real> factors_;
    numbers<Real> values_;
    fixed_scale<Real> scale_;
    std::int32_t sums_[digits] = {};
};

/// A part, and where its digits, their sums and the scales of its vectors go.
template <class In, class Real>
struct digits_job {
    packed_part<In, Real> part;
    std::uint32_t* words;
    std::int32_t* sums;
    Real* to_real;
};

/// Makes the digits of one part for each job, a block for each token.
template <class In, class Real>
struct digits_kernel {
    static constexpr int threads = 256, most_threads = threads;
    static constexpr bool overlaps = true;
    using maker = digit_maker<In, Real, threads, sizeof(Real) == 4 ? 2 : 1>;
    static constexpr int digits = maker::digits;

    static constexpr std::size_t shared_bytes = maker::warps * (sizeof(typename maker::pattern) + 4 * digits);

    using job = digits_job<In, Real>;
    job jobs[outputs_at_once * max_paths];
    index tokens;

    template <class Block>
    SUBBIT_KERNEL void operator()(Block& block) const {
        const job& mine = jobs[block.index() / tokens];
        const index token = block.index() % tokens, first_column = token / 8 * 8 * digits + token % 8;
        auto* const largest = block.template shared<typename maker::pattern>(maker::warps);
        std::int32_t* const sums = block.template shared<std::int32_t>(maker::warps * digits);
        const scaled_row<In, Real> v(mine.part, token);
        const index words = digit_layout::words(v.size);
        maker make(block.thread(), v);
        make.find_scale(block, largest);
        make.write_digits(block, mine.words + first_column * words, 8 * words);
        make.write_sums(block, sums);
        block.sync();
        if (block.thread() < digits) {
            std::int32_t sum = 0;
            for (int w = 0; w < maker::warps; ++w)
                sum += sums[w * digits + block.thread()];
            mine.sums[first_column + 8 * block.thread()] = sum;
        }
        if (block.thread() == 0) mine.to_real[token] = make.to_real();
    }
};

}  // namespace subbit::gpu
