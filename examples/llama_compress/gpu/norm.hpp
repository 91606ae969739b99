// RMSNorm on a GPU (../model/norm.hpp).
#pragma once

#include "model/norm.hpp"

#include <subbit/backend/gpu.hpp>

#include <cmath>
#include <span>

namespace llama {

namespace gpu {

using subbit::gpu::for_each_warp;
using subbit::gpu::warp_size;

/// A warp for each row.
template <class S>
struct rms_norm_rows {
    matrix_view<const S> X;
    const S* weight;
    S eps, offset;
    matrix_view<S> Y;
    S* inverse_rms;

    template <class Block>
    SUBBIT_KERNEL void operator()(Block& block) const {
        for_each_warp(block, X.rows, [&](index t) {
            S squares = 0;
            for (index c = block.lane(); c < X.cols; c += warp_size)
                squares += X(t, c) * X(t, c);
            const S inverse = inverse_root(block.warp_sum(squares) / static_cast<S>(X.cols), eps);
            for (index c = block.lane(); c < X.cols; c += warp_size)
                Y(t, c) = X(t, c) * inverse * (offset + weight[c]);
            if (block.lane() == 0) inverse_rms[t] = inverse;
        });
    }
};

/// A warp for each row.
template <class S>
struct rms_norm_gradient_rows {
    matrix_view<const S> X;
    const S* weight;
    S offset;
    const S* inverse_rms;
    matrix_view<const S> dY;
    matrix_view<S> dX;

    template <class Block>
    SUBBIT_KERNEL void operator()(Block& block) const {
        for_each_warp(block, X.rows, [&](index t) {
            S dot = 0;
            for (index c = block.lane(); c < X.cols; c += warp_size)
                dot += X(t, c) * (offset + weight[c]) * dY(t, c);
            const S inverse = inverse_rms[t];
            const S pull = block.warp_sum(dot) * inverse * inverse / static_cast<S>(X.cols);
            for (index c = block.lane(); c < X.cols; c += warp_size)
                dX(t, c) += inverse * ((offset + weight[c]) * dY(t, c) - X(t, c) * pull);
        });
    }
};

/// dY(t,c) X(t,c) / rms(t), to the gradient of weight c.
template <class S>
struct norm_weight_gradient {
    matrix_view<const S> X, dY;
    const S* inverse_rms;
    S* d_weight;

    SUBBIT_KERNEL double operator()(index c, index t) const {
        return static_cast<double>(dY(t, c) * X(t, c) * inverse_rms[t]);
    }
    SUBBIT_KERNEL void store(index c, double sum) const { d_weight[c] = static_cast<S>(sum); }
};

}  // namespace gpu

template <device_backend B, class S>
void rms_norm(const B& b, matrix_view<const S> X, std::span<const S> weight, const norm_rule& rule, matrix_view<S> Y,
              vector_in<S, B>& inverse_rms) {
    subbit::reshape(b, inverse_rms, X.rows);
    b.launch(subbit::gpu::cover_by_warps(X.rows),
             gpu::rms_norm_rows<S>{X, weight.data(), static_cast<S>(rule.eps), static_cast<S>(rule.offset), Y,
                                   span_of(inverse_rms).data()});
}

template <device_backend B, class S>
void rms_norm_backward(const B& b, matrix_view<const S> X, std::span<const S> weight, const norm_rule& rule,
                       const vector_in<S, B>& inverse_rms, matrix_view<const S> dY, matrix_view<S> dX,
                       std::span<S> d_weight) {
    const S* const inverse = span_of(inverse_rms).data();
    b.launch(subbit::gpu::cover_by_warps(X.rows),
             gpu::rms_norm_gradient_rows<S>{X, weight.data(), static_cast<S>(rule.offset), inverse, dY, dX});
    if (!d_weight.empty())
        subbit::gpu::sum_rows(b, X.cols, X.rows, false, gpu::norm_weight_gradient<S>{X, dY, inverse, d_weight.data()});
}

}  // namespace llama
