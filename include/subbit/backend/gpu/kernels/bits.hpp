// Packed signs on a device: packing, unpacking, and views whose words may lie on either side.
#pragma once

#include <subbit/backend/gpu/backend.hpp>
#include <subbit/backend/gpu/device/block.hpp>
#include <subbit/bits/bit_matrix.hpp>

#include <cstdint>
#include <vector>

namespace subbit {

namespace gpu {

/// A view whose words are the device's: `bits` itself where they are already, or else a copy that this owns.
template <class Device>
class device_bits {
  public:
    device_bits(const gpu_backend<Device>& b, bit_view bits) : view_(bits) {
        if (bits.word_count() == 0 || b.device().owns(bits.words())) return;
        copy_ = b.template scratch<std::uint32_t>(bits.word_count());
        b.device().copy_to_device(copy_.data(), bits.words(), copy_.bytes());
        view_ = {copy_.data(), bits.rows(), bits.cols()};
    }
    device_bits(const device_bits&) = delete;
    device_bits& operator=(const device_bits&) = delete;

    bit_view view() const { return view_; }

  private:
    buffer<Device, std::uint32_t> copy_;
    bit_view view_;
};

/// Packs what f(i, j) >= 0 says, a warp for each word. The padding's words must be zero before.
template <class S>
struct pack_words {
    matrix_view<const S> X;
    std::uint32_t* words;

    template <class Block>
    SUBBIT_KERNEL void operator()(Block& block) const {
        const index groups = bit_layout::col_groups(X.cols);
        for_each_warp(block, X.rows * groups, [&](index item) {
            const auto [i, g] = place_of(item, groups);
            const index j = g * bit_layout::tile_cols + block.lane();
            const std::uint32_t word = block.ballot(j < X.cols && X(i, j) >= S(0));
            if (block.lane() == 0) words[bit_layout::word_index(i, g, groups)] = word;
        });
    }
};

/// The transpose of a sign matrix: a warp turns 32 x 32 signs over, two tiles on either side, each lane a row of 32. In
/// each of five steps the off-diagonal blocks of every diagonal block change places.
struct transpose_bits_kernel {
    bit_view in;
    std::uint32_t* out;

    template <class Block>
    SUBBIT_KERNEL void operator()(Block& block) const {
        const index across = in.col_groups(), down = (in.row_groups() + 1) / 2;
        const index out_row_groups = bit_layout::row_groups(in.cols());
        for_each_warp(block, across * down, [&](index square) {
            const index g = square / across, c = square % across;
            const index half = block.lane() / 16, row = block.lane() % 16;
            std::uint32_t word = 2 * g + half < in.row_groups() ? in.tile(2 * g + half, c)[row] : 0u;
            for (int width = 16; width > 0; width /= 2) {
                const std::uint32_t low = 0xffffffffu / ((1u << width) + 1);  // the first half of every 2 width bits
                const std::uint32_t other = block.shuffle_xor(word, width);
                word = (block.lane() & width) == 0 ? (word & low) | (other & low) << width
                                                   : (word & ~low) | (other >> width & low);
            }
            if (2 * c + half < out_row_groups) out[((2 * c + half) * down + g) * bit_layout::tile_rows + row] = word;
        });
    }
};

/// Words from the device as a matrix of the host.
template <class Device>
bit_matrix download_bits(const gpu_backend<Device>& b, const std::uint32_t* words, index rows, index cols) {
    std::vector<std::uint32_t> host(static_cast<std::size_t>(bit_layout::word_count(rows, cols)));
    b.device().copy_to_host(host.data(), words, host.size() * sizeof(std::uint32_t));
    return bit_matrix::from_words(rows, cols, host);
}

/// A copy of a sign matrix in the device's memory.
template <class Device>
device_bit_matrix<Device> upload_bits(const gpu_backend<Device>& b, bit_view bits) {
    auto copy = device_bit_matrix<Device>::uncleared(b.device(), bits.rows(), bits.cols());
    b.device().copy_to_device(copy.words().data(), bits.words(),
                              static_cast<std::size_t>(bits.word_count()) * sizeof(std::uint32_t));
    return copy;
}

/// The transpose of a sign matrix on the device, as one there.
template <class Device>
device_bit_matrix<Device> transpose_bits(const gpu_backend<Device>& b, bit_view in) {
    auto out = device_bit_matrix<Device>::uncleared(b.device(), in.cols(), in.rows());
    const index squares = in.col_groups() * ((in.row_groups() + 1) / 2);
    if (squares > 0) b.launch(cover_by_warps(squares), transpose_bits_kernel{in, out.words().data()});
    return out;
}

/// The words of X's signs, zero in the padding, as a matrix of the device's memory.
template <class Device, class S>
void pack_on_device(const gpu_backend<Device>& b, matrix_view<const S> X, device_bit_matrix<Device>& bits) {
    if (bits.rows() != X.rows || bits.cols() != X.cols) bits = device_bit_matrix<Device>(b.device(), X.rows, X.cols);
    if (X.size() == 0) return;
    b.launch(cover_by_warps(X.rows * bit_layout::col_groups(X.cols)), pack_words<S>{X, bits.words().data()});
}

}  // namespace gpu

}  // namespace subbit
