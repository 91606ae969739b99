// Whole layers: low-rank binary ones, several at once, y = s_post o (U (s_mid o (V (s_pre o x)))) + bias, and residual
// ones.
#pragma once

#include <subbit/backend/cpu/kernels/packed_product.hpp>
#include <subbit/backend/ops/layers.hpp>
#include <subbit/bits/layer_view.hpp>

#include <algorithm>
#include <array>
#include <span>

namespace subbit::cpu_kernels {

struct packed_hidden_scratch;
struct packed_scaled_scratch;

/// The layers that share one loop; more are taken in turns.
inline constexpr index packed_layers_at_once = 8;

/// At most packed_layers_at_once layers for the rows of X, first all V, then all U. The scales enter while tables are
/// built and sums are stored, and the numbers in between stay in the cache.
template <class Kernel, class Arch, class Real>
void packed_few_layers(Arch arch, executor ex, std::span<const layer_output<Real>> layers, matrix_view<const Real> X,
                       index first_row) {
    std::array<packed_operand<Real>, packed_layers_at_once> storage;
    const std::span<packed_operand<Real>> products(storage.data(), layers.size());
    std::array<Real*, packed_layers_at_once> hidden;
    index ranks = 0;
    for (const auto& [layer, Y] : layers)
        ranks += layer.rank();
    Real* next = thread_scratch<packed_hidden_scratch>().template reserve<Real>(X.rows * ranks);
    for (std::size_t l = 0; l < layers.size(); ++l) {
        const auto part = parts_of(layers[l].layer);
        products[l] = {part.V, false, X, part.s_pre};
        hidden[l] = next;
        next += X.rows * part.rank();
    }
    packed_products<Kernel>(arch, ex, std::span<const packed_operand<Real>>(products),
                            [&](index l, index t, index first, const Real* sums, index count) {
                                const auto at = static_cast<std::size_t>(l);
                                std::copy_n(sums, count, hidden[at] + t * layers[at].layer.rank() + first);
                            });
    for (std::size_t l = 0; l < layers.size(); ++l) {
        const auto part = parts_of(layers[l].layer);
        products[l] = {part.U, false, {hidden[l], X.rows, part.rank()}, part.s_mid};
    }
    packed_products<Kernel>(arch, ex, std::span<const packed_operand<Real>>(products),
                            [&](index l, index t, index first, const Real* sums, index count) {
                                const auto& [layer, Y] = layers[static_cast<std::size_t>(l)];
                                const Real* post = layer.s_post.data() + first;
                                const Real* bias = layer.bias.size() == 0 ? nullptr : layer.bias.data();
                                Real* out = &Y(first_row + t, first);
                                const index stride = Y.col_stride;
                                const auto scaled = [=] {
#pragma omp simd
                                    for (index i = 0; i < count; ++i)
                                        out[i] = post[i] * sums[i];
                                };
                                if (bias == nullptr && stride == 1) return run_loop(arch, scaled);
                                for (index i = 0; i < count; ++i)
                                    out[i * stride] =
                                        bias == nullptr ? post[i] * sums[i] : post[i] * sums[i] + bias[first + i];
                            });
}

/// One layer by matrix products with unpacked signs.
template <class Arch, class Real>
void unpacked_layer(Arch arch, executor ex, const layer_output<Real>& part, matrix_view<const Real> X) {
    const auto& [layer, Y] = part;
    const index n = layer.cols(), r = layer.rank();
    Real* scaled = thread_scratch<packed_scaled_scratch>().template reserve<Real>(X.rows * n);
    const matrix_view<Real> hidden(thread_scratch<packed_hidden_scratch>().template reserve<Real>(X.rows * r), X.rows,
                                   r);
    for (index t = 0; t < X.rows; ++t)
        for (index j = 0; j < n; ++j)
            scaled[t * n + j] = X(t, j) * layer.s_pre(j);
    packed_gemm<packed_kernel<Arch, Real>>(arch, ex, matrix_view<const Real>(scaled, X.rows, n), layer.V.view(), false,
                                           hidden, Real(1), Real(0));
    if (layer.s_mid.size() != 0)
        for (index t = 0; t < X.rows; ++t)
            for (index k = 0; k < r; ++k)
                hidden(t, k) *= layer.s_mid(k);
    packed_gemm<packed_kernel<Arch, Real>>(arch, ex, matrix_view<const Real>(hidden), layer.U.view(), false, Y, Real(1),
                                           Real(0));
    for (index t = 0; t < X.rows; ++t)
        for (index i = 0; i < layer.rows(); ++i)
            Y(t, i) = layer.bias.size() == 0 ? Y(t, i) * layer.s_post(i) : Y(t, i) * layer.s_post(i) + layer.bias(i);
}

/// Multiply-adds for one vector.
template <class Real>
double packed_work(std::span<const layer_output<Real>> layers) {
    double work = 0;
    for (const auto& [layer, Y] : layers)
        work += static_cast<double>(layer.rank()) * static_cast<double>(layer.rows() + layer.cols());
    return work;
}

/// Calls f(executor, first, count) for all of `vectors`, each of so much work. Enough of them: every thread takes its
/// own through the whole layer. Few: threads share the rows.
template <class Kernel, class F>
void for_vectors(executor ex, index vectors, double work, F&& f) {
    if (vectors < Kernel::max_vectors * ex.threads()) return f(ex, index{0}, vectors);
    ex.when(work * static_cast<double>(vectors), serial_work_of<Kernel>())
        .for_chunks(vectors, std::max<index>(Kernel::max_vectors, std::min<index>(4 * Kernel::max_vectors, 16)),
                    [&](index begin, index end) { f(executor(), begin, end - begin); });
}

/// Every layer's outputs for the rows of X; see apply_layers.
template <class Kernel, class Arch, class Real>
void packed_layers(Arch arch, executor ex, std::span<const layer_output<Real>> layers, matrix_view<const Real> X) {
    if (X.rows == 0) return;
    if constexpr (!Kernel::has_tables)
        if (X.rows >= packed_unpack_vectors) {
            for (const auto& part : layers)
                unpacked_layer(arch, ex, part, X);
            return;
        }
    for (std::size_t l = 0; l < layers.size(); l += packed_layers_at_once) {
        const auto some = layers.subspan(l, std::min<std::size_t>(packed_layers_at_once, layers.size() - l));
        for_vectors<Kernel>(ex, X.rows, packed_work(some), [&](executor inner, index first, index count) {
            packed_few_layers<Kernel>(arch, inner, some, X.middle_rows(first, count), first);
        });
    }
}

/// out = bias + sum_p post_p o sums_p, path after path; sums_p are m numbers each.
template <class Real>
void add_paths(const residual_view<Real>& layer, index m, const Real* sums, Real* out, index stride) {
    for (index i = 0; i < m; ++i)
        out[i * stride] = layer.bias == nullptr ? Real(0) : layer.bias[i];
    for (int p = 0; p < layer.count; ++p, sums += m) {
        const Real* post = layer.paths[p].s_post;
        if (stride == 1)  // nearly always; apart, a vector loop
#pragma omp simd
            for (index i = 0; i < m; ++i)
                out[i] += post[i] * sums[i];
        else
            for (index i = 0; i < m; ++i)
                out[i * stride] += post[i] * sums[i];
    }
}

/// Y = sum_p s_post_p o (B_p (s_pre_p o x)) + bias for every row x of X: all products as one job, then their sum.
template <class Kernel, class Arch, class Real>
void packed_few_paths(Arch arch, executor ex, const residual_view<Real>& layer, matrix_view<const Real> X,
                      matrix_view<Real> Y) {
    std::array<packed_operand<Real>, max_paths> storage;
    const std::span<packed_operand<Real>> products(storage.data(), static_cast<std::size_t>(layer.count));
    for (std::size_t p = 0; p < products.size(); ++p)
        products[p] = {layer.paths[p].B, false, X, layer.paths[p].s_pre};
    const index m = Y.cols, paths = layer.count;
    Real* const sums_of_paths = thread_scratch<packed_hidden_scratch>().template reserve<Real>(X.rows * paths * m);
    packed_products<Kernel>(arch, ex, std::span<const packed_operand<Real>>(products),
                            [&](index p, index t, index first, const Real* sums, index count) {
                                std::copy_n(sums, count, sums_of_paths + (t * paths + p) * m + first);
                            });
    const auto add = [&] {
        for (index t = 0; t < X.rows; ++t)
            add_paths(layer, m, sums_of_paths + t * paths * m, &Y(t, 0), Y.col_stride);
    };
    run_loop(arch, add);
}

template <class Kernel, class Arch, class Real>
void packed_paths(Arch arch, executor ex, const residual_view<Real>& layer, matrix_view<const Real> X,
                  matrix_view<Real> Y) {
    if (Y.size() == 0) return;
    const double work = layer.count * packed_operand<Real>{layer.paths[0].B, false, X, nullptr}.work();
    for_vectors<Kernel>(ex, X.rows, work, [&](executor inner, index first, index count) {
        packed_few_paths<Kernel>(arch, inner, layer, X.middle_rows(first, count), Y.middle_rows(first, count));
    });
}

}  // namespace subbit::cpu_kernels
