// Products of vectors with packed signs over the kernels of packed_kernel.hpp: scales, threads, many vectors.
#pragma once

#include <subbit/backend/cpu/packed_kernel.hpp>
#include <subbit/backend/cpu/scratch.hpp>
#include <subbit/backend/cpu/thread_pool.hpp>
#include <subbit/bits/low_rank_binary_linear.hpp>
#include <subbit/bits/residual_binary_linear.hpp>

#include <algorithm>

namespace subbit {

struct packed_values_scratch;
struct packed_tables_scratch;

/// Multiply-adds below which a packed product stays on one thread.
inline constexpr double packed_serial_work = 4e6;

/// Products with V vectors, rows t.. of X: see packed_product.
template <index V, class Arch, class Real, class Store>
void packed_block(Arch, executor ex, bit_view bits, matrix_view<const Real> X, index t, const Real* pre,
                  Store&& store) {
    using kernel = packed_kernel<Arch, Real>;
    const index n = bits.col_groups() * bit_layout::tile_cols;
    Real* values = thread_scratch<packed_values_scratch>().template reserve<Real>(V * n);
    Real* tables =
        thread_scratch<packed_tables_scratch>().template reserve<Real>(V * bits.col_groups() * kernel::table_size);
    for (index v = 0; v < V; ++v) {
        const Real* x = X.data + (t + v) * X.row_stride;
        Real* out = values + v * n;
        if (X.col_stride == 1)
            std::copy_n(x, X.cols, out);
        else
            for (index j = 0; j < X.cols; ++j)
                out[j] = x[j * X.col_stride];
        if (pre != nullptr)
            for (index j = 0; j < X.cols; ++j)
                out[j] *= pre[j];
        std::fill(out + X.cols, out + n, Real(0));  // the padding's bits say -1, and its values nothing
    }
    kernel::template build<V>(tables, values, n);
    ex.for_chunks(bits.row_groups(), kernel::max_groups, [&](index begin, index end) {
        Real sums[static_cast<std::size_t>(V * 16 * kernel::max_groups)];
        kernel::template sums<V>(bits, begin, end - begin, tables, sums);
        for (index v = 0; v < V; ++v)
            store(t + v, 16 * begin, sums + v * 16 * kernel::max_groups, std::min(16 * end, bits.rows()) - 16 * begin);
    });
}

/// Calls store(t, i, sums, count) with sums[0..count) = rows i.. of B (pre o x_t), for every row x_t of X (T,n) and
/// every block of rows of B (m,n), once each, from any thread; `pre` is null or holds n scales. Float32 sums are
/// accumulated in float32, in column order.
template <class Arch, class Real, class Store>
void packed_product(Arch arch, executor ex, bit_view bits, matrix_view<const Real> X, const Real* pre, Store&& store) {
    constexpr index vectors = packed_kernel<Arch, Real>::max_vectors;
    const double work = static_cast<double>(bits.rows()) * static_cast<double>(bits.cols());
    const auto block = [&](index t, index end, executor rows) {
        if constexpr (vectors > 1)
            for (; t + vectors <= end; t += vectors)
                packed_block<vectors>(arch, rows, bits, X, t, pre, store);
        for (; t < end; ++t)
            packed_block<1>(arch, rows, bits, X, t, pre, store);
    };
    // Enough vectors: every thread takes its own. Few: they share the rows.
    if (X.rows >= vectors * ex.threads())
        ex.when(static_cast<double>(X.rows) * work, packed_serial_work)
            .for_chunks(X.rows, vectors, [&](index begin, index end) { block(begin, end, executor()); });
    else
        block(0, X.rows, ex.when(static_cast<double>(vectors) * work, packed_serial_work));
}

struct packed_transpose_scratch;

/// The transpose of `bits`, in scratch memory that the next call in this thread overwrites.
inline bit_view transpose_to_scratch(executor ex, bit_view bits) {
    auto* words = thread_scratch<packed_transpose_scratch>().reserve<std::uint32_t>(
        bit_layout::word_count(bits.cols(), bits.rows()));
    ex.when(static_cast<double>(bits.rows()) * static_cast<double>(bits.cols()), packed_serial_work / 16)
        .for_chunks(bit_layout::row_groups(bits.cols()), 4,
                    [&](index begin, index end) { transpose_groups(bits, begin, end, words); });
    return {words, bits.cols(), bits.rows()};
}

/// C = alpha X B^T + beta C for X (T,n) and packed B (m,n).
template <class Arch, class Real>
void packed_gemm(Arch arch, executor ex, matrix_view<const Real> X, bit_view bits, matrix_view<Real> C, Real alpha,
                 Real beta) {
    packed_product(arch, ex, bits, X, static_cast<const Real*>(nullptr),
                   [&](index t, index first, const Real* sums, index count) {
                       Real* out = C.data + t * C.row_stride + first * C.col_stride;
                       if (C.col_stride == 1 && beta == Real(0))  // nearly every call; apart, it is a vector loop
                           for (index i = 0; i < count; ++i)
                               out[i] = alpha * sums[i];
                       else
                           for (index i = 0; i < count; ++i) {
                               Real& c = out[i * C.col_stride];
                               c = beta == Real(0) ? alpha * sums[i] : alpha * sums[i] + beta * c;
                           }
                   });
}

struct packed_hidden_scratch;

/// Y = s_post o (U (s_mid o (V (s_pre o x)))) + bias for every row x of X. The scales enter while tables are built and
/// sums are stored, and the r numbers in between stay in the cache.
template <class Arch, class Real>
void packed_apply(Arch arch, executor ex, const low_rank_binary_linear<Real>& layer, matrix_view<const Real> X,
                  matrix_view<Real> Y) {
    constexpr index vectors = packed_kernel<Arch, Real>::max_vectors;
    const index r = layer.rank();
    const Real* mid = layer.s_mid.size() == 0 ? nullptr : layer.s_mid.data();
    const Real* post = layer.s_post.data();
    const Real* bias = layer.bias.size() == 0 ? nullptr : layer.bias.data();
    const auto rows = [&](index begin, index end, executor inner) {
        Real* hidden = thread_scratch<packed_hidden_scratch>().template reserve<Real>((end - begin) * r);
        packed_product(arch, inner, layer.V.view(), X.middle_rows(begin, end - begin), layer.s_pre.data(),
                       [&](index t, index first, const Real* sums, index count) {
                           std::copy_n(sums, count, hidden + t * r + first);
                       });
        packed_product(arch, inner, layer.U.view(), matrix_view<const Real>(hidden, end - begin, r), mid,
                       [&](index t, index first, const Real* sums, index count) {
                           Real* out = &Y(begin + t, first);
                           for (index i = 0; i < count; ++i)
                               out[i * Y.col_stride] = bias == nullptr ? post[first + i] * sums[i]
                                                                       : post[first + i] * sums[i] + bias[first + i];
                       });
    };
    if (X.rows >= vectors * ex.threads())
        ex.for_chunks(X.rows, 4 * vectors, [&](index begin, index end) { rows(begin, end, executor()); });
    else
        rows(0, X.rows, ex);
}

/// Y = sum_p s_post_p o (B_p (s_pre_p o x)) + bias for every row x of X, one packed product a path.
template <class Arch, class Real>
void packed_apply(Arch arch, executor ex, const residual_binary_linear<Real>& layer, matrix_view<const Real> X,
                  matrix_view<Real> Y) {
    constexpr index vectors = packed_kernel<Arch, Real>::max_vectors;
    const auto rows = [&](index begin, index end, executor inner) {
        const Real* bias = layer.bias.size() == 0 ? nullptr : layer.bias.data();
        for (const auto& path : layer.paths) {
            const bool first_path = &path == &layer.paths.front();
            const Real* post = path.s_post.data();
            packed_product(arch, inner, path.B.view(), X.middle_rows(begin, end - begin), path.s_pre.data(),
                           [&](index t, index first, const Real* sums, index count) {
                               Real* out = &Y(begin + t, first);
                               for (index i = 0; i < count; ++i) {
                                   Real& y = out[i * Y.col_stride];
                                   if (first_path) y = bias == nullptr ? Real(0) : bias[first + i];
                                   y += post[first + i] * sums[i];
                               }
                           });
        }
    };
    if (X.rows >= vectors * ex.threads())
        ex.for_chunks(X.rows, 4 * vectors, [&](index begin, index end) { rows(begin, end, executor()); });
    else
        rows(0, X.rows, ex);
}

}  // namespace subbit
