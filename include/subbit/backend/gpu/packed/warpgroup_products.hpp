// Packed products of many vectors on devices that has_warpgroup_products(): which shapes of tiles there are, which one
// a job takes, and the launches.
#pragma once

#include <subbit/backend/gpu/backend.hpp>
#include <subbit/backend/gpu/packed/product.hpp>
#include <subbit/backend/gpu/packed/rounded.hpp>
#include <subbit/backend/gpu/packed/tile_digits.hpp>
#include <subbit/backend/gpu/packed/tile_launches.hpp>
#include <subbit/backend/gpu/packed/warpgroup_tiles.hpp>
#include <subbit/backend/gpu/packed/workspace.hpp>

#include <algorithm>
#include <cstdint>
#include <limits>
#include <span>
#include <tuple>

namespace subbit::gpu {

using exact_shapes = std::tuple<warpgroup_shape<exact_numbers, 2, 64>, warpgroup_shape<exact_numbers, 2, 32>,
                                warpgroup_shape<exact_numbers, 1, 32>, warpgroup_shape<exact_numbers, 1, 16>>;
using rounded_shapes = std::tuple<warpgroup_shape<rounded_numbers, 2, 128>, warpgroup_shape<rounded_numbers, 2, 64>,
                                  warpgroup_shape<rounded_numbers, 1, 64>, warpgroup_shape<rounded_numbers, 1, 32>>;

/// What a job's tiles of this shape cost: clocks of an H100 for a step, times the tiles that a multiprocessor has. A
/// product of 64 rows, so many columns and 32 bytes takes half as many clocks as columns; the L2 cache gives a
/// multiprocessor some 24 bytes a clock, when all ask for vectors and signs.
template <class Shape, class Job>
index tile_cost(int multiprocessors, const Job& job) {
    index tiles = 0;
    for (int o = 0; o < job.count; ++o)
        tiles += Shape::row_tiles(job.outputs[o].rows()) * Shape::token_tiles(job.outputs[o].tokens());
    constexpr index products = index{Shape::warpgroups} * Shape::products * Shape::columns;
    constexpr index bytes = 4 * Shape::stage_words + digit_layout::step / 8 * Shape::rows;
    return (tiles + multiprocessors - 1) / multiprocessors * std::max<index>(products, bytes / 24);
}

/// Calls f with the shape that costs the job least, the first of several. Results do not depend on it.
template <class... Shapes, class Job, class F>
void with_fitting_shape(std::tuple<Shapes...>, int multiprocessors, const Job& job, F f) {
    const index least = std::min({tile_cost<Shapes>(multiprocessors, job)...});
    bool found = false;
    const auto take = [&](auto shape) {
        if (found || tile_cost<decltype(shape)>(multiprocessors, job) != least) return;
        found = true;
        f(shape);
    };
    (take(Shapes{}), ...);
}

template <class Shape, class Device, class In, class Out>
void multiply_exact(const gpu_backend<Device>& b, packed_job<In, Out, float>& job,
                    packed_workspace<Device, float>& work) {
    const index columns = Shape::token_tiles(job.outputs[0].tokens()) * Shape::columns;
    tile_digits_kernel<In, float, core_stages> kernel;
    kernel.stages = Shape::stage();
    make_digits(b, job, work, columns, kernel);
    launch_tiles<Shape>(b, warpgroup_tiles_kernel<Shape, In, Out>{job});
}

template <class Shape, class Device, class In, class Out>
void multiply_rounded(const gpu_backend<Device>& b, packed_job<In, Out, float>& job,
                      packed_workspace<Device, float>& work) {
    round_kernel<In> kernel;
    kernel.tokens = job.outputs[0].tokens();
    kernel.stages = Shape::stage();
    const index token_tiles = Shape::token_tiles(kernel.tokens);
    const auto steps_of = [&](int o, int p) { return digit_layout::steps(job.outputs[o].parts[p].bits.cols()); };
    index steps = 0, most_steps = 0, parts = 0;
    for (int o = 0; o < job.count; ++o)
        for (int p = 0; p < job.outputs[o].part_count; ++p) {
            steps += steps_of(o, p);
            most_steps = std::max(most_steps, steps_of(o, p));
        }
    std::uint32_t* next = work.words(steps * token_tiles * Shape::stage_words);
    for (int o = 0; o < job.count; ++o)
        for (int p = 0; p < job.outputs[o].part_count; ++p) {
            packed_part<In, float>& part = job.outputs[o].parts[p];
            part.digits.words = next;
            kernel.jobs[parts++] = {part, next};
            next += steps_of(o, p) * token_tiles * Shape::stage_words;
        }
    kernel.pieces = (most_steps + round_kernel<In>::block_steps - 1) / round_kernel<In>::block_steps;
    b.launch({kernel.blocks(parts), round_kernel<In>::threads}, kernel);
    launch_tiles<Shape>(b, warpgroup_tiles_kernel<Shape, In, Out>{job});
}

/// All outputs, of vectors that are rounded to bfloat16, with sums in float.
template <class Device, class In, class Out>
void rounded_products(const gpu_backend<Device>& b, std::span<const packed_output<In, Out, float>> outputs,
                      packed_workspace<Device, float>& work) {
    for_each_job(outputs, [&](packed_job<In, Out, float>& job) {
        with_fitting_shape(rounded_shapes{}, b.device().multiprocessors(), job,
                           [&]<class Shape>(Shape) { multiply_rounded<Shape>(b, job, work); });
    });
}

}  // namespace subbit::gpu
