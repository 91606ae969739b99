// Sign matrices in the device's memory.
#pragma once

#include <subbit/backend/gpu/backend.hpp>
#include <subbit/backend/gpu/block.hpp>
#include <subbit/backend/gpu/memory.hpp>
#include <subbit/bits/bit_matrix.hpp>

#include <cstdint>
#include <vector>

namespace subbit {

namespace gpu {

/// The owner of a sign matrix on a device, in the one packed layout (bit_view.hpp); its view points to the device.
template <class Device>
class device_bits {
  public:
    device_bits() = default;
    /// Not initialized.
    device_bits(const Device& device, index rows, index cols)
        : words_(device, bit_layout::word_count(rows, cols)), rows_(rows), cols_(cols) {}

    index rows() const { return rows_; }
    index cols() const { return cols_; }
    std::uint32_t* words() { return words_.data(); }
    std::size_t bytes() const { return words_.bytes(); }
    bit_view view() const { return {words_.data(), rows_, cols_}; }
    transposed_bit_view t() const { return view().t(); }

  private:
    buffer<Device, std::uint32_t> words_;
    index rows_ = 0, cols_ = 0;
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

/// Of a part of a model that may be the host's or on the device: the device's, as it is or as a copy.
template <class Device>
class bits_on_device {
  public:
    bits_on_device(const gpu_backend<Device>& b, bit_view bits) : view_(bits) {
        if (bits.word_count() == 0 || b.device().owns(bits.words())) return;
        copy_ = device_bits<Device>(b.device(), bits.rows(), bits.cols());
        b.device().copy_to_device(copy_.words(), bits.words(), copy_.bytes());
        view_ = copy_.view();
    }
    bit_view view() const { return view_; }

  private:
    device_bits<Device> copy_;
    bit_view view_;
};

}  // namespace gpu

/// A copy of a host's sign matrix in the device's memory.
template <class Device>
gpu::device_bits<Device> upload_bits(const gpu_backend<Device>& b, bit_view bits) {
    gpu::device_bits<Device> copy(b.device(), bits.rows(), bits.cols());
    b.device().copy_to_device(copy.words(), bits.words(), copy.bytes());
    return copy;
}

/// A copy of a device's sign matrix in the host's memory. Throws format_error where a bit of its padding is set.
template <class Device>
bit_matrix download_bits(const gpu_backend<Device>& b, const gpu::device_bits<Device>& bits) {
    std::vector<std::uint32_t> words(static_cast<std::size_t>(bits.view().word_count()));
    b.device().copy_to_host(words.data(), bits.view().words(), bits.bytes());
    return bit_matrix::from_words(bits.rows(), bits.cols(), words);
}

/// The transpose of a sign matrix on the device, as one there.
template <class Device>
gpu::device_bits<Device> transpose_bits(const gpu_backend<Device>& b, bit_view in) {
    gpu::device_bits<Device> out(b.device(), in.cols(), in.rows());
    const index squares = in.col_groups() * ((in.row_groups() + 1) / 2);
    if (squares > 0) b.launch(gpu::cover_by_warps(squares), gpu::transpose_bits_kernel{in, out.words()});
    return out;
}

}  // namespace subbit
