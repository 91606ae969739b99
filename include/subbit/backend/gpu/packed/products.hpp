// Packed products of any number of vectors: which kernels run, and in which memory.
#pragma once

#include <subbit/backend/gpu/backend.hpp>
#include <subbit/backend/gpu/kernels/bits.hpp>
#include <subbit/backend/gpu/packed/digit_vectors.hpp>
#include <subbit/backend/gpu/packed/digits.hpp>
#include <subbit/backend/gpu/packed/product.hpp>
#include <subbit/backend/gpu/packed/tile_digits.hpp>
#include <subbit/backend/gpu/packed/tile_launches.hpp>
#include <subbit/backend/gpu/packed/tiles.hpp>
#include <subbit/backend/gpu/packed/vector_products.hpp>
#include <subbit/backend/gpu/packed/warpgroup_products.hpp>
#include <subbit/backend/gpu/packed/workspace.hpp>

#include <span>
#include <type_traits>
#include <vector>

namespace subbit {

namespace gpu {

/// Products of many vectors, exact ones.
template <class Device, class In, class Out, class Real>
void multiply_many(const gpu_backend<Device>& b, packed_job<In, Out, Real>& job, packed_workspace<Device, Real>& work) {
    if constexpr (sizeof(Real) == 4)
        if (b.device().has_warpgroup_products())
            return with_fitting_shape(exact_shapes{}, b.device().multiprocessors(), job,
                                      [&]<class Shape>(Shape) { multiply_exact<Shape>(b, job, work); });
    using shape = tile_shape<Real>;
    const index columns = shape::token_tiles(job.outputs[0].tokens()) * shape::columns;
    make_digits(b, job, work, columns, tile_digits_kernel<In, Real, column_stages<Real>>{});
    launch_tiles<shape>(b, packed_tiles_kernel<In, Out, Real>{job});
}

/// The most tokens whose outputs are made strip by strip; more go through the tensor cores' tiles, which few would
/// leave mostly idle.
template <class Device>
index most_vectors(const gpu_backend<Device>& b) {
    return b.device().has_warpgroup_products() ? 4 : 16;
}

/// What the kernels of few vectors take.
template <class In, class Out>
auto vector_outputs(std::span<const packed_output<In, Out, float>> outputs) {
    using source = scaled_vectors<In>;
    std::vector<vector_output<source, matrix_target<Out>>> products;
    for (const auto& output : outputs) {
        auto& product = products.emplace_back();
        product.part_count = output.part_count;
        for (int p = 0; p < output.part_count; ++p) {
            const auto& part = output.parts[p];
            product.parts[p] = {part.bits, source(part.X, part.pre), part.post};
        }
        product.target = {output.bias, output.Y, output.alpha, output.beta};
    }
    return products;
}

/// Up to 16 tokens, as digits.
template <class Device, class In, class Out, class Real>
void digit_products(const gpu_backend<Device>& b, std::span<const packed_output<In, Out, Real>> outputs,
                    packed_workspace<Device, Real>& work) {
    using layout = digit_columns<Real>;
    for_each_job(outputs, [&](packed_job<In, Out, Real>& job) {
        const index tokens = job.outputs[0].tokens(), groups = (tokens + 7) / 8;
        make_digits(b, job, work, groups * 8 * fixed_point<Real>::digits, digits_kernel<In, Real>{});
        index blocks = 0;
        for (int o = 0; o < job.count; ++o) {
            job.first_block[o] = blocks;
            blocks += (job.outputs[o].rows() + strip_rows - 1) / strip_rows;
        }
        for (index t = 0; t < tokens; t += layout::vectors)
            b.launch({blocks, layout::threads, layout::shared_bytes}, digit_vectors_kernel<In, Out, Real>{job, t});
    });
}

/// All outputs, which have the same number of tokens.
template <class Device, class In, class Out, class Real>
void packed_products(const gpu_backend<Device>& b, std::span<const packed_output<In, Out, Real>> outputs,
                     packed_workspace<Device, Real>& work) {
    const index tokens = outputs.empty() ? 0 : outputs.front().tokens();
    if (tokens > most_vectors(b))
        return for_each_job(outputs, [&](packed_job<In, Out, Real>& job) { multiply_many(b, job, work); });
    if constexpr (std::is_same_v<Real, float>) {
        using products = std::span<const vector_output<scaled_vectors<In>, matrix_target<Out>>>;
        if (b.device().has_warpgroup_products()) return staged_products(b, products(vector_outputs(outputs)), tokens);
        if (tokens <= 2) return plane_products(b, products(vector_outputs(outputs)), tokens);
    }
    digit_products(b, outputs, work);
}

/// C = alpha A B' + beta C for the rows of `bits`.
template <class Device, class S>
void packed_gemm(const gpu_backend<Device>& b, matrix_view<const S> A, bit_view bits, matrix_view<S> C, S alpha,
                 S beta) {
    packed_workspace<Device, S> work(b);
    packed_output<S, S, S> output;
    output.parts[0] = {bits, A, nullptr, nullptr, {}};
    output.Y = C;
    output.alpha = alpha;
    output.beta = beta;
    packed_products(b, std::span<const packed_output<S, S, S>>(&output, 1), work);
}

}  // namespace gpu

}  // namespace subbit
