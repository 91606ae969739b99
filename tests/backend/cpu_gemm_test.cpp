#include "support/strided.hpp"

#include <doctest/doctest.h>
#include <subbit/backend/cpu.hpp>
#include <subbit/core/half.hpp>

#include <array>
#include <cmath>
#include <vector>

namespace subbit::testing {
namespace {

/// Sizes where every edge of a block occurs, and one that needs several blocks along k.
constexpr std::array<index, 3> shapes[] = {{1, 1, 1},      {3, 63, 65},  {64, 3, 1},     {65, 64, 63},
                                           {1, 257, 64},   {257, 1, 65}, {63, 257, 257}, {8, 48, 48},
                                           {17, 1100, 49}, {9, 5, 100},  {40, 1700, 70}};

/// Products of every shape and layout on each of the backends, all of which multiply operands that are rounded alike.
template <class S>
void check_gemm(const std::vector<cpu>& backends, bool rounded, double tolerance) {
    for (const auto& shape : shapes) {
        const index m = shape[0], k = shape[1], n = shape[2];
        CAPTURE(m);
        CAPTURE(k);
        CAPTURE(n);
        for (const storage a_how : all_storages)
            for (const storage x_how : all_storages) {
                const storage c_how = all_storages[(static_cast<int>(a_how) + static_cast<int>(x_how)) % 4];
                const stored_matrix<S> A(m, k, a_how, 1), X(k, n, x_how, 2), old(m, n, c_how, 3);
                const matrix<double> exact = rounded ? product(rounded_to_bf16(A.values()), rounded_to_bf16(X.values()))
                                                     : product(A.values(), X.values());
                const matrix<double> updated = 0.5 * exact - 2 * old.values();
                for (const cpu& b : backends) {
                    CAPTURE(b.describe());
                    stored_matrix<S> C = old;
                    gemm(b, A.view(), X.view(), C.view(), 0.5, -2);
                    CHECK(relative_error(C.values(), updated) < tolerance);
                    as_eigen(C.view()).setConstant(std::numeric_limits<S>::quiet_NaN());
                    gemm(b, A.view(), X.view(), C.view());
                    CHECK(relative_error(C.values(), exact) < tolerance);
                }
            }
    }
}

TEST_CASE("gemm of every shape, layout and instruction set") {
    std::vector<cpu> plain, rounding;
    for (const isa i : runnable_isas())
        for (const cpu& b : product_cpus(i, 2))
            (b.products() == precision::f32 ? plain : rounding).push_back(b);
    check_gemm<float>(plain, false, 2e-6);
    check_gemm<float>(rounding, true, 3e-6);
    check_gemm<double>(plain, false, 1e-14);
    check_gemm<double>({rounding.front()}, false, 1e-14);  // rounds no double
}

TEST_CASE("gemm over nothing scales C, and an empty C is left alone") {
    const cpu b = make_cpu(detect_isa());
    matrix<float> A(3, 0), X(0, 4), C = matrix<float>::Constant(3, 4, 2);
    gemm(b, A, X, C, 1, 3);
    CHECK((C.array() == 6).all());
    C.setConstant(std::nanf(""));
    gemm(b, A, X, C);
    CHECK((C.array() == 0).all());
    matrix<float> none(0, 4), any(5, 4), B(0, 5);
    CHECK_NOTHROW(gemm(b, B, any, none));
}

TEST_CASE("a NaN spreads to its row or column only") {
    for (const isa i : runnable_isas())
        for (const cpu& b : product_cpus(i)) {
            auto A = random_matrix<float>(20, 33, 1);
            const auto X = random_matrix<float>(33, 50, 2);
            A(7, 32) = std::nanf("");
            matrix<float> C(20, 50);
            gemm(b, A, X, C);
            for (index r = 0; r < 20; ++r)
                CHECK(C.row(r).array().isNaN().all() == (r == 7));
            CHECK(C.array().isNaN().count() == 50);
        }
}

TEST_CASE("results do not depend on the number of threads") {
    const auto A = random_matrix<float>(301, 1100, 1), X = random_matrix<float>(1100, 203, 2);
    const auto spd = random_matrix<float>(500, 203, 3);
    for (const isa i : runnable_isas()) {
        const auto alone = product_cpus(i, 1), shared = product_cpus(i, 3);
        for (std::size_t p = 0; p < alone.size(); ++p) {
            matrix<float> C[2], G[2], R[2];
            for (int t : {0, 1}) {
                const cpu& b = t == 0 ? alone[p] : shared[p];
                C[t].resize(301, 203);
                gemm(b, A, X, C[t]);
                G[t].resize(203, 203);
                gram(b, spd, G[t]);
                R[t] = C[t];
                matrix<float> destroyed = G[t];
                spd_solve(b, destroyed, R[t]);
            }
            CHECK(C[0] == C[1]);
            CHECK(G[0] == G[1]);
            CHECK(R[0] == R[1]);
        }
    }
}

TEST_CASE("bfloat16 rounding is to nearest, ties to even, and keeps infinities and NaN") {
    const auto round = [](float x) { return from_bf16(to_bf16(x)); };
    CHECK(round(1.0F) == 1.0F);
    CHECK(round(1.0F + 0x1p-8F) == 1.0F);                // a tie, to the even neighbour below
    CHECK(round(1.0F + 3 * 0x1p-8F) == 1.0F + 0x1p-6F);  // a tie, to the even neighbour above
    CHECK(round(1.0F + 0x1p-8F + 0x1p-20F) == 1.0F + 0x1p-7F);
    CHECK(round(-3.0e38F) == round(-3.0e38F));
    CHECK(std::isinf(round(3.4e38F)));
    CHECK(std::isinf(round(std::numeric_limits<float>::infinity())));
    CHECK(std::isnan(round(std::numeric_limits<float>::quiet_NaN())));
}

TEST_CASE("norms are summed in double") {
    const matrix<float> X = matrix<float>::Constant(70, 41, 1e20F);
    for (const isa i : runnable_isas()) {
        const cpu b = make_cpu(i, 2);
        CHECK(squared_norm(b, X) == doctest::Approx(70 * 41 * 1e40).epsilon(1e-6));
        CHECK(squared_distance(b, X, matrix<float>(-X)) == doctest::Approx(4 * 70 * 41 * 1e40).epsilon(1e-6));
        vector<float> norms(70);
        column_norms(b, view(X).t(), span_of(norms));
        CHECK(norms(69) == doctest::Approx(std::sqrt(41.0) * 1e20).epsilon(1e-6));
    }
}

TEST_CASE("gram is X^T X, symmetric to the last bit") {
    for (const isa i : runnable_isas())
        for (const index k : {1, 3, 63, 64, 65, 257})
            for (const storage how : all_storages) {
                const stored_matrix<double> X(70, k, how, 4);
                stored_matrix<double> G(k, k, how, 5);
                gram(make_cpu(i, 2), X.view(), G.view());
                CHECK(relative_error(G.values(), product(X.values().transpose(), X.values())) < 1e-14);
                CHECK(G.values() == G.values().transpose());
            }
}

}  // namespace
}  // namespace subbit::testing
