#include "support/strided.hpp"

#include <doctest/doctest.h>
#include <subbit/backend/cpu.hpp>

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

}  // namespace
}  // namespace subbit::testing
