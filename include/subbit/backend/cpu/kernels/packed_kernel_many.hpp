// A kernel of packed_kernel.hpp for 16 vectors at once, on any processor. An entry of its tables is a sum for all 16,
// side by side: to look it up is to load it, and one addition serves five or six columns of 16 vectors. The tables of
// 32 columns stay in the nearest cache while many rows pass them.
#pragma once

#include <subbit/backend/cpu/kernels/packed_kernel.hpp>
#include <subbit/backend/cpu/kernels/simd_loop.hpp>
#include <subbit/backend/cpu/scratch.hpp>

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <utility>

namespace subbit::cpu_kernels {

template <class Arch>
struct many_vectors_kernel {
    static constexpr bool has_tables = true;
    static constexpr index max_groups = 64;  // enough rows to make tables of 32 columns for
    static constexpr index max_vectors = lanes<float>::count;
    static constexpr index table_size = bit_layout::tile_cols;

    /// The vectors side by side: tables[j*16 + v] = values[v*n + j].
    template <index V>
    static void build(float* tables, const float* values, index n) {
        static_assert(V == max_vectors);
        const auto turn = [=] {
            for (index j = 0; j < n; ++j)
                for (index v = 0; v < V; ++v)
                    tables[j * V + v] = values[v * n + j];
        };
        run_loop(Arch{}, turn);
    }

    template <index V>
    static void sums(bit_view bits, index group, index groups, const float* vectors, float* out) {
        static_assert(V == max_vectors);
        struct memory;
        constexpr index entries = entries_before(columns.size());
        const index rows = bit_layout::tile_rows * groups;
        float* const tables = thread_scratch<memory>().template reserve<float>((entries + rows) * V);
        float* const by_rows = tables + entries * V;  // (rows, 16)
        const auto all_columns = [=](auto registers) {
            using pack = lanes<float, decltype(registers)::value>;
            std::fill_n(by_rows, rows * V, 0.0F);
            for (index c = 0; c < bits.col_groups(); ++c) {
                make_tables<pack>(vectors + c * bit_layout::tile_cols * V, tables);
                float* row = by_rows;
                for (index g = group; g < group + groups; ++g) {
                    constexpr index ahead = 2;
                    const std::uint32_t* tile = bits.tile(g, c);
                    __builtin_prefetch(tile + ahead * bits.col_groups() * bit_layout::tile_rows);
                    for (index i = 0; i < bit_layout::tile_rows; ++i, row += V)
                        add_row<pack>(tile[i], tables, row, std::make_index_sequence<columns.size()>{});
                }
            }
            for (index v = 0; v < V; ++v)
                for (index i = 0; i < rows; ++i)
                    out[v * bit_layout::tile_rows * max_groups + i] = by_rows[i * V + v];
        };
        run_loop(Arch{}, all_columns);
    }

  private:
    /// The columns of each lookup in a tile of 32: their tables take 16 KiB, half of the smallest nearest cache.
    static constexpr std::array<int, 6> columns{6, 6, 5, 5, 5, 5};
    /// The columns, and the entries of tables, before lookup `l`.
    static constexpr int columns_before(std::size_t l) { return l == 0 ? 0 : columns_before(l - 1) + columns[l - 1]; }
    static constexpr index entries_before(std::size_t l) {
        return l == 0 ? 0 : entries_before(l - 1) + (index{1} << columns[l - 1]);
    }

    /// Entry e of a table is the sum of its columns' x_j with a minus where bit j of e is not set: one of the eight
    /// sums of the first three columns and one of those of the others.
    template <class Pack>
    [[gnu::always_inline]] static void make_tables(const float* x, float* tables) {
        constexpr int split = 3;
        for (const int count : columns) {
            Pack low[1 << split], high[1 << split];
            signed_sums(x, split, low);
            signed_sums(x + split * max_vectors, count - split, high);
            x += count * max_vectors;
            for (index h = 0; h < index{1} << (count - split); ++h)
                for (const Pack& part : low) {
                    Pack sum = high[h];
                    sum.add(part);
                    sum.store(tables, max_vectors);
                    tables += max_vectors;
                }
        }
    }
    template <class Pack>
    [[gnu::always_inline]] static void signed_sums(const float* x, int count, Pack* sums) {
        sums[0] = Pack{};
        for (int j = 0; j < count; ++j) {
            Pack value;
            value.load(x + j * max_vectors, max_vectors);
            for (index e = 0, half = index{1} << j; e < half; ++e) {
                sums[half + e] = sums[e];
                sums[half + e].add(value);
                sums[e].subtract(value);
            }
        }
    }

    /// Adds the entries that a row's word of 32 signs names.
    template <class Pack, std::size_t... L>
    [[gnu::always_inline]] static void add_row(std::uint32_t word, const float* tables, float* row,
                                               std::index_sequence<L...>) {
        Pack sum;
        sum.load(row, max_vectors);
        (add_entry<Pack, L>(word, tables, sum), ...);
        sum.store(row, max_vectors);
    }
    template <class Pack, std::size_t L>
    [[gnu::always_inline]] static void add_entry(std::uint32_t word, const float* tables, Pack& sum) {
        // The entry's number times its 64 bytes, by one shift of the word: each addition more would count.
        constexpr int first = columns_before(L), bytes = 6;
        constexpr int left = first < bytes ? bytes - first : 0, right = first < bytes ? 0 : first - bytes;
        constexpr std::uint32_t mask = ((1U << columns[L]) - 1) << bytes;
        const std::uint32_t at = word << left >> right & mask;
        Pack found;
        found.load(reinterpret_cast<const float*>(
                       reinterpret_cast<const char*>(tables + entries_before(L) * max_vectors) + at),
                   max_vectors);
        sum.add(found);
    }
};

/// Fewer vectors look up one by one what 16 of them load.
template <class Arch>
struct fewer_vectors<many_vectors_kernel<Arch>> {
    using kernel = packed_kernel<Arch, float>;
};

}  // namespace subbit::cpu_kernels
