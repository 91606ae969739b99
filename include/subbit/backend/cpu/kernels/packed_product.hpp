// Products of vectors with packed signs over the kernels of packed_kernel.hpp: scales, threads, many vectors.
//
// Rows are cut into runs whose boundaries depend on the sizes alone, and each row is summed by one thread in a fixed
// order, so the result has the same bits for any number of threads.
#pragma once

#include <subbit/backend/cpu/kernels/bit_transpose.hpp>
#include <subbit/backend/cpu/kernels/gemm.hpp>
#include <subbit/backend/cpu/kernels/packed_kernel.hpp>
#include <subbit/backend/cpu/kernels/simd_loop.hpp>
#include <subbit/backend/cpu/scratch.hpp>
#include <subbit/backend/cpu/thread_pool.hpp>

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <span>
#include <type_traits>

namespace subbit::cpu_kernels {

/// packed_serial_work, or what the kernel knows better.
template <class Kernel>
double serial_work_of() {
    if constexpr (requires { Kernel::serial_work(); })
        return Kernel::serial_work();
    else
        return packed_serial_work;
}

/// One product of a job: B x, or B^T x, for a few rows x of X; `pre` is null or holds scales of x.
template <class Real>
struct packed_operand {
    bit_view bits;
    bool transposed;
    matrix_view<const Real> X;
    const Real* pre;

    index rows() const { return transposed ? bits.cols() : bits.rows(); }
    index cols() const { return transposed ? bits.rows() : bits.cols(); }
    double work() const { return static_cast<double>(rows()) * static_cast<double>(cols()); }
    /// Values that tables are made of: whole tiles.
    index padded_cols() const { return bit_layout::col_groups(cols()) * bit_layout::tile_cols; }
};

struct packed_values_scratch;
struct packed_strip_scratch;

/// The tables that a thread has made for its present job. Every thread makes its own, since fetching those of another
/// core would take longer.
class packed_tables {
  public:
    static packed_tables& of_this_thread() {
        thread_local packed_tables tables;
        return tables;
    }
    /// A number that no other job has.
    static std::uint64_t new_job() {
        static std::atomic<std::uint64_t> last = 0;
        return last.fetch_add(1, std::memory_order_relaxed) + 1;
    }

    /// Memory for all tables of a job, `count` numbers.
    template <class Real>
    Real* memory(std::uint64_t job, index count) {
        if (job != job_) made_ = 0;
        job_ = job;
        return memory_.reserve<Real>(count);
    }
    /// True the first time that this thread asks for those of product `l` < 64 in the job.
    bool must_make(std::size_t l) {
        const bool first = (made_ >> l & 1U) == 0;
        made_ |= std::uint64_t{1} << l;
        return first;
    }

  private:
    scratch_buffer memory_;
    std::uint64_t job_ = 0, made_ = 0;
};

/// The tables of rows t..t+V of X, scaled.
template <index V, class Kernel, class Arch, class Real>
void packed_build(Arch arch, const packed_operand<Real>& product, index t, Real* tables) {
    const index n = product.padded_cols(), cols = product.cols(), stride = product.X.col_stride;
    if (V == 1 && stride == 1 && product.pre == nullptr && cols == n)
        return Kernel::template build<V>(tables, product.X.row(t), n);
    Real* values = thread_scratch<packed_values_scratch>().template reserve<Real>(V * n);
    const auto scaled = [&] {
        for (index v = 0; v < V; ++v) {
            const Real* x = product.X.row(t + v);
            const Real* pre = product.pre;
            Real* out = values + v * n;
            if (pre == nullptr)
#pragma omp simd
                for (index j = 0; j < cols; ++j)
                    out[j] = x[j * stride];
            else if (stride == 1)  // nearly always; apart, a vector loop
#pragma omp simd
                for (index j = 0; j < cols; ++j)
                    out[j] = x[j] * pre[j];
            else
                for (index j = 0; j < cols; ++j)
                    out[j] = x[j * stride] * pre[j];
            std::fill(out + cols, out + n, Real(0));  // whatever the padding's bits say
        }
    };
    run_loop(arch, scaled);
    Kernel::template build<V>(tables, values, n);
}

/// Where the run-th of `runs` runs of row groups begins: runs of about the same length, at most groups/runs rounded up
/// to an even number, that begin at even groups.
constexpr index packed_run_begin(index groups, index run, index runs) {
    return run == runs ? groups : (groups * run / runs + 1) / 2 * 2;
}

/// At most 64 products with V vectors, rows t.. of each X, as one loop: store(l, t + v, i, sums, n) has
/// sums[0..n) = rows i.. of product l with vector v, for every block of rows once, from any thread.
template <index V, class Kernel, class Arch, class Real, class Store>
void packed_block(Arch arch, executor ex, std::span<const packed_operand<Real>> products, index t, Store&& store) {
    const auto table_count = [](const packed_operand<Real>& p) {
        return V * bit_layout::col_groups(p.cols()) * Kernel::table_size;
    };
    const auto run_count = [](const packed_operand<Real>& p) {
        return ceil_div(bit_layout::row_groups(p.rows()), Kernel::max_groups);
    };
    index size = 0, runs = 0;
    double work = 0;
    for (const auto& p : products) {
        size += table_count(p);
        runs += run_count(p);
        work += V * p.work();
    }
    const std::uint64_t job = packed_tables::new_job();
    ex.when(work, serial_work_of<Kernel>()).for_chunks(runs, 1, [&](index run, index) {
        packed_tables& tables = packed_tables::of_this_thread();
        Real* table = tables.memory<Real>(job, size);
        std::size_t l = 0;
        for (; run >= run_count(products[l]); ++l) {
            run -= run_count(products[l]);
            table += table_count(products[l]);
        }
        if (tables.must_make(l)) packed_build<V, Kernel>(arch, products[l], t, table);
        const auto& p = products[l];
        const index groups = bit_layout::row_groups(p.rows()), begin = packed_run_begin(groups, run, run_count(p)),
                    end = packed_run_begin(groups, run + 1, run_count(p));
        Real sums[static_cast<std::size_t>(V * 16 * Kernel::max_groups)];
        if (p.transposed) {
            // Only these rows of the transpose are made, in a strip that stays in the cache.
            const index strip_words = (end - begin) * bit_layout::col_groups(p.cols()) * bit_layout::tile_rows;
            auto* strip = thread_scratch<packed_strip_scratch>().reserve<std::uint32_t>(strip_words);
            transpose_row_groups(arch, p.bits, begin, end, strip);
            Kernel::template sums<V>(bit_view(strip, 16 * (end - begin), p.cols()), 0, end - begin, table, sums);
        } else {
            Kernel::template sums<V>(p.bits, begin, end - begin, table, sums);
        }
        for (index v = 0; v < V; ++v)
            store(static_cast<index>(l), t + v, 16 * begin, sums + v * 16 * Kernel::max_groups,
                  std::min(16 * end, p.rows()) - 16 * begin);
    });
}

/// The same for every row of the X from t on; they have as many.
template <class Kernel, class Arch, class Real, class Store>
void packed_products(Arch arch, executor ex, std::span<const packed_operand<Real>> products, Store&& store,
                     index t = 0) {
    using fewer = typename fewer_vectors<Kernel>::kernel;
    const index vectors = products.front().X.rows;
    if constexpr (Kernel::max_vectors > 1)
        for (; t + Kernel::max_vectors <= vectors; t += Kernel::max_vectors)
            packed_block<Kernel::max_vectors, Kernel>(arch, ex, products, t, store);
    if constexpr (!std::is_void_v<fewer>)
        packed_products<fewer>(arch, ex, products, store, t);
    else
        for (; t < vectors; ++t)
            packed_block<1, Kernel>(arch, ex, products, t, store);
}

struct packed_transpose_scratch;

/// The transpose of `bits`, in scratch memory that the next call in this thread overwrites.
template <class Arch>
bit_view transpose_to_scratch(Arch arch, executor ex, bit_view bits) {
    auto* words = thread_scratch<packed_transpose_scratch>().template reserve<std::uint32_t>(
        bit_layout::word_count(bits.cols(), bits.rows()));
    const index group_words = bit_layout::col_groups(bits.rows()) * bit_layout::tile_rows;
    ex.when(static_cast<double>(bits.rows()) * static_cast<double>(bits.cols()), packed_serial_work)
        .for_chunks(bit_layout::row_groups(bits.cols()), 4, [&](index begin, index end) {
            transpose_row_groups(arch, bits, begin, end, words + begin * group_words);
        });
    return {words, bits.cols(), bits.rows()};
}

/// One product by itself: store(t, i, sums, n) has sums[0..n) = rows i.. of the product with row t of X, for every
/// block of rows once, from any thread.
template <class Kernel, class Arch, class Real, class Store>
void packed_product(Arch arch, executor ex, packed_operand<Real> product, Store&& store) {
    const matrix_view<const Real> X = product.X;
    if (product.transposed && X.rows > Kernel::max_vectors) {
        product.bits = transpose_to_scratch(arch, ex, product.bits);
        product.transposed = false;
    }
    const auto rows = [&](index begin, index end, executor inner) {
        packed_operand<Real> some = product;
        some.X = X.middle_rows(begin, end - begin);
        packed_products<Kernel>(
            arch, inner, std::span<const packed_operand<Real>>(&some, 1),
            [&](index, index t, index first, const Real* sums, index count) { store(begin + t, first, sums, count); });
    };
    // Enough vectors: every thread takes its own. Few: they share the rows.
    if (X.rows >= Kernel::max_vectors * ex.threads())
        ex.when(static_cast<double>(X.rows) * product.work(), serial_work_of<Kernel>())
            .for_chunks(X.rows, Kernel::max_vectors, [&](index begin, index end) { rows(begin, end, executor()); });
    else
        rows(0, X.rows, ex);
}

/// The number of vectors from which a kernel without tables is slower than unpacking the signs into the panels of a
/// matrix product (bench/RESULTS.md). A product by tables needs one addition for four or five weights, a matrix product
/// five multiply-adds: tables are always faster.
inline constexpr index packed_unpack_vectors = 16;

/// C = alpha X B^T + beta C for X (T,n) and packed B (m,n); transposed: C = alpha X B + beta C for B (n,m).
template <class Kernel, class Arch, class Real>
void packed_gemm(Arch arch, executor ex, matrix_view<const Real> X, bit_view bits, bool transposed, matrix_view<Real> C,
                 Real alpha, Real beta) {
    if (C.size() == 0) return;
    if (X.cols == 0) return scale_only(C, beta);
    if constexpr (!Kernel::has_tables)
        if (X.rows >= packed_unpack_vectors)
            return blocked_gemm<plain_products<Real>>(arch, ex, X.cols,
                                                      dense_operand<Real>{X.data, X.row_stride, X.col_stride},
                                                      bit_operand{bits, transposed}, C, alpha, beta);
    packed_product<Kernel>(arch, ex, packed_operand<Real>{bits, transposed, X, nullptr},
                           [&](index t, index first, const Real* sums, index count) {
                               Real* out = &C(t, first);
                               if (C.col_stride == 1 && beta == Real(0))  // nearly always; apart, a vector loop
                                   for (index i = 0; i < count; ++i)
                                       out[i] = alpha * sums[i];
                               else
                                   for (index i = 0; i < count; ++i) {
                                       Real& c = out[i * C.col_stride];
                                       c = beta == Real(0) ? alpha * sums[i] : alpha * sums[i] + beta * c;
                                   }
                           });
}

}  // namespace subbit::cpu_kernels
