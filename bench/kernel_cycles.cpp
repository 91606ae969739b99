// The inner loops of the cpu's kernels for packed signs and for rows of bytes as functions of their own, which
// kernel_cycles.py finds in the assembly. On x86 the program also times them, so that the model of a processor can be
// held against a processor.
#include <subbit/backend/cpu/kernels/bit_transpose.hpp>
#include <subbit/backend/cpu/kernels/byte_product.hpp>
#include <subbit/backend/cpu/kernels/dispatch.hpp>
#include <subbit/bits/bit_matrix.hpp>

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <vector>

namespace subbit::cpu_kernels {

// Instantiated by name, a loop is a function of its own, wherever the compiler inlines it too.
template void packed_kernel<portable_arch, float>::sweep(bit_view, index, const float*, float*);
extern constexpr auto portable_dot = &byte_kernel<portable_arch>::dots<1>;
#if SUBBIT_ARM
template void plane_kernel<neon_arch, 3, 8, 2>::sweep<2, 1>(bit_view, index, const float*, float*);
template void plane_kernel<neon_arch, 3, 8, 2>::sweep<1, 2>(bit_view, index, const float*, float*);
template void plane_kernel<neon_arch, 1, 4, 4>::sweep<2, 1>(bit_view, index, const float*, float*);
template void plane_kernel<neon_arch, 1, 4, 4>::sweep<1, 4>(bit_view, index, const float*, float*);
template struct neon_transpose<neon_arch>;
extern constexpr auto neon_dot = &byte_kernel<neon_arch>::dots<1>;
extern constexpr auto dotprod_dot = &byte_kernel<dotprod_arch>::dot;
#endif
#if SUBBIT_X86
template void packed_kernel<avx512_arch, float>::sweep<8, 1>(bit_view, index, const float*, float*);
template void packed_kernel<avx512_arch, float>::sweep<4, 4>(bit_view, index, const float*, float*);
template void avx2_packed_kernel<avx2_triples>::sweep<4, 1>(bit_view, index, const float*, float*);
template void int8_kernel<avx512_arch>::sweep<8, 1>(bit_view, index, const float*, float*);
template void int8_kernel<avx2_arch>::sweep<2>(bit_view, index, const float*, float*);
#endif

namespace {

/// The least of many timings of f, in seconds.
template <class F>
double seconds(F&& f) {
    using clock = std::chrono::steady_clock;
    double least = 1;
    for (int repeat = 0; repeat < 300; ++repeat) {
        const auto start = clock::now();
        f();
        least = std::min(least, std::chrono::duration<double>(clock::now() - start).count());
    }
    return least;
}

/// Cycles a second: additions that each wait for the one before.
double clock_rate() {
    constexpr int count = 200000;
    return count / seconds([] {
               std::uint64_t x = 1;
               for (int i = 0; i < count; ++i) {
                   x += x;
                   asm volatile("" : "+r"(x));
               }
           });
}

/// Prints the cycles a weight of a kernel with 128 rows and 1,024 columns, which lie in the first cache.
template <class Kernel, index V>
void measure(const char* name) {
    constexpr index rows = 128, cols = 1024;
    const bit_matrix bits(rows, cols);
    const std::vector<float> values(static_cast<std::size_t>(V * cols), 1.0F);
    scratch_buffer memory;
    float* tables = memory.reserve<float>(V * bits.view().col_groups() * Kernel::table_size);
    Kernel::template build<V>(tables, values.data(), cols);
    std::vector<float> out(static_cast<std::size_t>(V * 16 * Kernel::max_groups));
    const double each = seconds([&] {
        for (index group = 0; group < rows / 16; group += Kernel::max_groups)
            Kernel::template sums<V>(bits.view(), group, Kernel::max_groups, tables, out.data());
        asm volatile("" : : "r"(out.data()) : "memory");
    });
    std::printf("%s\t%.4f\n", name, each * clock_rate() / (V * rows * cols));
}

void measure_all() {
    std::printf("GHz\t%.2f\n", clock_rate() * 1e-9);
    measure<packed_kernel<portable_arch, float>, 1>("portable");
#if SUBBIT_X86
    if (has_isa(isa::avx2)) {
        measure<packed_kernel<avx2_arch, float>, 1>("AVX2, exact, one vector");
        measure<int8_kernel<avx2_arch>, 1>("AVX2, 8-bit, one vector");
    }
    if (has_isa(isa::avx512)) {
        measure<packed_kernel<avx512_arch, float>, 1>("AVX-512, exact, one vector");
        measure<packed_kernel<avx512_arch, float>, 4>("AVX-512, exact, four vectors");
        if (detect_byte_tables()) measure<int8_kernel<avx512_arch>, 1>("AVX-512, 8-bit, one vector");
    }
#endif
}

}  // namespace

}  // namespace subbit::cpu_kernels

int main() {
    subbit::cpu_kernels::measure_all();
}
