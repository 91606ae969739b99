// The product of packed signs with a few vectors: y = B x without unpacking B.
//
// A kernel looks several columns up at once. For every few adjacent numbers of x, all sums +-x_j +-x_(j+1).. are a
// table in registers, and the bits of a row are the index into it. Processors differ in how long a table can be. A
// kernel has
//   has_tables                    whether it does so
//   max_vectors, max_groups       the vectors and the groups of 16 rows that it takes at once
//   table_size                    numbers that the tables of a vector take for each 32 columns
//   build<V>(tables, values, n)   makes the tables of V vectors of n values (a multiple of 32), values[v*n + j]
//   sums<V>(bits, group, groups, tables, out)   out[v*16*max_groups + i] = row 16*group + i times vector v, groups <=
//                                               max_groups
// and perhaps
//   serial_work()                 multiply-adds that are not worth a second thread
// A sum runs over the columns in a fixed order, which depends neither on V nor on how rows are divided among threads.
#pragma once

#include <subbit/backend/cpu/isa.hpp>
#include <subbit/backend/cpu/lanes.hpp>
#include <subbit/bits/bit_view.hpp>

#include <xsimd/xsimd.hpp>

#include <algorithm>
#include <bit>
#include <cstdint>
#include <type_traits>

namespace subbit::cpu_kernels {

/// Multiply-adds below which a loop of packed products stays on one thread: some 1.5 microseconds, what it takes to
/// share it with threads that are awake.
inline constexpr double packed_serial_work = 2e5;

/// The kernel for the vectors that are left when Kernel has taken as many as it can at once; void: the same, one by
/// one.
template <class Kernel>
struct fewer_vectors {
    using kernel = void;
};

/// For any processor and any scalar: without tables, the sign bit of each value is flipped in batches of rows.
template <class Arch, class Real, class Simd = xsimd::default_arch>
struct packed_kernel {
    static constexpr bool has_tables = false;
    static constexpr index max_groups = 8;
    static constexpr index max_vectors = 1;
    static constexpr index table_size = 32;

    template <index V>
    static void build(Real* tables, const Real* values, index n) {
        static_assert(V == 1);
        std::copy_n(values, n, tables);
    }

    template <index V>
    static void sums(bit_view bits, index group, index groups, const Real* tables, Real* out) {
        for (index g = 0; g < groups; ++g)
            sweep(bits, group + g, tables, out + 16 * g);
    }

  private:
    static void sweep(bit_view bits, index group, const Real* tables, Real* out) {
        using word = std::conditional_t<sizeof(Real) == 4, std::uint32_t, std::uint64_t>;
        using batch = xsimd::batch<Real, Simd>;
        using words = xsimd::batch<word, Simd>;
        constexpr std::size_t width = batch::size, count = 16 / width;
        constexpr int top = 8 * sizeof(word) - 1;
        batch sum[count];
        for (batch& s : sum)
            s = batch(Real(0));
        for (index c = 0; c < bits.col_groups(); ++c) {
            const std::uint32_t* tile = bits.tile(group, c);
            word minus[16];
            for (int i = 0; i < 16; ++i)
                minus[i] = static_cast<word>(~tile[i]);
            words w[count];
            for (std::size_t k = 0; k < count; ++k)
                w[k] = words::load_unaligned(minus + k * width);
            // Shifts by constants, since NEON has no other: xsimd makes a jump of one that varies.
            for (int j = 0; j < 32; ++j) {
                const auto x = std::bit_cast<words>(batch(tables[32 * c + j]));
                for (std::size_t k = 0; k < count; ++k) {
                    sum[k] += std::bit_cast<batch>(x ^ (w[k] << top));
                    w[k] = w[k] >> 1;
                }
            }
        }
        for (std::size_t k = 0; k < count; ++k)
            sum[k].store_unaligned(out + k * width);
    }
};

}  // namespace subbit::cpu_kernels
