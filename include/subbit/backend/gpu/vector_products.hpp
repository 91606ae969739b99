// Packed products of few vectors: launches of packed_vectors.hpp.
#pragma once

#include <subbit/backend/gpu/backend.hpp>
#include <subbit/backend/gpu/packed_vectors.hpp>

#include <algorithm>
#include <cstddef>
#include <span>
#include <type_traits>
#include <vector>

namespace subbit::gpu {

/// More vectors go through tiles (packed_tiles.hpp).
inline constexpr index most_vectors = 16;

template <int Vectors, int Halves, class Device, class Source, class Target>
void launch_vectors(const gpu_backend<Device>& b, std::span<const vector_output<Source, Target>> outputs,
                    index first_vector, index vectors, int warps) {
    using kernel = packed_vectors_kernel<Source, Target, Vectors, Halves>;
    kernel k;
    k.first_vector = static_cast<int>(first_vector);
    k.vectors = static_cast<int>(vectors);
    for (const auto& output : outputs) {
        k.outputs[k.count] = output;
        const int strips = (output.target.rows() + static_cast<int>(strip_rows) - 1) / static_cast<int>(strip_rows);
        k.first_strip[k.count + 1] = k.first_strip[k.count] + strips;
        ++k.count;
    }
    const index strips = k.first_strip[k.count];
    const int threads = warps * warp_size;
    if (strips > 0)
        b.launch({std::min(strips, b.device().multiprocessors()), threads, kernel::shared_bytes(threads)}, k);
}

/// All outputs of `vectors` vectors, in as few launches as their number allows. The order of a sum depends on the
/// widest part alone.
template <class Device, class Source, class Target>
void vector_products(const gpu_backend<Device>& b, std::span<const vector_output<Source, Target>> outputs,
                     index vectors) {
    index widest = 0;
    for (const auto& output : outputs)
        for (int p = 0; p < output.part_count; ++p)
            widest = std::max(widest, output.parts[p].bits.cols());
    const index halves = (widest + warp_columns::half - 1) / warp_columns::half;
    const auto launch = [&]<int most, int each>(index first, index count, std::integral_constant<int, most>,
                                                std::integral_constant<int, each>) {
        // No fewer than finish a strip's planes side by side.
        const int warps = static_cast<int>(std::clamp<index>((halves + each - 1) / each, 8, 16));
        for (std::size_t o = 0; o < outputs.size(); o += outputs_at_once)
            launch_vectors<most, each>(
                b, outputs.subspan(o, std::min<std::size_t>(outputs_at_once, outputs.size() - o)), first, count, warps);
    };
    using one = std::integral_constant<int, 1>;
    using two = std::integral_constant<int, 2>;
    using four = std::integral_constant<int, 4>;
    if (vectors == 1) {
        if (halves <= 12) return launch(0, 1, one(), one());
        if (halves <= 32) return launch(0, 1, one(), two());
        return launch(0, 1, one(), four());
    }
    for (index first = 0; first < vectors; first += 4)
        launch(first, std::min<index>(4, vectors - first), four(), two());
}

}  // namespace subbit::gpu
