// Packed products with few vectors: the signs are read once, and binary tensor cores take them as they are.
//
// A block has some strips of 32 rows; its warps share out the columns, hold their part of the vectors as bit planes
// (vector_sources.hpp) in registers, and add their sums up in shared memory, in the order of the warps. The signs of
// all strips are on their way to shared memory, by bulk copies, before the kernel before this one is done.
//
// With one vector, what takes the time is not the bytes but the way of one warp from its numbers to its sums. So
// nothing is waited for on that way but the warp's own largest number; warps are many and have few columns each; the
// product before another leaves its outputs as planes; and a multiprocessor has room for a block of the next kernel,
// which then has its signs when its vector comes.
#pragma once

#include <subbit/backend/gpu/device/block.hpp>
#include <subbit/backend/gpu/packed/plane_products.hpp>

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <type_traits>

namespace subbit::gpu {

/// diag(scale) y as planes, for a product of one part.
struct plane_target {
    const float* scale = nullptr;  ///< m, or null: ones
    plane_view planes;

    SUBBIT_KERNEL int rows() const { return planes.size; }
};

/// How the strips of a launch are shared out.
struct strip_shares {
    int each = 0, extra = 0;  ///< strips of a block; the first `extra` blocks have one more
    int batch = 1;            ///< strips that a block takes at a time
    int parts = 1;            ///< the most parts of an output
    int stage_words = 0;      ///< words of shared memory for the signs of a strip and part; 0: they stay where they are

    SUBBIT_KERNEL int first(int block) const { return block * each + (block < extra ? block : extra); }
    SUBBIT_KERNEL int stages() const { return stage_words > 0 ? batch * parts : 0; }
};

/// The outputs of one launch. The kernel has up to `Vectors` vectors, from `first_vector` on.
template <class Source, class Target, int Vectors, int Halves>
struct staged_vectors_kernel {
    static constexpr int most_warps = 16, most_threads = most_warps * warp_size;
    static constexpr int least_blocks = Vectors == 1 ? 2 : 1;
    static constexpr bool overlaps = true;
    static constexpr bool needs_warpgroups = true;  // bulk copies: devices have both or neither

    vector_output<Source, Target> outputs[outputs_at_once];
    int first_strip[outputs_at_once + 1] = {};  ///< of an output; behind the last one the number of all
    int count = 0;
    int first_vector = 0, vectors = 1;
    strip_shares shares;

    /// How many columns a block of so many warps has at a time.
    static constexpr int chunk(int warps) { return Halves * warp_columns::half * warps; }
    /// Of a strip in a batch: sums of all threads, magnitudes of all warps.
    static constexpr index strip_bytes(int threads) {
        return Vectors * (threads + most_warps) * static_cast<index>(sizeof(float));
    }
    std::size_t shared_bytes(int threads) const {
        const index stages = shares.stages() * (shares.stage_words * 4 + static_cast<index>(sizeof(arrival)));
        return static_cast<std::size_t>(stages + shares.batch * strip_bytes(threads) + 48);
    }

    template <class Block>
    SUBBIT_KERNEL void operator()(Block& block) const {
        const int number = static_cast<int>(block.index()), end = shares.first(number + 1);
        const memory shared(block, shares);
        int first = shares.first(number);
        if (shares.stage_words > 0) {
            if (block.thread() == 0) {
                make_arrivals(block, shared.arrivals, shares.stages());
                load_signs(block, shared, first, least(first + shares.batch, end));
            }
            block.sync();
        }
        known_factor factor;
        if constexpr (makes_planes) know_factor(block, least(first + block.warp() / plane_shares, end - 1), factor);
        wait_for_predecessor(block);
        for (int round = 0; first < end; round ^= 1) {
            const int last = least(first + shares.batch, end);
            const float old = old_output(block, first, last);
            multiply(block, shared, first, last, round);
            block.sync();
            finish(block, shared, first, last, old, factor);
            first = last;
            if (first == end) break;
            if (shares.stage_words > 0) release_to_bulk(block);
            block.sync();
            if (shares.stage_words > 0 && block.thread() == 0)
                load_signs(block, shared, first, least(first + shares.batch, end));
            block.sync();
        }
    }

  private:
    static_assert(!has_factor<Source>, "plane_vectors.hpp takes sources with a factor");
    static constexpr int tiles = Source::tiles;
    using output_type = vector_output<Source, Target>;
    using planes_type = warp_planes<tiles, Halves>;

    struct memory {
        std::uint32_t* signs;  // (strips of a batch, parts), stage_words each
        arrival* arrivals;     // likewise
        float* sums;           // (strips of a batch, vectors, threads)
        float* magnitudes;     // (strips of a batch, vectors, warps)

        template <class Block>
        SUBBIT_KERNEL memory(Block& block, const strip_shares& s)
            : signs(block.template shared<std::uint32_t>(index{s.stages()} * s.stage_words)),
              arrivals(block.template shared<arrival>(s.stages())),
              sums(block.template shared<float>(index{s.batch} * Vectors * block.threads())),
              magnitudes(block.template shared<float>(index{s.batch} * Vectors * most_warps)) {}
    };

    SUBBIT_KERNEL static int least(int a, int b) { return a < b ? a : b; }
    SUBBIT_KERNEL int output_of(int strip) const { return output_with(first_strip, count, strip); }
    /// The row of its output that a lane has in a strip.
    template <class Block>
    SUBBIT_KERNEL int row_of(const Block& block, int output, int strip) const {
        return (strip - first_strip[output]) * static_cast<int>(strip_rows) + block.lane();
    }

    /// Has the signs of some strips, `first` being the batch's first, on their way to shared memory; by one thread.
    template <class Block>
    SUBBIT_KERNEL void load_signs(Block& block, const memory& shared, int first, int last) const {
        for (int strip = first; strip < last; ++strip) {
            const int o = output_of(strip), group = 2 * (strip - first_strip[o]);
            for (int p = 0; p < outputs[o].part_count; ++p) {
                const bit_view& bits = outputs[o].parts[p].bits;
                const int groups = least(2, static_cast<int>(bits.row_groups()) - group);
                const int bytes = groups * static_cast<int>(bits.col_groups() * bit_layout::tile_rows * 4);
                const int stage = (strip - first) * shares.parts + p;
                copy_bulk(block, shared.signs + stage * shares.stage_words, bits.tile(group, 0), bytes,
                          shared.arrivals[stage]);
            }
        }
    }

    /// Leaves every warp's sums of some strips in shared memory.
    template <class Block>
    SUBBIT_KERNEL void multiply(Block& block, const memory& shared, int first, int last, int round) const {
        for (int strip = first; strip < last;) {
            const int o = output_of(strip), end = least(first_strip[o + 1], last);
            const output_type& output = outputs[o];
            bool begun = false;
            for (int p = 0; p < output.part_count; ++p)
                for (int column = 0; column == 0 || column < output.parts[p].bits.cols();
                     column += chunk(block.warps())) {
                    multiply_piece(block, shared, first, o, p, strip, end, column, begun, round);
                    begun = true;
                }
            strip = end;
        }
    }

    /// The products of some columns of a part with strips of an output, `base` being the batch's first strip.
    template <class Block>
    SUBBIT_KERNEL void multiply_piece(Block& block, const memory& shared, int base, int o, int p, int strip, int end,
                                      int column, bool adds, int round) const {
        const vector_part<Source>& part = outputs[o].parts[p];
        const warp_columns columns(block, column);
        const auto factors = part.source.template load_factors<Halves>(columns);
        planes_type planes[Vectors];
        SUBBIT_UNROLL
        for (int v = 0; v < Vectors; ++v)
            if (v < vectors) {
                planes[v] = part.source.template load<Halves>(block, first_vector + v, factors, columns);
                if constexpr (makes_planes) planes[v].magnitude = block.warp_sum(planes[v].magnitude);
            }
        for (; strip < end; ++strip) {
            const int row = row_of(block, o, strip);
            const float post = part.post != nullptr && row < part.bits.rows() ? part.post[row] : 1.0f;
            const int stage = (strip - base) * shares.parts + p;
            if (shares.stage_words > 0 && column == 0) wait_for_bulk(block, shared.arrivals[stage], round);
            const strip_signs signs(block, part.bits, strip - first_strip[o],
                                    shares.stage_words > 0 ? shared.signs + stage * shares.stage_words : nullptr);
            SUBBIT_UNROLL
            for (int v = 0; v < Vectors; ++v) {
                if (v >= vectors) break;
                const float sum = post * plane_product(block, planes[v], [&](int h) {
                                      return signs.at(block, columns.begin(h) / 32 + block.lane() % 4);
                                  });
                const int place = (strip - base) * Vectors + v;
                float& mine = shared.sums[place * block.threads() + block.thread()];
                mine = adds ? mine + sum : sum;
                float& magnitude = shared.magnitudes[place * most_warps + block.warp()];
                if (block.lane() == 0) magnitude = adds ? magnitude + planes[v].magnitude : planes[v].magnitude;
            }
        }
    }

    /// Where a lane finds the signs of a strip: in shared memory, or where they lie.
    struct strip_signs {
        const sign_words* staged = nullptr;
        const sign_words* lying = nullptr;  ///< null for a lane without rows, too
        int groups;                         ///< of columns; none for a lane without rows

        template <class Block>
        SUBBIT_KERNEL strip_signs(const Block& block, const bit_view& bits, int strip, const std::uint32_t* stage) {
            const int row_group = block.lane() / 16, quad = block.lane() / 4 % 4;
            groups = static_cast<int>(bits.col_groups());
            const int place = row_group * groups * 4 + quad;
            const bool there = 2 * strip + row_group < bits.row_groups();
            if (stage != nullptr)
                staged = reinterpret_cast<const sign_words*>(stage) + place;
            else if (there)
                lying = reinterpret_cast<const sign_words*>(bits.tile(2 * strip, 0)) + place;
            if (!there) groups = 0;
        }
        template <class Block>
        SUBBIT_KERNEL sign_words at(Block& block, int group) const {
            if (group >= groups) return {};
            return staged != nullptr ? staged[4 * group] : load_once(block, lying + 4 * group);
        }
    };

    /// A warp finishes items of a batch: vectors of strips, or shares of their planes.
    static constexpr bool makes_planes = std::is_same_v<Target, plane_target>;
    static constexpr int plane_shares = 8, items = makes_planes ? plane_shares : 1;

    /// The largest magnitude of an output's scale, which a warp finds but once: it is a whole vector to read.
    struct known_factor {
        int output = -1;
        float largest = 1;
    };
    template <class Block>
    SUBBIT_KERNEL void know_factor(Block& block, int strip, known_factor& factor) const {
        const int o = output_of(strip);
        if (o == factor.output) return;
        factor = {o, largest(block, outputs[o].target.scale, outputs[o].target.rows())};
    }

    /// What a warp's first output is added to comes while the block multiplies.
    template <class Block>
    SUBBIT_KERNEL float old_output(const Block& block, int first, int last) const {
        if constexpr (!makes_planes) {
            const int strip = first + block.warp() / vectors, v = block.warp() % vectors;
            if (strip >= last) return 0;
            const int o = output_of(strip), row = row_of(block, o, strip);
            const Target& target = outputs[o].target;
            if (target.beta != 0.0f && row < target.rows()) return static_cast<float>(target.Y(first_vector + v, row));
        }
        return 0;
    }

    template <class Block>
    SUBBIT_KERNEL void finish(Block& block, const memory& shared, int first, int last, float old,
                              known_factor& factor) const {
        for (int item = block.warp(); item < (last - first) * vectors * items; item += block.warps()) {
            const int v = item / items % vectors, strip = item / items / vectors;
            const int o = output_of(first + strip), row = row_of(block, o, first + strip);
            const float y = sum_of_warps<most_warps>(
                block, shared.sums + (strip * Vectors + v) * block.threads() + block.lane(), warp_size);
            if constexpr (makes_planes) {
                know_factor(block, first + strip, factor);
                store(block, outputs[o].target, v, row, y, shared.magnitudes + (strip * Vectors + v) * most_warps,
                      factor.largest, item % items);
            } else {
                store(outputs[o].target, v, row, y, item == block.warp(), old);
            }
        }
    }

    template <class Out>
    SUBBIT_KERNEL void store(const matrix_target<Out>& target, int v, int row, float y, bool has_old, float old) const {
        if (row >= target.rows()) return;
        if (target.beta != 0.0f && !has_old) old = static_cast<float>(target.Y(first_vector + v, row));
        target.store(first_vector + v, row, y, old);
    }

    template <class Block>
    SUBBIT_KERNEL void store(Block& block, const plane_target& target, int v, int row, float y, const float* magnitudes,
                             float largest_factor, int share) const {
        constexpr int planes = 32 / plane_shares;
        const int first = share * planes;
        const bool there = row < target.rows();
        float bound = 0;
        SUBBIT_UNROLL
        for (int w = 0; w < most_warps; ++w)
            bound += w < block.warps() ? magnitudes[w] : 0.0f;
        const fixed_scale<float> to = scale_of_bound(bound * largest_factor);
        if (there && target.scale != nullptr) y *= target.scale[row];
        const int integer = there && to.to_integer != 0.0f ? static_cast<int>(std::rint(y * to.to_integer)) : 0;
        std::uint32_t word = 0;
        SUBBIT_UNROLL
        for (int p = 0; p < planes; ++p) {
            const std::uint32_t plane = block.ballot((integer >> (first + p) & 1) != 0);
            if (block.lane() == p) word = plane;
        }
        const int vector = first_vector + v, group = row / warp_size;
        if (block.lane() < planes)
            target.planes.words_of(vector)[group * 32 + plane_view::place(first + block.lane())] = word;
        if (row == 0 && first == 0) target.planes.to_real[vector] = to.to_real;
    }

    template <class Block>
    SUBBIT_KERNEL static float largest(Block& block, const float* scale, int size) {
        if (scale == nullptr) return 1;
        float found = 0;
        for (int i = block.lane(); i < size; i += warp_size)
            found = maximum{}(found, std::abs(scale[i]));
        return block.warp_reduce(found, maximum{});
    }
};

}  // namespace subbit::gpu
