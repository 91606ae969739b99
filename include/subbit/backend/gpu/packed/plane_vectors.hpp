// Packed products with one or two vectors: the signs are read once, and binary tensor cores take them as they are.
//
// A block has a strip of 32 rows; its warps share out the columns, make bit planes of their own part of a vector
// (bit_planes.hpp), with a scale of their own, and add their sums up in shared memory, in the order of the warps. So
// nothing is waited for between the vector's numbers and the product but the warp's own largest number; a factor of the
// whole vector, of which each warp has a share, comes to the sums. Signs and scales are on their way to the registers
// before the kernel before this one is done.
//
// What takes the time with one vector is not the bytes but the way of one warp from its numbers to its sums: on an H200
// about 1 us a product, of which a load from the L2 cache is a third. So a block has many warps with few columns each.
#pragma once

#include <subbit/backend/gpu/device/block.hpp>
#include <subbit/backend/gpu/packed/plane_products.hpp>

#include <cstddef>
#include <cstdint>

namespace subbit::gpu {

/// The outputs of one launch; each takes a block for each of its strips.
template <class Source, class Out>
struct plane_vectors_kernel {
    static constexpr int halves = 4;  // of 128 columns, that a warp has on their way at a time
    static constexpr int most_warps = 16, most_threads = most_warps * warp_size;
    static constexpr bool overlaps = true;
    using output_type = vector_output<Source, matrix_target<Out>>;

    output_type outputs[outputs_at_once];
    int first_block[outputs_at_once] = {};
    int count = 0;
    int vectors = 1;

    static constexpr std::size_t shared_bytes(index vectors, int threads) {
        return static_cast<std::size_t>(vectors * (threads + (has_factor<Source> ? most_warps : 0))) * sizeof(float);
    }

    template <class Block>
    SUBBIT_KERNEL void operator()(Block& block) const {
        const int o = output_with(first_block, count, block.index());
        const output_type& output = outputs[o];
        const int strip = static_cast<int>(block.index()) - first_block[o];
        const int row = strip * static_cast<int>(strip_rows) + block.lane();
        const bool there = row < output.target.rows();
        float* const sums = block.template shared<float>(index{vectors} * block.threads());
        float* shares = nullptr;
        if constexpr (has_factor<Source>) shares = block.template shared<float>(index{vectors} * most_warps);
        pending next(block, output.parts[0], strip, 0);
        wait_for_predecessor(block);
        // What a warp's first vector is added to comes while the block multiplies.
        const bool adds = there && output.target.beta != 0.0f;
        float old = adds && block.warp() < vectors ? static_cast<float>(output.target.Y(block.warp(), row)) : 0.0f;
        bool begun = false;
        for (int p = 0; p < output.part_count; ++p)
            for (int first = 0; first == 0 || first < output.parts[p].bits.cols(); first += chunk(block)) {
                if (begun) next = pending(block, output.parts[p], strip, first);
                // All parts have the same vector, and so its factor.
                multiply(block, output.parts[p].source, next, first, begun, sums, p == 0 ? shares : nullptr);
                begun = true;
            }
        block.sync();
        // A warp finishes a vector.
        for (int t = block.warp(); t < vectors; t += block.warps()) {
            float sum = sum_of_warps<most_warps>(block, sums + t * block.threads() + block.lane(), warp_size);
            if constexpr (has_factor<Source>)
                sum *= output.parts[0].source.factor(sum_of_warps<most_warps>(block, shares + t * most_warps, 1));
            if (!there) continue;
            if (adds && t != block.warp()) old = static_cast<float>(output.target.Y(t, row));
            output.target.store(t, row, sum, old);
        }
    }

  private:
    template <class Block>
    SUBBIT_KERNEL static int chunk(const Block& block) {
        return halves * warp_columns::half * block.warps();
    }

    /// What a thread has read of a strip that no kernel writes: its signs of some columns, and scales.
    struct pending {
        sign_words signs[halves];
        typename Source::template factors<halves> factors;
        float post;

        template <class Block>
        SUBBIT_KERNEL pending(Block& block, const vector_part<Source>& part, int strip, int first) {
            const warp_columns columns(block, first);
            const int row_group = 2 * strip + block.lane() / 16,
                      row = strip * static_cast<int>(strip_rows) + block.lane();
            const bool there = row_group < part.bits.row_groups();
            const auto* const words =
                reinterpret_cast<const sign_words*>(part.bits.tile(there ? row_group : 0, 0)) + block.lane() / 4 % 4;
            SUBBIT_UNROLL
            for (int h = 0; h < halves; ++h) {
                const int group = columns.begin(h) / 32 + block.lane() % 4;
                signs[h] = sign_words{};
                if (there && group < part.bits.col_groups()) signs[h] = load_once(block, words + 4 * group);
            }
            factors = part.source.template load_factors<halves>(columns);
            post = part.post != nullptr && row < part.bits.rows() ? part.post[row] : 1.0f;
        }
    };

    /// Sets the warps' sums of all vectors and, unless null, their shares of a factor, or adds to them.
    template <class Block>
    SUBBIT_KERNEL void multiply(Block& block, const Source& source, const pending& next, int first, bool adds,
                                float* sums, float* shares) const {
        for (int t = 0; t < vectors; ++t) {
            const auto planes = source.template load<halves>(block, t, next.factors, warp_columns(block, first));
            const float sum = next.post * plane_product(block, planes, [&](int h) { return next.signs[h]; });
            float& mine = sums[t * block.threads() + block.thread()];
            mine = adds ? mine + sum : sum;
            if constexpr (has_factor<Source>)
                if (shares != nullptr && block.lane() == 0) {
                    float& share = shares[t * most_warps + block.warp()];
                    share = adds ? share + planes.share : planes.share;
                }
        }
    }
};

}  // namespace subbit::gpu
