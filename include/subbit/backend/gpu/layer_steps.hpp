// Binary layers whose parts live on the host: their words and scales travel with each call. Layers that stay on the
// device are the packed kernels' (packed_*.hpp).
#pragma once

#include <subbit/backend/gpu/products.hpp>
#include <subbit/backend/gpu/transfer.hpp>
#include <subbit/bits/low_rank_binary_linear.hpp>
#include <subbit/bits/residual_binary_linear.hpp>

#include <span>

namespace subbit {

namespace gpu {

template <class S>
struct add_row_entry {
    matrix_view<S> Y;
    const S* row;

    SUBBIT_KERNEL void operator()(index i, index j) const { Y(i, j) += row[j]; }
};

/// Y <- Y diag(right), and a row added to each of Y's; either may be empty.
template <class Device, class S>
void finish_rows(const gpu_backend<Device>& b, matrix_view<S> Y, const subbit::vector<S>& right,
                 const subbit::vector<S>& row) {
    if (right.size() != 0) {
        const auto factors = do_upload_vector(gpu_tag{}, b, span_of(right));
        do_scale(gpu_tag{}, b, Y, std::span<const S>(), std::span<const S>(span_of(factors)));
    }
    if (row.size() != 0 && Y.size() != 0) {
        const auto added = do_upload_vector(gpu_tag{}, b, span_of(row));
        b.launch(cover(Y.size()), entries<add_row_entry<S>>{Y.rows, Y.cols, {Y, span_of(added).data()}});
    }
}

/// X diag(pre).
template <class Device, class S>
device_matrix<Device, S> scaled_inputs(const gpu_backend<Device>& b, matrix_view<const S> X,
                                       const subbit::vector<S>& pre) {
    device_matrix<Device, S> scaled(b.device(), X.rows, X.cols);
    do_axpby(gpu_tag{}, b, S(1), X, S(0), view(scaled));
    finish_rows(b, view(scaled), pre, {});
    return scaled;
}

}  // namespace gpu

template <class Device, class S>
void do_apply_layers(gpu_tag tag, const gpu_backend<Device>& b, std::span<const layer_output<S>> layers,
                     matrix_view<const S> X, apply_options) {
    for (const auto& [layer, Y] : layers) {
        const auto scaled = gpu::scaled_inputs(b, X, layer.s_pre);
        gpu::device_matrix<Device, S> hidden(b.device(), X.rows, layer.rank());
        do_gemm(tag, b, view(scaled), layer.V.t(), view(hidden), S(1), S(0));
        gpu::finish_rows(b, view(hidden), layer.s_mid, {});
        do_gemm(tag, b, matrix_view<const S>(view(hidden)), layer.U.t(), Y, S(1), S(0));
        gpu::finish_rows(b, Y, layer.s_post, layer.bias);
    }
}

template <class Device, class S>
void do_apply_layer(gpu_tag tag, const gpu_backend<Device>& b, const residual_binary_linear<S>& layer,
                    matrix_view<const S> X, matrix_view<S> Y) {
    gpu::device_matrix<Device, S> part(b.device(), Y.rows, Y.cols);
    for (index p = 0; p < layer.path_count(); ++p) {
        const auto& path = layer.paths[static_cast<std::size_t>(p)];
        const auto scaled = gpu::scaled_inputs(b, X, path.s_pre);
        do_gemm(tag, b, view(scaled), path.B.t(), view(part), S(1), S(0));
        gpu::finish_rows(b, view(part), path.s_post, {});
        do_axpby(tag, b, S(1), matrix_view<const S>(view(part)), S(p == 0 ? 0 : 1), Y);
    }
    gpu::finish_rows(b, Y, {}, layer.bias);
}

}  // namespace subbit
