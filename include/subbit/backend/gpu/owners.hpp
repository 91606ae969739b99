// Owners in a device's memory for types that are made for any memory (memory_operations.hpp).
#pragma once

#include <subbit/backend/gpu/bits.hpp>
#include <subbit/backend/gpu/elementwise.hpp>
#include <subbit/backend/gpu/transfer.hpp>
#include <subbit/backend/memory_operations.hpp>
#include <subbit/bits/bit_matrix.hpp>

#include <algorithm>
#include <cstdint>
#include <span>

namespace subbit {

namespace gpu {

template <class S>
struct set_entry {
    matrix_view<S> X;
    S value;

    SUBBIT_KERNEL void operator()(index i, index j) const { X(i, j) = value; }
};

/// A few numbers that travel with the launch: nobody waits until they are copied.
template <class T>
struct store_numbers {
    static constexpr index most = 2048 / sizeof(T);

    T numbers[most];
    index count;
    T* to;

    template <class Block>
    SUBBIT_KERNEL void operator()(Block& block) const {
        for_each_thread(block, count, [&](index i) { to[i] = numbers[i]; });
    }
};

/// The words of X's signs, zero in the padding, as a matrix of the device's memory.
template <class Device, class S>
void pack_on_device(const gpu_backend<Device>& b, matrix_view<const S> X, device_bit_matrix<Device>& bits) {
    if (bits.rows() != X.rows || bits.cols() != X.cols) bits = device_bit_matrix<Device>(b.device(), X.rows, X.cols);
    if (X.size() == 0) return;
    b.launch(cover_by_warps(X.rows * bit_layout::col_groups(X.cols)), pack_words<S>{X, bits.words()});
}

}  // namespace gpu

template <class Device, class S>
void do_reshape(gpu_tag, const gpu_backend<Device>& b, gpu::device_matrix<Device, S>& X, index rows, index cols) {
    if (X.reshape(b.device(), rows, cols)) b.note_move();
}

template <class Device, class S>
void do_reshape(gpu_tag, const gpu_backend<Device>& b, gpu::device_vector<Device, S>& x, index n) {
    if (x.reshape(b.device(), n)) b.note_move();
}

template <class B, class S>
void do_fill(gpu_tag, const B& b, S value, matrix_view<S> X) {
    gpu::for_entries<gpu::set_entry<S>>(b, X, value);
}

template <class Device, class S>
void do_take_bits(gpu_tag, const gpu_backend<Device>& b, matrix_view<const S> X, gpu::device_bit_matrix<Device>& bits) {
    gpu::pack_on_device(b, X, bits);
}

template <class Device, class S>
void do_write_entries(gpu_tag, const gpu_backend<Device>& b, std::span<const S> host, std::span<S> entries) {
    using kernel = gpu::store_numbers<S>;
    if (std::ssize(host) > 4 * kernel::most)
        return b.device().copy_to_device(entries.data(), host.data(), host.size_bytes());
    for (index first = 0; first < std::ssize(host); first += kernel::most) {
        kernel k{{}, std::min(kernel::most, std::ssize(host) - first), entries.data() + first};
        std::copy_n(host.data() + first, k.count, k.numbers);
        b.launch(gpu::cover(k.count), k);
    }
}

template <class Device, class S>
auto do_to_backend(gpu_tag tag, const gpu_backend<Device>& b, const matrix<S>& host) {
    return do_upload(tag, b, const_view(host));
}
template <class Device, class S>
auto do_to_backend(gpu_tag tag, const gpu_backend<Device>& b, const vector<S>& host) {
    return do_upload_vector(tag, b, span_of(host));
}
template <class Device>
auto do_to_backend(gpu_tag, const gpu_backend<Device>& b, const bit_matrix& host) {
    return gpu::upload_bits(b, host.view());
}

template <class Device, class S>
matrix<S> do_on_host(gpu_tag tag, const gpu_backend<Device>& b, const gpu::device_matrix<Device, S>& X) {
    return do_download(tag, b, view(X));
}
template <class Device, class S>
vector<S> do_on_host(gpu_tag tag, const gpu_backend<Device>& b, const gpu::device_vector<Device, S>& x) {
    return do_download_vector(tag, b, span_of(x));
}
template <class Device>
bit_matrix do_on_host(gpu_tag, const gpu_backend<Device>& b, const gpu::device_bit_matrix<Device>& bits) {
    if (bits.view().word_count() == 0) return bit_matrix(bits.rows(), bits.cols());
    return gpu::download_bits(b, bits.view().words(), bits.rows(), bits.cols());
}

}  // namespace subbit
