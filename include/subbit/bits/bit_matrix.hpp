// The owner of a packed sign matrix.
#pragma once

#include <subbit/bits/bit_view.hpp>
#include <subbit/core/error.hpp>
#include <subbit/core/memory.hpp>
#include <subbit/core/types.hpp>

#include <xsimd/xsimd.hpp>

#include <algorithm>
#include <array>
#include <cstdint>
#include <cstring>
#include <span>
#include <string>
#include <utility>
#include <vector>

namespace subbit {

namespace detail {

inline void copy_words(std::span<const std::uint32_t> from, std::uint32_t* to) {
    std::copy(from.begin(), from.end(), to);
}

}  // namespace detail

/// A rows x cols matrix of +1 and -1, one bit an entry, in the layout of bit_view.hpp; at first all entries are -1.
class bit_matrix {
  public:
    using allocator = streaming_allocator<std::uint32_t>;

    bit_matrix() = default;
    /// Throws shape_error for a negative size.
    bit_matrix(index rows, index cols) : bit_matrix(rows, cols, allocator()) {
        std::fill(words_.begin(), words_.end(), 0U);
    }

    /// Takes over stored words, into an arena where `memory` is one's. copy(from, to) writes the span `from` to `to`,
    /// perhaps by several threads. Throws shape_error unless their number is that of a rows x cols matrix,
    /// format_error if a bit of the padding is set.
    template <class Copy>
    static bit_matrix from_words(index rows, index cols, std::span<const std::uint32_t> words, allocator memory,
                                 Copy&& copy) {
        bit_matrix m(rows, cols, memory);
        require_size("bit matrix", std::ssize(words), m.word_count());
        copy(words, m.words_.data());
        m.require_clear_padding();
        return m;
    }
    static bit_matrix from_words(index rows, index cols, std::span<const std::uint32_t> words) {
        return from_words(rows, cols, words, {}, detail::copy_words);
    }

    /// The signs of W, with sign(0) = +1 and sign(NaN) = -1.
    template <class T>
    static bit_matrix pack(matrix_view<T> W);
    template <class Derived>
    static bit_matrix pack(const Eigen::DenseBase<Derived>& W) {
        return pack(subbit::view(W));
    }

    index rows() const { return rows_; }
    index cols() const { return cols_; }
    index word_count() const { return static_cast<index>(words_.size()); }
    std::span<const std::uint32_t> words() const { return words_; }
    /// To be written as a whole; bits of the padding must be zero.
    std::span<std::uint32_t> words() { return words_; }
    bit_view view() const { return {words_.data(), rows_, cols_}; }
    operator bit_view() const { return view(); }
    transposed_bit_view t() const { return view().t(); }

    int get(index i, index j) const { return view().get(i, j); }
    /// Sets entry (i,j) to +1 (positive) or -1.
    void set(index i, index j, bool positive) {
        const std::uint32_t bit = 1u << (j % bit_layout::tile_cols);
        std::uint32_t& w = tile(i / bit_layout::tile_rows, j / bit_layout::tile_cols)[i % bit_layout::tile_rows];
        w = positive ? w | bit : w & ~bit;
    }

    /// Moves the words to the end of `arena`, which must outlive this matrix.
    void move_to(streaming_arena& arena) {
        decltype(words_) moved(words_.size(), allocator(arena));
        std::copy(words_.begin(), words_.end(), moved.begin());
        words_ = std::move(moved);
    }

    /// Sets the 32 entries of row i that begin at column 32*col_group; bits beyond the last column must be zero.
    void set_word(index i, index col_group, std::uint32_t word) {
        words_[static_cast<std::size_t>(bit_layout::word_index(i, col_group, bit_layout::col_groups(cols_)))] = word;
    }

    /// Sets rows [begin, end) to the signs of the same rows of W, which has this matrix's shape.
    template <class T>
    void set_rows(matrix_view<T> W, index begin, index end);

    bit_matrix transpose() const;
    template <class Scalar>
    matrix<Scalar> unpack() const {
        return view().template unpack<Scalar>();
    }

    friend bool operator==(const bit_matrix& a, const bit_matrix& b) {
        return a.rows_ == b.rows_ && a.cols_ == b.cols_ && a.words_ == b.words_;
    }

  private:
    /// With words of any value.
    bit_matrix(index rows, index cols, allocator memory) : rows_(rows), cols_(cols), words_(memory) {
        if (rows < 0 || cols < 0) throw shape_error("bit matrix of " + shape_text(rows, cols));
        words_.resize(static_cast<std::size_t>(bit_layout::word_count(rows, cols)));
    }

    std::uint32_t* tile(index row_group, index col_group) {
        return words_.data() + (row_group * bit_layout::col_groups(cols_) + col_group) * bit_layout::tile_rows;
    }

    void require_clear_padding() const {
        const bit_view v = view();
        const index tail = cols_ % bit_layout::tile_cols;
        const std::uint32_t used = tail == 0 ? ~0u : (1u << tail) - 1;
        const index last = v.col_groups() - 1;
        for (index i = tail == 0 ? rows_ : 0; i < v.row_groups() * bit_layout::tile_rows; ++i)
            for (index g = i < rows_ ? last : 0; g <= last; ++g) {
                const std::uint32_t allowed = i < rows_ ? used : 0u;
                if ((v.word(i, g) & ~allowed) != 0)
                    throw format_error("bit matrix of " + shape_text(rows_, cols_) + ": a padding bit of row " +
                                       std::to_string(i) + " is set, expected 0");
            }
    }

    index rows_ = 0;
    index cols_ = 0;
    std::vector<std::uint32_t, allocator> words_;
};

namespace detail {

/// The signs of 32 adjacent numbers as one word. The trick: the bits' weights are selected and summed as numbers,
/// 16 at a time, so that every sum is exact and the loop vectorizes.
template <class Scalar, class Simd = xsimd::default_arch>
std::uint32_t pack_word(const Scalar* x) {
    using batch = xsimd::batch<Scalar, Simd>;
    static_assert(batch::size <= 16);
    static constexpr std::array<Scalar, 16> weights = [] {
        std::array<Scalar, 16> w{};
        for (std::size_t j = 0; j < 16; ++j)
            w[j] = static_cast<Scalar>(1u << j);
        return w;
    }();
    std::uint32_t word = 0;
    for (unsigned half = 0; half < 32; half += 16) {
        batch sum(Scalar(0));
        for (std::size_t j = 0; j < 16; j += batch::size)
            sum += xsimd::select(batch::load_unaligned(x + half + j) >= batch(Scalar(0)),
                                 batch::load_unaligned(weights.data() + j), batch(Scalar(0)));
        word |= static_cast<std::uint32_t>(xsimd::hadd(sum)) << half;
    }
    return word;
}

/// The four signs of each nibble.
template <class Scalar>
constexpr std::array<std::array<Scalar, 4>, 16> nibble_signs = [] {
    std::array<std::array<Scalar, 4>, 16> t{};
    for (std::size_t e = 0; e < 16; ++e)
        for (std::size_t j = 0; j < 4; ++j)
            t[e][j] = (e >> j & 1u) != 0 ? Scalar(1) : Scalar(-1);
    return t;
}();

/// Swaps the off-diagonal blocks of Width x Width bits in every diagonal block of twice that size; `low` has the first
/// half of the bits of each.
template <unsigned Width>
void swap_blocks(std::array<std::uint32_t, 32>& w, std::uint32_t low) {
    for (unsigned first = 0; first < 32; first += 2 * Width)
        for (unsigned i = first; i < first + Width; ++i) {
            const std::uint32_t swap = ((w[i] >> Width) ^ w[i + Width]) & low;
            w[i] ^= swap << Width;
            w[i + Width] ^= swap;
        }
}

/// Transposes 32 x 32 bits in place: word i, bit j <-> word j, bit i.
inline void transpose_32x32(std::array<std::uint32_t, 32>& w) {
    swap_blocks<16>(w, 0x0000FFFFU);
    swap_blocks<8>(w, 0x00FF00FFU);
    swap_blocks<4>(w, 0x0F0F0F0FU);
    swap_blocks<2>(w, 0x33333333U);
    swap_blocks<1>(w, 0x55555555U);
}

}  // namespace detail

template <class T>
bit_matrix bit_matrix::pack(matrix_view<T> W) {
    bit_matrix m(W.rows, W.cols);
    if (m.words_.empty()) return m;
    // A column-major source is read along its columns: its transpose is packed, then transposed.
    if (!W.is_row_major() && W.row_stride == 1) return pack(W.t()).transpose();
    m.set_rows(W, 0, W.rows);
    return m;
}

template <class T>
void bit_matrix::set_rows(matrix_view<T> W, index begin, index end) {
    using Scalar = std::remove_const_t<T>;
    constexpr index width = bit_layout::tile_cols;
    const index full = W.is_row_major() ? W.cols / width : 0;
    for (index i = begin; i < end; ++i) {
        std::uint32_t* out = tile(i / bit_layout::tile_rows, 0) + i % bit_layout::tile_rows;
        index j = 0;
        for (; j < full * width; j += width, out += bit_layout::tile_rows)
            *out = detail::pack_word(W.row(i) + j);
        for (; j < W.cols; out += bit_layout::tile_rows) {
            std::uint32_t word = 0;
            for (index bit = 0; bit < width && j < W.cols; ++bit, ++j)
                word |= static_cast<std::uint32_t>(W(i, j) >= Scalar(0)) << bit;
            *out = word;
        }
    }
}

/// Writes the entries as +1 and -1 to W, which has the shape of `bits`; throws shape_error.
template <class Scalar>
void unpack_into(bit_view bits, matrix_view<Scalar> W) {
    require_shape("unpack", W.rows, W.cols, bits.rows(), bits.cols());
    for (index i = 0; i < W.rows; ++i) {
        index j = 0;
        if (W.is_row_major()) {
            Scalar* row = W.row(i);
            for (index g = 0; g < W.cols / bit_layout::tile_cols; ++g) {
                std::uint32_t word = bits.word(i, g);
                for (int nibble = 0; nibble < 8; ++nibble, j += 4, word >>= 4)
                    std::memcpy(row + j, detail::nibble_signs<Scalar>[word & 15u].data(), 4 * sizeof(Scalar));
            }
        }
        for (; j < W.cols; ++j)
            W(i, j) = static_cast<Scalar>(bits.get(i, j));
    }
}

template <class Scalar>
matrix<Scalar> bit_view::unpack() const {
    matrix<Scalar> W(rows_, cols_);
    unpack_into(*this, subbit::view(W));
    return W;
}

/// Writes row groups [begin, end) of the transpose of `in` to `words`; `begin` is even.
inline void transpose_groups(bit_view in, index begin, index end, std::uint32_t* words) {
    const index out_col_groups = bit_layout::col_groups(in.rows());
    // 32 x 32 bits are two tiles, one below the other, in both matrices; beyond the last row group there are zeros.
    for (index g = begin / 2; 2 * g < end; ++g)
        for (index pair = 0; pair < out_col_groups; ++pair) {
            std::array<std::uint32_t, 32> w{};
            for (index half = 0; half < 2 && 2 * pair + half < in.row_groups(); ++half)
                std::copy_n(in.tile(2 * pair + half, g), 16, w.begin() + 16 * half);
            detail::transpose_32x32(w);
            for (index half = 0; half < 2 && 2 * g + half < end; ++half)
                std::copy_n(w.begin() + 16 * half, 16, words + ((2 * g + half - begin) * out_col_groups + pair) * 16);
        }
}

inline bit_matrix bit_matrix::transpose() const {
    bit_matrix out(cols_, rows_);
    transpose_groups(view(), 0, bit_layout::row_groups(cols_), out.words_.data());
    return out;
}

}  // namespace subbit
