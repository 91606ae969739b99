// Owners in a device's memory, and copies to and from it (ops/memory.hpp).
#pragma once

#include <subbit/backend/gpu/backend.hpp>
#include <subbit/backend/gpu/kernels/bits.hpp>
#include <subbit/backend/gpu/kernels/elementwise.hpp>
#include <subbit/backend/ops/memory.hpp>
#include <subbit/bits/bit_matrix.hpp>

#include <algorithm>
#include <cstdint>
#include <span>

namespace subbit {

template <class Device, class S>
gpu::device_matrix<Device, S> do_allocate(gpu_tag, const gpu_backend<Device>& b, S, index rows, index cols) {
    gpu::device_matrix<Device, S> X(b.device(), rows, cols);
    b.device().clear(view(X).data, static_cast<std::size_t>(X.rows() * X.cols()) * sizeof(S));
    return X;
}

template <class Device, class S>
gpu::device_vector<Device, S> do_allocate(gpu_tag, const gpu_backend<Device>& b, S, index n) {
    gpu::device_vector<Device, S> x(b.device(), n);
    b.device().clear(span_of(x).data(), span_of(x).size_bytes());
    return x;
}

/// A matrix stored by columns is copied as it is, and transposed there.
template <class Device, class S>
gpu::device_matrix<Device, S> do_upload(gpu_tag tag, const gpu_backend<Device>& b, matrix_view<const S> host) {
    gpu::device_matrix<Device, S> X(b.device(), host.rows, host.cols);
    const auto bytes = static_cast<std::size_t>(host.size()) * sizeof(S);
    if (host.is_contiguous()) {
        b.device().copy_to_device(view(X).data, host.data, bytes);
    } else if (host.t().is_contiguous()) {
        const auto turned = do_upload(tag, b, host.t());
        do_axpby(tag, b, S(1), view(turned).t(), S(0), view(X));
    } else {
        const subbit::matrix<S> packed = as_eigen(host);
        b.device().copy_to_device(view(X).data, packed.data(), bytes);
    }
    return X;
}

template <class Device, class S>
gpu::device_vector<Device, S> do_upload(gpu_tag, const gpu_backend<Device>& b, std::span<const S> host) {
    gpu::device_vector<Device, S> x(b.device(), std::ssize(host));
    b.device().copy_to_device(span_of(x).data(), host.data(), host.size_bytes());
    return x;
}

template <class Device, class S>
subbit::matrix<S> do_download(gpu_tag tag, const gpu_backend<Device>& b, matrix_view<const S> X) {
    if (!X.is_contiguous()) {
        gpu::device_matrix<Device, S> packed(b.device(), X.rows, X.cols);
        do_axpby(tag, b, S(1), X, S(0), view(packed));
        return do_download(tag, b, matrix_view<const S>(view(packed)));
    }
    subbit::matrix<S> host(X.rows, X.cols);
    b.device().copy_to_host(host.data(), X.data, static_cast<std::size_t>(host.size()) * sizeof(S));
    return host;
}

template <class Device, class S>
subbit::vector<S> do_download(gpu_tag, const gpu_backend<Device>& b, std::span<const S> device) {
    subbit::vector<S> host(std::ssize(device));
    b.device().copy_to_host(host.data(), device.data(), device.size_bytes());
    return host;
}

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
bit_matrix do_pack_signs(gpu_tag, const gpu_backend<Device>& b, matrix_view<const S> X) {
    if (X.size() == 0) return bit_matrix(X.rows, X.cols);
    auto words = b.template scratch<std::uint32_t>(bit_layout::word_count(X.rows, X.cols));
    b.device().clear(words.data(), words.bytes());
    b.launch(gpu::cover_by_warps(X.rows * bit_layout::col_groups(X.cols)), gpu::pack_words<S>{X, words.data()});
    return gpu::download_bits(b, words.data(), X.rows, X.cols);
}

template <class Device, class S>
void do_upload(gpu_tag, const gpu_backend<Device>& b, std::span<const S> host, std::span<S> entries) {
    using kernel = gpu::store_numbers<S>;
    if (std::ssize(host) > 4 * kernel::most)
        return b.device().copy_to_device(entries.data(), host.data(), host.size_bytes());
    for (index first = 0; first < std::ssize(host); first += kernel::most) {
        kernel k{{}, std::min(kernel::most, std::ssize(host) - first), entries.data() + first};
        std::copy_n(host.data() + first, k.count, k.numbers);
        b.launch(gpu::cover(k.count), k);
    }
}

template <class Device>
gpu::device_bit_matrix<Device> do_upload(gpu_tag, const gpu_backend<Device>& b, bit_view host) {
    return gpu::upload_bits(b, host);
}

template <class Device>
bit_matrix do_download(gpu_tag, const gpu_backend<Device>& b, bit_view bits) {
    if (bits.word_count() == 0) return bit_matrix(bits.rows(), bits.cols());
    return gpu::download_bits(b, bits.words(), bits.rows(), bits.cols());
}

}  // namespace subbit
