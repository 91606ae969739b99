// Dense products, Gram matrices, symmetric solves and eigenvectors: views made fit for the device's BLAS and LAPACK.
#pragma once

#include <subbit/backend/factor_operations.hpp>
#include <subbit/backend/gpu/bits.hpp>
#include <subbit/backend/gpu/dense.hpp>
#include <subbit/backend/gpu/elementwise.hpp>
#include <subbit/core/finite.hpp>

#include <cstdint>
#include <limits>
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

/// G = P'LU with unit L, both in G, where *info says that Cholesky failed: one block, a fallback that is seldom needed.
/// `factor` becomes the identity, so that the triangular solves that follow change nothing; `*singular` becomes n where
/// a pivot is lost in rounding.
template <class S>
struct lu_factor {
    static constexpr int most_threads = lone_threads;

    matrix_view<S> G, factor;
    index* pivots;
    const int* info;
    int* singular;

    template <class Block>
    SUBBIT_KERNEL void operator()(Block& block) const {
        if (*info == 0) return;
        const index n = G.rows;
        index* const best_row = block.template shared<index>(1);
        S largest_pivot = 0;
        for (index k = 0; k < n; ++k) {
            S best = -1;
            for (index i = k + block.thread(); i < n; i += block.threads())
                best = maximum{}(best, magnitude(G(i, k)));
            best = block.reduce(best, maximum{});
            largest_pivot = maximum{}(largest_pivot, best);
            const S rounding = static_cast<S>(n) * epsilon * largest_pivot;
            if (!(best > rounding)) {
                if (block.thread() == 0) *singular = static_cast<int>(n);
                return make_identity(block);
            }
            if (block.thread() == 0)
                for (index i = n - 1; i >= k; --i)  // the first of the largest
                    if (magnitude(G(i, k)) == best) *best_row = i;
            block.sync();
            const index p = *best_row;
            if (block.thread() == 0) pivots[k] = p;
            for (index j = block.thread(); p != k && j < n; j += block.threads())
                swap(G(k, j), G(p, j));
            block.sync();
            for (index i = k + 1 + block.thread(); i < n; i += block.threads())
                G(i, k) /= G(k, k);
            block.sync();
            const index rest = n - k - 1;
            for (index e = block.thread(); e < rest * rest; e += block.threads()) {
                const index i = k + 1 + e / rest, j = k + 1 + e % rest;
                G(i, j) -= G(i, k) * G(k, j);
            }
            block.sync();
        }
        make_identity(block);
    }

  private:
    static constexpr S epsilon = std::numeric_limits<S>::epsilon();

    static SUBBIT_KERNEL S magnitude(S x) { return x < S(0) ? -x : x; }
    static SUBBIT_KERNEL void swap(S& a, S& b) {
        const S kept = a;
        a = b;
        b = kept;
    }
    template <class Block>
    SUBBIT_KERNEL void make_identity(Block& block) const {
        const index n = factor.rows;
        for (index e = block.thread(); e < n * n; e += block.threads())
            factor(e / n, e % n) = e / n == e % n ? S(1) : S(0);
    }
};

/// Every row r of R (m,n) <- G^-1 r with what lu_factor left: a warp a row, where *info says that it did.
template <class S>
struct lu_solve {
    matrix_view<const S> G;
    matrix_view<S> R;
    const index* pivots;
    const int *info, *singular;

    template <class Block>
    SUBBIT_KERNEL void operator()(Block& block) const {
        if (*info == 0 || *singular != 0) return;
        const index n = G.rows;
        for_each_warp(block, R.rows, [&](index row) {
            if (block.lane() == 0)
                for (index k = 0; k < n; ++k)
                    if (pivots[k] != k) {
                        const S kept = R(row, k);
                        R(row, k) = R(row, pivots[k]);
                        R(row, pivots[k]) = kept;
                    }
            block.sync_warp();
            for (index k = 0; k < n; ++k) {
                for (index i = k + 1 + block.lane(); i < n; i += warp_size)
                    R(row, i) -= G(i, k) * R(row, k);
                block.sync_warp();
            }
            for (index k = n - 1; k >= 0; --k) {
                if (block.lane() == 0) R(row, k) /= G(k, k);
                block.sync_warp();
                for (index i = block.lane(); i < k; i += warp_size)
                    R(row, i) -= G(i, k) * R(row, k);
                block.sync_warp();
            }
        });
    }
};

/// X(i,j) = Y(i,j), from one scalar type to another.
template <class To, class From>
struct convert_entry {
    matrix_view<To> X;
    matrix_view<const From> Y;

    SUBBIT_KERNEL void operator()(index i, index j) const { X(i, j) = static_cast<To>(Y(i, j)); }
};

}  // namespace gpu

template <class Device, class S>
void do_gemm(gpu_tag, const gpu_backend<Device>& b, matrix_view<const S> A, matrix_view<const S> X, matrix_view<S> C,
             S alpha, S beta) {
    gpu::product(b, A, X, C, alpha, beta, gpu::product_precision::fast);
}

/// Always in full precision: what a Gram matrix loses, the solve with it multiplies.
template <class Device, class S>
void do_gram(gpu_tag, const gpu_backend<Device>& b, matrix_view<const S> X, matrix_view<S> G) {
    gpu::product(b, X.t(), X, G, S(1), S(0), gpu::product_precision::full);
}

template <class Device, class S>
void do_rounded_gram(gpu_tag, const gpu_backend<Device>& b, matrix_view<const S> X, matrix_view<S> G) {
    gpu::product(b, X.t(), X, G, S(1), S(0), gpu::product_precision::fast);
}

/// Cholesky, and where that fails LU: the device decides, so that the host need not wait. A singular G is thrown by the
/// next call that waits.
template <class Device, class S>
void do_spd_solve(gpu_tag tag, const gpu_backend<Device>& b, matrix_view<S> G, matrix_view<S> R) {
    const index n = G.rows;
    if (R.size() == 0) return;
    if (!R.is_contiguous()) {
        gpu::device_matrix<Device, S> packed(b.device(), R.rows, R.cols);
        do_axpby(tag, b, S(1), matrix_view<const S>(R), S(0), view(packed));
        do_spd_solve(tag, b, G, view(packed));
        return do_axpby(tag, b, S(1), matrix_view<const S>(view(packed)), S(0), R);
    }
    gpu::device_matrix<Device, S> factor(b.device(), n, n);
    auto pivots = b.template scratch<index>(n);
    auto info = b.template scratch<int>(1);
    int* const singular = b.device().singular();
    do_axpby(tag, b, S(1), matrix_view<const S>(G), S(0), view(factor));
    b.device().cholesky(n, view(factor).data, info.data());
    gpu::launch_shape alone = gpu::one_block(n * n);
    alone.shared_bytes = sizeof(index);
    b.launch(alone, gpu::lu_factor<S>{G, view(factor), pivots.data(), info.data(), singular});
    // A row of R is a column to LAPACK, and G is symmetric: R G^-1 = (G^-1 R')'.
    b.device().cholesky_solve(n, R.rows, matrix_view<const S>(view(factor)).data, R.data);
    b.launch(gpu::cover_by_warps(R.rows), gpu::lu_solve<S>{G, R, pivots.data(), info.data(), singular});
}

template <class Device, class S>
void do_symmetric_eigenvectors(gpu_tag, const gpu_backend<Device>& b, matrix_view<const S> G, matrix_view<S> V) {
    const index n = G.rows;
    if (n == 0) return;
    gpu::device_matrix<Device, double> vectors(b.device(), n, n);
    auto info = b.template scratch<int>(1);
    b.launch(gpu::cover(n * n), gpu::entries<gpu::convert_entry<double, S>>{n, n, {view(vectors), G}});
    const bool finite = is_finite(do_squared_norm(gpu_tag{}, b, G));
    int failed = 1;
    if (finite) {
        b.device().eigenvectors(n, view(vectors).data, info.data());
        b.device().copy_to_host(&failed, info.data(), sizeof(int));
    }
    if (failed != 0) throw value_error("symmetric_eigenvectors: G (" + shape_text(n, n) + ") did not converge");
    // By columns and by rising eigenvalue: column j of V is row n - 1 - j of what lies there.
    const matrix_view<const double> falling(view(vectors).data + (n - 1) * n, n, n, 1, -n);
    b.launch(gpu::cover(n * n), gpu::entries<gpu::convert_entry<S, double>>{n, n, {V, falling}});
}

}  // namespace subbit
