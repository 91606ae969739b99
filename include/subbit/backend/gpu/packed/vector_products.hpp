// Packed products of few vectors: launches of plane_vectors.hpp, and of staged_vectors.hpp where there are bulk copies.
#pragma once

#include <subbit/backend/gpu/backend.hpp>
#include <subbit/backend/gpu/packed/plane_vectors.hpp>
#include <subbit/backend/gpu/packed/staged_vectors.hpp>

#include <algorithm>
#include <cstddef>
#include <span>
#include <type_traits>
#include <vector>

namespace subbit::gpu {

/// The widest part of some outputs.
template <class Output>
index widest_of(std::span<const Output> outputs) {
    index widest = 0;
    for (const auto& output : outputs)
        for (int p = 0; p < output.part_count; ++p)
            widest = std::max(widest, output.parts[p].bits.cols());
    return widest;
}
template <class Output>
int strips_of(const Output& output) {
    return (output.target.rows() + static_cast<int>(strip_rows) - 1) / static_cast<int>(strip_rows);
}

/// All outputs of `vectors` vectors by plane_vectors.hpp, in as few launches as their number allows.
template <class Device, class Source, class Out>
void plane_products(const gpu_backend<Device>& b, std::span<const vector_output<Source, matrix_target<Out>>> outputs,
                    index vectors) {
    using kernel = plane_vectors_kernel<Source, Out>;
    // Of blocks that a GPU has all at once, each may have as many warps as a multiprocessor keeps busy; of more, half
    // of that, so that two are there at a time.
    constexpr int few_blocks = 160;
    for (std::size_t first = 0; first < outputs.size(); first += outputs_at_once) {
        const auto some = outputs.subspan(first, std::min<std::size_t>(outputs_at_once, outputs.size() - first));
        kernel k;
        k.vectors = static_cast<int>(vectors);
        int blocks = 0;
        for (const auto& output : some) {
            k.outputs[k.count] = output;
            k.first_block[k.count++] = blocks;
            blocks += strips_of(output);
        }
        if (blocks == 0) continue;
        constexpr int columns = usual_halves<Source> * warp_columns::half;
        const index warps = (widest_of(some) + columns - 1) / columns;
        const int most = blocks <= few_blocks ? kernel::most_warps : kernel::most_warps / 2;
        const int threads = static_cast<int>(std::clamp<index>(warps, 1, most)) * warp_size;
        b.launch({blocks, threads, kernel::shared_bytes(vectors, threads)}, k);
    }
}

/// How strips, whose sums take `strip_bytes` each, are shared out to blocks. Signs that find room are staged in shared
/// memory; two blocks of a multiprocessor share it, unless one alone wants more. A stage is filled in every round,
/// which is what its arrival counts: nothing is staged where a part has no columns.
template <class Source, class Target>
strip_shares shares_of(std::span<const vector_output<Source, Target>> outputs, int strips, int blocks,
                       index strip_bytes) {
    constexpr index half_memory = 110 * 1024, whole_memory = 220 * 1024;
    strip_shares shares;
    shares.each = strips / blocks;
    shares.extra = strips % blocks;
    index groups = 0;
    bool all_have_columns = true;
    for (const auto& output : outputs) {
        shares.parts = std::max(shares.parts, output.part_count);
        for (int p = 0; p < output.part_count; ++p) {
            groups = std::max(groups, output.parts[p].bits.col_groups());
            all_have_columns = all_have_columns && output.parts[p].bits.cols() > 0;
        }
    }
    const int most = (strips + blocks - 1) / blocks;
    const index stage_bytes = strip_rows * groups * 4, each = shares.parts * (stage_bytes + 8) + strip_bytes;
    const index room = each <= half_memory ? half_memory : whole_memory;
    const bool staged = all_have_columns && each <= room;
    shares.batch = static_cast<int>(std::clamp<index>(room / (staged ? each : strip_bytes), 1, most));
    if (staged) shares.stage_words = static_cast<int>(stage_bytes / 4);
    return shares;
}

template <int Vectors, int Halves, class Device, class Source, class Target>
void launch_staged(const gpu_backend<Device>& b, std::span<const vector_output<Source, Target>> outputs,
                   index first_vector, index vectors, int warps) {
    using kernel = staged_vectors_kernel<Source, Target, Vectors, Halves>;
    kernel k;
    k.first_vector = static_cast<int>(first_vector);
    k.vectors = static_cast<int>(vectors);
    for (const auto& output : outputs) {
        k.outputs[k.count] = output;
        k.first_strip[k.count + 1] = k.first_strip[k.count] + strips_of(output);
        ++k.count;
    }
    const int strips = k.first_strip[k.count], threads = warps * warp_size;
    if (strips == 0) return;
    const int blocks = std::min(strips, b.device().multiprocessors());
    k.shares = shares_of(outputs, strips, blocks, kernel::strip_bytes(threads));
    b.launch({blocks, threads, k.shared_bytes(threads)}, k);
}

/// All outputs of `vectors` vectors by staged_vectors.hpp, in as few launches as their number allows. Those of a launch
/// have the same number of parts, as their stages have. The order of a sum depends on the widest part alone.
template <class Device, class Source, class Target>
void staged_products(const gpu_backend<Device>& b, std::span<const vector_output<Source, Target>> outputs,
                     index vectors) {
    const index halves = (widest_of(outputs) + warp_columns::half - 1) / warp_columns::half;
    const auto launch = [&]<int most, int each>(index first, index count, std::integral_constant<int, most>,
                                                std::integral_constant<int, each>) {
        // Whole warpgroups, and no fewer warps than finish a strip's planes side by side.
        const int warps = static_cast<int>(std::clamp<index>((halves + 4 * each - 1) / (4 * each) * 4, 8, 16));
        for (std::size_t o = 0, end; o < outputs.size(); o = end) {
            for (end = o; end < std::min<std::size_t>(o + outputs_at_once, outputs.size()); ++end)
                if (outputs[end].part_count != outputs[o].part_count) break;
            launch_staged<most, each>(b, outputs.subspan(o, end - o), first, count, warps);
        }
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
