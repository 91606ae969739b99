#include "support/int8_bound.hpp"
#include "support/strided.hpp"

#include <doctest/doctest.h>
#include <rapidcheck.h>
#include <subbit/backend/cpu.hpp>
#include <subbit/backend/cpu/kernels/packed_kernel_x86.hpp>
#include <subbit/backend/reference.hpp>

#include <cmath>
#include <limits>
#include <utility>
#include <vector>

namespace subbit::testing {
namespace {

TEST_CASE_TEMPLATE("products with packed signs on the right, both ways round", S, float, double) {
    const double tolerance = std::is_same_v<S, float> ? 2e-6 : 1e-14;
    for (const isa i : runnable_isas())
        for (const index rows : {1, 3, 63, 64, 65, 257})
            for (const index cols : {1, 3, 63, 64, 65, 257})
                for (const index tokens : {1, 2, 5, 65}) {
                    const auto bits = bit_matrix::pack(random_matrix<S>(rows, cols, 1));
                    const auto dense = bits.template unpack<double>();
                    const storage how = all_storages[(rows + cols + tokens) % 4];
                    const cpu b = make_cpu(i, 2);
                    CAPTURE(isa_name(i));
                    CAPTURE(rows);
                    CAPTURE(cols);
                    CAPTURE(tokens);
                    {
                        const stored_matrix<S> X(tokens, cols, how, 2);
                        stored_matrix<S> C(tokens, rows, how, 3);
                        const matrix<double> exact = product(X.values(), dense.transpose()), before = C.values();
                        gemm(b, X.view(), bits.t(), C.view(), 0.5, -2);
                        CHECK(relative_error(C.values(), 0.5 * exact - 2 * before) < tolerance);
                        as_eigen(C.view()).setConstant(std::numeric_limits<S>::quiet_NaN());
                        gemm(b, X.view(), bits.t(), C.view());
                        CHECK(relative_error(C.values(), exact) < tolerance);
                    }
                    {
                        const stored_matrix<S> X(tokens, rows, how, 4);
                        stored_matrix<S> C(tokens, cols, how, 5);
                        const matrix<double> exact = product(X.values(), dense), before = C.values();
                        gemm(b, X.view(), bits.view(), C.view(), 0.5, -2);
                        CHECK(relative_error(C.values(), 0.5 * exact - 2 * before) < tolerance);
                    }
                }
}

#if SUBBIT_X86
/// Sums of V vectors over packed signs by one of the kernels among which the processor decides, against those of the
/// unpacked matrix.
template <class Kernel, index V>
void check_lookups(index groups, index cols) {
    using kernel = Kernel;
    const auto bits = bit_matrix::pack(random_matrix<float>(16 * groups, cols, 1));
    const auto values = random_matrix<float>(V, cols, 2);
    alignas(64) float tables[4 * 3 * 208];
    std::vector<float> out(static_cast<std::size_t>(16 * kernel::max_groups * V));
    kernel::template build<V>(tables, values.data(), cols);
    kernel::template sums<V>(bits.view(), 0, groups, tables, out.data());
    const matrix<double> exact = product(values.template cast<double>(), bits.template unpack<double>().transpose());
    for (index v = 0; v < V; ++v) {
        const matrix_view<float> row(out.data() + v * 16 * kernel::max_groups, 1, 16 * groups);
        const matrix<double> sums = as_eigen(row).template cast<double>();
        CHECK(relative_error(sums, exact.row(v)) < 2e-6);
    }
}

TEST_CASE_TEMPLATE("AVX2 looks up three columns or two, as is faster on the processor: both are right", Lookup,
                   cpu_kernels::avx2_triples, cpu_kernels::avx2_pairs) {
    if (!has_isa(isa::avx2)) return;
    for (index groups = 1; groups <= 8; ++groups)
        for (const index cols : {32, 96}) {
            using kernel = cpu_kernels::avx2_packed_kernel<Lookup>;
            check_lookups<kernel, 1>(groups, cols);
            check_lookups<kernel, 2>(groups, cols);
            check_lookups<kernel, 3>(groups, cols);
            check_lookups<kernel, 4>(groups, cols);
        }
}

/// AVX-512's, with `together` vectors at a time.
template <index Together>
struct avx512_kernel : cpu_kernels::packed_kernel<avx512_arch, float> {
    using all = cpu_kernels::packed_kernel<avx512_arch, float>;

    template <index V>
    static void build(float* tables, const float* values, index n) {
        all::build_by<V, Together>(tables, values, n);
    }
    template <index V>
    static void sums(bit_view bits, index group, index groups, const float* tables, float* out) {
        all::sums_by<V, Together>(bits, group, groups, tables, out);
    }
};

TEST_CASE_TEMPLATE("AVX-512 takes four vectors at once, or two and two, as is faster on the processor: both are right",
                   Kernel, avx512_kernel<4>, avx512_kernel<2>) {
    if (!has_isa(isa::avx512)) return;
    for (index groups = 1; groups <= 8; ++groups)
        for (const index cols : {32, 96})
            check_lookups<Kernel, 4>(groups, cols);
}
#endif

TEST_CASE("products of many vectors with packed signs on matrix units round the vectors, and nothing else") {
    if (!has_bf16_method(bf16_method::matrix_units, detect_isa())) {
        MESSAGE("not on this machine: matrix units");
        return;
    }
    const cpu b({.threads = 2, .products = precision::bf16, .bf16 = bf16_method::matrix_units});
    for (const index rows : {1, 16, 17, 31, 33, 65, 257})
        for (const index cols : {1, 16, 31, 33, 65, 1700})
            for (const index tokens : {16, 33, 70}) {
                CAPTURE(rows);
                CAPTURE(cols);
                CAPTURE(tokens);
                const auto bits = bit_matrix::pack(random_matrix<float>(rows, cols, 1));
                const auto dense = bits.unpack<double>();
                const storage how = all_storages[(rows + cols + tokens) % 4];
                const auto check = [&](index from, index to, const auto& signs, const matrix<double>& W) {
                    const stored_matrix<float> X(tokens, from, how, 2);
                    stored_matrix<float> C(tokens, to, how, 3);
                    const matrix<double> exact = product(rounded_to_bf16(X.values()), W), before = C.values();
                    gemm(b, X.view(), signs, C.view(), 0.5, -2);
                    CHECK(relative_error(C.values(), 0.5 * exact - 2 * before) < 3e-6);
                    as_eigen(C.view()).setConstant(std::numeric_limits<float>::quiet_NaN());
                    gemm(b, X.view(), signs, C.view());
                    CHECK(relative_error(C.values(), exact) < 3e-6);
                };
                check(cols, rows, bits.t(), dense.transpose());
                check(rows, cols, bits.view(), dense);
            }
}

TEST_CASE("a sum does not depend on how many vectors or threads share the work") {
    const auto bits = bit_matrix::pack(random_matrix<float>(3000, 1500, 1));
    const auto X = random_matrix<float>(11, 1500, 2);
    for (const isa i : runnable_isas()) {
        matrix<float> all(11, 3000), shared(11, 3000), single(1, 3000);
        gemm(make_cpu(i, 1), X, bits.t(), all);
        gemm(make_cpu(i, 3), X, bits.t(), shared);
        CHECK(all == shared);
        for (index t : {0, 3, 10}) {
            gemm(make_cpu(i, 3), matrix<float>(X.row(t)), bits.t(), single);
            CHECK(single == all.row(t));
        }
    }
}

TEST_CASE("the approximation of the whole sum is that of a float32 sum") {
    const auto bits = bit_matrix::pack(random_matrix<float>(64, 8192, 1));
    const auto X = random_matrix<float>(1, 8192, 2);
    const matrix<double> exact = X.cast<double>() * bits.unpack<double>().transpose();
    for (const isa i : runnable_isas()) {
        matrix<float> y(1, 64);
        gemm(make_cpu(i), X, bits.t(), y);
        CHECK(relative_error(y, exact) < 3e-6);
    }
}

TEST_CASE(
    "numbers of any size in one vector: the error is that of a float32 sum, and what is not finite reaches all rows") {
    constexpr index rows = 70, cols = 333;
    const bit_matrix bits = bit_matrix::pack(random_matrix<float>(rows, cols, 1));
    const matrix<double> signs = bits.unpack<double>();
    const auto product_with = [&](isa i, const matrix<float>& X) {
        matrix<float> Y(X.rows(), rows);
        gemm(make_cpu(i, 2), X, bits.t(), Y);
        return Y;
    };
    for (const isa i : runnable_isas()) {
        CAPTURE(isa_name(i));
        for (const int top : {100, 0, -100, -140}) {  // the last ones are subnormal
            matrix<float> X = random_matrix<float>(5, cols, 2);
            for (index j = 0; j < cols; ++j)
                X.col(j) *= std::ldexp(1.0F, top - static_cast<int>(j * 7 % 40));
            const matrix<double> error =
                product_with(i, X).cast<double>() - product(X.cast<double>(), signs.transpose());
            for (index t = 0; t < X.rows(); ++t)
                CHECK(error.row(t).cwiseAbs().maxCoeff() <=
                      (cols + 8) * (0x1p-22 * X.row(t).cast<double>().cwiseAbs().sum() + 0x1p-126));
        }
        CHECK(product_with(i, matrix<float>::Zero(3, cols)) == matrix<float>::Zero(3, rows));
        for (const float bad : {std::numeric_limits<float>::infinity(), std::numeric_limits<float>::quiet_NaN()}) {
            matrix<float> X = random_matrix<float>(5, cols, 3);
            X.col(300).setConstant(bad);
            CHECK(!product_with(i, X).array().isFinite().any());
        }
    }
}

TEST_CASE("any shape: exact products are those of the unpacked matrix, 8-bit ones within their bound") {
    CHECK(rc::check([](std::uint64_t seed, bool foreign) {
        const index rows = *rc::gen::inRange<index>(0, 300), cols = *rc::gen::inRange<index>(0, 400),
                    tokens = *rc::gen::inRange<index>(1, 10);
        const auto i = *rc::gen::elementOf(runnable_isas());
        const int threads = *rc::gen::inRange(1, 4);
        const cpu b = make_cpu(i, threads);
        const bit_matrix bits = bit_matrix::pack(random_matrix<float>(rows, cols, seed));
        // A view of memory that somebody else aligned, to four bytes, and that ends where the matrix ends.
        std::vector<std::uint32_t> memory(bits.words().begin(), bits.words().end());
        memory.insert(memory.begin(), 0xffffffffU);
        const bit_view signs = foreign ? bit_view(memory.data() + 1, rows, cols) : bits.view();
        const auto dense = bits.unpack<double>();
        const auto how = all_storages[*rc::gen::inRange(0, 4)];
        const auto close = [&](const matrix<double>& got, const matrix<double>& want, const matrix<double>& X) {
            const matrix<double> bound = (static_cast<double>(X.cols()) + 8) * 0x1p-22 * X.cwiseAbs().rowwise().sum();
            for (index t = 0; t < got.rows(); ++t)
                for (index j = 0; j < got.cols(); ++j)
                    RC_ASSERT(std::abs(got(t, j) - want(t, j)) <= bound(t, 0));
        };
        const stored_matrix<float> X(tokens, cols, how, seed + 1), Z(tokens, rows, how, seed + 2);
        stored_matrix<float> Y(tokens, rows, how, seed + 3), W(tokens, cols, how, seed + 4);
        gemm(b, X.view(), signs.t(), Y.view());
        close(Y.values(), product(X.values(), dense.transpose()), X.values());
        gemm(b, Z.view(), signs, W.view());
        close(W.values(), product(Z.values(), dense), Z.values());

        const low_rank_binary_linear<float> layer{bits.transpose(),          bits, vector<float>::Ones(cols),
                                                  vector<float>::Ones(cols), {},   {}};
        matrix<float> exact(tokens, cols), rounded(tokens, cols);
        layer.apply(b, X.view(), view(exact));
        layer.apply(b, X.view(), view(rounded), {.precision = packed_precision::int8});
        for (index t = 0; t < tokens; ++t) {
            const vector<double> bound = int8_bound(layer, X.values().row(t).transpose());
            for (index j = 0; j < cols; ++j)
                RC_ASSERT(std::abs(static_cast<double>(rounded(t, j)) - static_cast<double>(exact(t, j))) <=
                          2 * bound(j));
        }
    }));
}

TEST_CASE("what has no rows or no columns may have no memory: products are empty or zero, in every layout") {
    for (const isa i : runnable_isas())
        for (const storage how : all_storages)
            for (const index tokens : {1, 5, 17})
                for (const auto& shape : {std::pair<index, index>{0, 40}, {40, 0}, {0, 0}}) {
                    const index rows = shape.first, cols = shape.second;
                    CAPTURE(isa_name(i));
                    CAPTURE(rows);
                    CAPTURE(cols);
                    const cpu b = make_cpu(i, 2);
                    const bit_matrix bits(rows, cols);
                    const stored_matrix<float> X(tokens, cols, how, 1), Z(tokens, rows, how, 2);
                    stored_matrix<float> Y(tokens, rows, how, 3), W(tokens, cols, how, 4);
                    gemm(b, X.view(), bits.t(), Y.view());
                    gemm(b, Z.view(), bits.view(), W.view());
                    CHECK((Y.values().isZero() && W.values().isZero()));
                    const low_rank_binary_linear<float> layer{
                        bits.transpose(), bits, vector<float>::Ones(cols), vector<float>::Ones(cols), {}, {}};
                    for (const auto precision :
                         {packed_precision::exact, packed_precision::int8, packed_precision::reordered}) {
                        as_eigen(W.view()).setConstant(1);
                        layer.apply(b, X.view(), W.view(), {.precision = precision});
                        CHECK(W.values().isZero());
                    }
                }
}

TEST_CASE("8-bit sums of normal inputs are within a hundredth, of inputs with one huge entry too") {
    const auto layer = [] {
        return low_rank_binary_linear<float>{bit_matrix::pack(random_matrix<float>(512, 480, 1)),
                                             bit_matrix::pack(random_matrix<float>(480, 2048, 2)),
                                             random_matrix<float>(512, 1, 3),
                                             random_matrix<float>(2048, 1, 4),
                                             {},
                                             {}};
    }();
    for (const isa i : runnable_isas())
        for (const float huge : {0.0F, 30.0F}) {
            matrix<float> X = random_matrix<float>(6, 2048, 5), exact, rounded;
            if (huge != 0) X.col(77).setConstant(huge);
            layer.apply(make_cpu(i), X, exact);
            layer.apply(make_cpu(i), X, rounded, {.precision = packed_precision::int8});
            CAPTURE(isa_name(i));
            CHECK(relative_error(rounded, exact) < 0.016);  // two products, one after the other
            CHECK((i == isa::portable) == (rounded == exact));
        }
}

TEST_CASE("reordered sums of many vectors: as accurate as exact ones, the same for any threads and companions") {
    constexpr index rows = 1100;  // more than any kernel takes at once
    const low_rank_binary_linear<float> layer{bit_matrix::pack(random_matrix<float>(rows, 200, 1)),
                                              bit_matrix::pack(random_matrix<float>(200, 1000, 2)),
                                              random_matrix<float>(rows, 1, 3),
                                              random_matrix<float>(1000, 1, 4),
                                              {},
                                              {}};
    const low_rank_binary_linear<double> oracle{
        layer.U, layer.V, layer.s_post.cast<double>(), layer.s_pre.cast<double>(), {}, {}};
    constexpr apply_options reordered{packed_precision::reordered};
    for (const isa i : runnable_isas())
        for (const index tokens : {15, 16, 53, 100}) {
            matrix<float> X = random_matrix<float>(tokens, 1000, 5);
            X.row(3).setZero();
            X.row(5) *= 1e20F;
            X(7, 77) = 3e4F;
            matrix<float> Y(tokens, rows), shared(tokens, rows), first(16, rows);
            layer.apply(make_cpu(i, 1), X, Y, reordered);
            layer.apply(make_cpu(i, 3), X, shared, reordered);
            CHECK(Y == shared);
            matrix<double> expected(tokens, rows);
            oracle.apply(reference<double>(), matrix<double>(X.cast<double>()), expected);
            for (index t = 0; t < tokens; ++t) {
                CAPTURE(t);
                CHECK((Y.row(t).cast<double>() - expected.row(t)).norm() <= 2e-6 * expected.row(t).norm());
            }
            if (tokens < 16) continue;
            layer.apply(make_cpu(i, 2), matrix<float>(X.topRows(16)), first, reordered);
            CHECK(first == Y.topRows(16));
            X(2, 5) = std::numeric_limits<float>::infinity();
            layer.apply(make_cpu(i, 2), X, Y, reordered);
            CHECK_FALSE(Y.row(2).array().isFinite().all());
            CHECK(Y.row(4) == shared.row(4));
        }
}

}  // namespace
}  // namespace subbit::testing
