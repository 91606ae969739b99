// The way to the device's memory and back.
#pragma once

#include <subbit/backend/factor_operations.hpp>
#include <subbit/backend/gpu/backend.hpp>
#include <subbit/backend/gpu/elementwise.hpp>

#include <span>

namespace subbit {

template <class Device, class S>
gpu::device_matrix<Device, S> do_allocate(gpu_tag, const gpu_backend<Device>& b, S, index rows, index cols) {
    gpu::device_matrix<Device, S> X(b.device(), rows, cols);
    b.device().clear(view(X).data, static_cast<std::size_t>(X.rows() * X.cols()) * sizeof(S));
    return X;
}

/// A matrix that lies by columns travels as it is, and is turned over there.
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
gpu::device_vector<Device, S> do_allocate_vector(gpu_tag, const gpu_backend<Device>& b, S, index n) {
    gpu::device_vector<Device, S> x(b.device(), n);
    b.device().clear(span_of(x).data(), span_of(x).size_bytes());
    return x;
}

template <class Device, class S>
gpu::device_vector<Device, S> do_upload_vector(gpu_tag, const gpu_backend<Device>& b, std::span<const S> host) {
    gpu::device_vector<Device, S> x(b.device(), std::ssize(host));
    b.device().copy_to_device(span_of(x).data(), host.data(), host.size_bytes());
    return x;
}

template <class Device, class S>
subbit::vector<S> do_download_vector(gpu_tag, const gpu_backend<Device>& b, std::span<const S> device) {
    subbit::vector<S> host(std::ssize(device));
    b.device().copy_to_host(host.data(), device.data(), device.size_bytes());
    return host;
}

}  // namespace subbit
