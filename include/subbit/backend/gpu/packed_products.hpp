// Packed products of any number of vectors: which kernels run, and in which memory.
#pragma once

#include <subbit/backend/gpu/backend.hpp>
#include <subbit/backend/gpu/bits.hpp>
#include <subbit/backend/gpu/packed_digits.hpp>
#include <subbit/backend/gpu/packed_product.hpp>
#include <subbit/backend/gpu/packed_tile_digits.hpp>
#include <subbit/backend/gpu/packed_tile_launches.hpp>
#include <subbit/backend/gpu/packed_tiles.hpp>
#include <subbit/backend/gpu/packed_vectors.hpp>
#include <subbit/backend/gpu/packed_warpgroup_products.hpp>
#include <subbit/backend/gpu/packed_workspace.hpp>

#include <algorithm>
#include <cstdint>
#include <span>

namespace subbit {

namespace gpu {

/// More vectors go through the tensor cores' tiles; fewer leave most of a tile idle, and read the signs twice instead.
inline constexpr index most_vectors = 16;

template <int Tokens, class Device, class In, class Out, class Real>
void launch_vectors(const gpu_backend<Device>& b, packed_job<In, Out, Real> job, index first_token) {
    using layout = vector_columns<Real, Tokens>;
    index blocks = 0, widest = 0;
    for (int o = 0; o < job.count; ++o) {
        job.first_block[o] = blocks;
        blocks += (job.outputs[o].rows() + strip_rows - 1) / strip_rows;
        for (int p = 0; p < job.outputs[o].part_count; ++p)
            widest = std::max(widest, job.outputs[o].parts[p].bits.cols());
    }
    b.launch({blocks, layout::threads, layout::shared_bytes(widest)},
             packed_vectors_kernel<In, Out, Real, Tokens>{job, first_token, widest});
}

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

/// All outputs, which have the same number of tokens, in as few launches as their number allows.
template <class Device, class In, class Out, class Real>
void packed_products(const gpu_backend<Device>& b, std::span<const packed_output<In, Out, Real>> outputs,
                     packed_workspace<Device, Real>& work) {
    for_each_job(outputs, [&](packed_job<In, Out, Real>& job) {
        const index tokens = job.outputs[0].tokens(), columns = (tokens + 7) / 8 * 8 * fixed_point<Real>::digits;
        if (tokens == 1) {
            launch_vectors<1>(b, job, 0);
        } else if (tokens == 2) {
            launch_vectors<2>(b, job, 0);
        } else if (tokens <= most_vectors) {
            make_digits(b, job, work, columns, digits_kernel<In, Real>{});
            for (index t = 0; t < tokens; t += 8)
                launch_vectors<8>(b, job, t);
        } else {
            multiply_many(b, job, work);
        }
    });
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

/// The bits may be the host's or the device's.
template <class Device, class S>
void do_gemm(gpu_tag, const gpu_backend<Device>& b, matrix_view<const S> A, transposed_bit_view X, matrix_view<S> C,
             S alpha, S beta) {
    gpu::packed_gemm(b, A, gpu::device_bits<Device>(b, X.t()).view(), C, alpha, beta);
}

template <class Device, class S>
void do_gemm(gpu_tag, const gpu_backend<Device>& b, matrix_view<const S> A, bit_view X, matrix_view<S> C, S alpha,
             S beta) {
    const gpu::device_bits<Device> bits(b, X);
    gpu::packed_gemm(b, A, gpu::transpose_bits(b, bits.view()).view(), C, alpha, beta);
}

}  // namespace subbit
