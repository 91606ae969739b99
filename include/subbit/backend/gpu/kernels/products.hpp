// Dense products: views made fit for the device's BLAS.
#pragma once

#include <subbit/backend/gpu/backend.hpp>
#include <subbit/backend/gpu/device/operand.hpp>
#include <subbit/backend/gpu/kernels/elementwise.hpp>

#include <optional>

namespace subbit {

namespace gpu {

/// A view with a stride of 1: `X` itself, or a copy where it has none.
template <class Device, class S>
class fitting {
  public:
    fitting(const gpu_backend<Device>& b, matrix_view<const S> X) : view_(X) {
        if (is_operand(X)) return;
        copy_.emplace(b.device(), X.rows, X.cols);
        do_axpby(gpu_tag{}, b, S(1), X, S(0), view(*copy_));
        view_ = view(*copy_);
    }
    operand<const S> get() const { return as_operand(view_); }

  private:
    std::optional<device_matrix<Device, S>> copy_;
    matrix_view<const S> view_;
};

template <class Device, class S>
void product(const gpu_backend<Device>& b, matrix_view<const S> A, matrix_view<const S> X, matrix_view<S> C, S alpha,
             S beta, product_precision precision) {
    if (C.size() == 0) return;
    if (!is_operand(C)) {
        device_matrix<Device, S> fit(b.device(), C.rows, C.cols);
        if (beta != S(0)) do_axpby(gpu_tag{}, b, S(1), matrix_view<const S>(C), S(0), view(fit));
        product(b, A, X, view(fit), alpha, beta, precision);
        return do_axpby(gpu_tag{}, b, S(1), matrix_view<const S>(view(fit)), S(0), C);
    }
    const fitting<Device, S> a(b, A), x(b, X);
    const operand<S> c = as_operand(C);
    if (c.transposed)  // C' = X' A' is stored by columns
        b.device().gemm(x.get().t(), a.get().t(), c.t(), alpha, beta, precision);
    else
        b.device().gemm(a.get(), x.get(), c, alpha, beta, precision);
}

}  // namespace gpu

}  // namespace subbit
