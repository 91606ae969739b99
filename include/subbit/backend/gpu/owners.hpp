// Owners in a device's memory for types that are made for any memory (memory_operations.hpp).
#pragma once

#include <subbit/backend/gpu/bits.hpp>
#include <subbit/backend/gpu/elementwise.hpp>
#include <subbit/backend/gpu/transfer.hpp>
#include <subbit/backend/memory_operations.hpp>
#include <subbit/bits/bit_matrix.hpp>

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
    if (X.rows() != rows || X.cols() != cols) X = gpu::device_matrix<Device, S>(b.device(), rows, cols);
}

template <class Device, class S>
void do_reshape(gpu_tag, const gpu_backend<Device>& b, gpu::device_vector<Device, S>& x, index n) {
    if (x.size() != n) x = gpu::device_vector<Device, S>(b.device(), n);
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
    b.device().copy_to_device(entries.data(), host.data(), host.size_bytes());
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
