// Seeded operands of every memory layout, and the backends of this machine, for the kernel tests.
#pragma once

#include "product.hpp"

#include <subbit/backend/cpu.hpp>
#include <subbit/core/half.hpp>

#include <cstdint>
#include <string>
#include <vector>

namespace subbit::testing {

/// How a test matrix lies in memory.
enum class storage { rows, columns, padded_rows, both_strides };
inline constexpr storage all_storages[] = {storage::rows, storage::columns, storage::padded_rows,
                                           storage::both_strides};

/// A rows x cols matrix in its own memory; what lies between its entries is NaN, so that whoever reads it is found out.
template <class S>
class stored_matrix {
  public:
    stored_matrix(index rows, index cols, storage how, std::uint64_t seed) {
        index row_stride = cols, col_stride = 1;
        if (how == storage::columns) row_stride = 1, col_stride = rows;
        if (how == storage::padded_rows) row_stride = cols + 5;
        if (how == storage::both_strides) row_stride = 3 * cols + 7, col_stride = 3;
        const index size = rows * cols == 0 ? 0 : (rows - 1) * row_stride + (cols - 1) * col_stride + 1;
        memory_.assign(static_cast<std::size_t>(size), std::numeric_limits<S>::quiet_NaN());
        view_ = {memory_.data(), rows, cols, row_stride, col_stride};
        const random_stream stream(seed);
        for (index i = 0; i < rows; ++i)
            for (index j = 0; j < cols; ++j)
                view_(i, j) = static_cast<S>(stream.normal(static_cast<std::uint64_t>(i * cols + j)));
    }

    stored_matrix(const stored_matrix& other) : memory_(other.memory_), view_(other.view_) {
        view_.data = memory_.data();
    }
    stored_matrix& operator=(const stored_matrix&) = delete;

    matrix_view<S> view() { return view_; }
    matrix_view<const S> view() const { return view_; }
    matrix<double> values() const { return as_eigen(view()).template cast<double>(); }
    const std::vector<S>& memory() const { return memory_; }

  private:
    std::vector<S> memory_;
    matrix_view<S> view_;
};

template <class S>
matrix<S> random_matrix(index rows, index cols, std::uint64_t seed) {
    return as_eigen(stored_matrix<S>(rows, cols, storage::rows, seed).view());
}

inline matrix<double> rounded_to_bf16(const matrix<double>& X) {
    return X.unaryExpr([](double x) { return double(from_bf16(to_bf16(static_cast<float>(x)))); });
}

/// Every instruction set that this machine runs.
inline std::vector<isa> runnable_isas() {
    std::vector<isa> list;
    for (const isa i : all_isas)
        if (has_isa(i)) list.push_back(i);
    return list;
}

inline cpu make_cpu(isa instructions, int threads = 1, precision products = precision::f32) {
    return cpu(cpu_options{.threads = threads, .instructions = instructions, .products = products});
}

/// Every way this machine has of float32 products on that instruction set: exact, and rounded to bfloat16 by each
/// method.
inline std::vector<cpu> product_cpus(isa instructions, int threads = 1) {
    std::vector<cpu> list{make_cpu(instructions, threads)};
    for (const bf16_method method : all_bf16_methods)
        if (has_bf16_method(method, instructions))
            list.emplace_back(cpu_options{
                .threads = threads, .instructions = instructions, .products = precision::bf16, .bf16 = method});
    return list;
}

/// ||A - B||_F / (||B||_F + tiny).
template <class A, class B>
double relative_error(const A& a, const B& b) {
    return (a.template cast<double>() - b.template cast<double>()).norm() / (b.template cast<double>().norm() + 1e-30);
}

}  // namespace subbit::testing
