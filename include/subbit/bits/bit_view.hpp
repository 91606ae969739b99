// The packed layout of a sign matrix, which memory, files and all kernels share.
//
// Tiles of 16 rows x 32 columns are stored row group by row group. A tile is 16 words of 32 bits, one word a row: one
// cache line. A kernel that keeps 16 rows in the lanes of a register loads a whole tile, one that follows a row reads
// every 16th word, and a transpose moves whole tiles. A set bit is +1; the bits of the padding are zero.
#pragma once

#include <subbit/core/error.hpp>
#include <subbit/core/matrix.hpp>

#include <cstdint>
#include <span>
#include <type_traits>

namespace subbit {

/// The constants and the address arithmetic of the tiled layout.
struct bit_layout {
    static constexpr index tile_rows = 16;
    static constexpr index tile_cols = 32;

    static constexpr index row_groups(index rows) { return (rows + tile_rows - 1) / tile_rows; }
    static constexpr index col_groups(index cols) { return (cols + tile_cols - 1) / tile_cols; }
    /// 32-bit words that a rows x cols matrix takes.
    static constexpr index word_count(index rows, index cols) {
        return row_groups(rows) * col_groups(cols) * tile_rows;
    }
    /// The index of the word of row i and columns 32*col_group.. in a matrix of `groups` column groups.
    static constexpr index word_index(index i, index col_group, index groups) {
        return (i / tile_rows * groups + col_group) * tile_rows + i % tile_rows;
    }
};

class transposed_bit_view;

/// A view of a rows x cols matrix of signs; trivially copyable, so it can be a kernel's argument on any device.
class bit_view {
  public:
    constexpr bit_view() = default;
    constexpr bit_view(const std::uint32_t* words, index rows, index cols) : words_(words), rows_(rows), cols_(cols) {}

    /// A view of words in any memory, for instance in a mapped file; the memory must outlive it. Throws shape_error
    /// unless their number is that of a rows x cols matrix. The bits of the padding may have any value.
    static bit_view over(std::span<const std::uint32_t> words, index rows, index cols) {
        if (rows < 0 || cols < 0) throw shape_error("bit matrix of " + shape_text(rows, cols));
        require_size("bit matrix", std::ssize(words), bit_layout::word_count(rows, cols));
        return {words.data(), rows, cols};
    }

    constexpr index rows() const { return rows_; }
    constexpr index cols() const { return cols_; }
    constexpr const std::uint32_t* words() const { return words_; }
    constexpr index row_groups() const { return bit_layout::row_groups(rows_); }
    constexpr index col_groups() const { return bit_layout::col_groups(cols_); }
    constexpr index word_count() const { return bit_layout::word_count(rows_, cols_); }

    /// The 16 words of the tile that holds rows 16*row_group.. and columns 32*col_group..
    constexpr const std::uint32_t* tile(index row_group, index col_group) const {
        return words_ + (row_group * col_groups() + col_group) * bit_layout::tile_rows;
    }
    /// The word that holds row i of columns 32*col_group..
    constexpr std::uint32_t word(index i, index col_group) const {
        return words_[bit_layout::word_index(i, col_group, col_groups())];
    }
    /// True where the entry is +1.
    constexpr bool test(index i, index j) const {
        return (word(i, j / bit_layout::tile_cols) >> (j % bit_layout::tile_cols) & 1u) != 0;
    }
    /// The entry: +1 or -1.
    constexpr int get(index i, index j) const { return test(i, j) ? 1 : -1; }

    constexpr transposed_bit_view t() const;
    /// The entries as a dense matrix of +1 and -1 (bit_matrix.hpp).
    template <class Scalar>
    matrix<Scalar> unpack() const;

  private:
    const std::uint32_t* words_ = nullptr;
    index rows_ = 0;
    index cols_ = 0;
};

/// The transpose of a bit_view: the same words, with rows and columns exchanged.
class transposed_bit_view {
  public:
    constexpr transposed_bit_view() = default;
    constexpr explicit transposed_bit_view(bit_view base) : base_(base) {}

    constexpr index rows() const { return base_.cols(); }
    constexpr index cols() const { return base_.rows(); }
    constexpr int get(index i, index j) const { return base_.get(j, i); }
    constexpr bit_view t() const { return base_; }

  private:
    bit_view base_;
};

constexpr transposed_bit_view bit_view::t() const {
    return transposed_bit_view(*this);
}

static_assert(std::is_trivially_copyable_v<bit_view> && std::is_trivially_copyable_v<transposed_bit_view>);

}  // namespace subbit
