// What all kernels of tiles are launched with: jobs, the digits of their vectors, as many blocks as there are tiles.
#pragma once

#include <subbit/backend/gpu/backend.hpp>
#include <subbit/backend/gpu/packed/fixed_point.hpp>
#include <subbit/backend/gpu/packed/product.hpp>
#include <subbit/backend/gpu/packed/workspace.hpp>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <span>

namespace subbit::gpu {

/// Calls f(job) for the outputs, which have the same number of tokens, in jobs of outputs_at_once.
template <class In, class Out, class Real, class F>
void for_each_job(std::span<const packed_output<In, Out, Real>> outputs, F f) {
    for (std::size_t first = 0; first < outputs.size(); first += outputs_at_once) {
        packed_job<In, Out, Real> job;
        for (std::size_t o = first; o < std::min(outputs.size(), first + outputs_at_once); ++o)
            if (outputs[o].Y.size() > 0) job.outputs[job.count++] = outputs[o];
        if (job.count > 0) f(job);
    }
}

/// Makes the digits of all parts, in the workspace, and enters them there; `columns` of them, of all tokens and what a
/// kernel that reads them may read beyond.
template <class Kernel, class Device, class In, class Out, class Real>
void make_digits(const gpu_backend<Device>& b, packed_job<In, Out, Real>& job, packed_workspace<Device, Real>& work,
                 index columns, Kernel kernel) {
    const index tokens = job.outputs[0].tokens();
    index words = 0, parts = 0;
    for (int o = 0; o < job.count; ++o)
        for (int p = 0; p < job.outputs[o].part_count; ++p, ++parts)
            words += columns * digit_layout::words(job.outputs[o].parts[p].bits.cols());
    std::uint32_t* next_words = work.words(words);
    std::int32_t* next_sums = work.sums(columns * parts);
    Real* next_real = work.to_real(tokens * parts);
    kernel.tokens = tokens;
    index made = 0;
    for (int o = 0; o < job.count; ++o)
        for (int p = 0; p < job.outputs[o].part_count; ++p, ++made) {
            packed_part<In, Real>& part = job.outputs[o].parts[p];
            part.digits = {next_words, next_sums, next_real};
            kernel.jobs[made] = {part, next_words, next_sums, next_real};
            next_words += columns * digit_layout::words(part.bits.cols());
            next_sums += columns;
            next_real += tokens;
        }
    b.launch({parts * tokens, Kernel::threads, Kernel::shared_bytes}, kernel);
}

/// One launch of a kernel of tiles for its whole job.
template <class Shape, class Device, class Kernel>
void launch_tiles(const gpu_backend<Device>& b, Kernel kernel) {
    index blocks = 0;
    for (int o = 0; o < kernel.job.count; ++o) {
        kernel.job.first_block[o] = blocks;
        blocks += Shape::row_tiles(kernel.job.outputs[o].rows()) * Shape::token_tiles(kernel.job.outputs[o].tokens());
    }
    b.launch({blocks, Shape::threads, Shape::shared_bytes}, kernel);
}

}  // namespace subbit::gpu
