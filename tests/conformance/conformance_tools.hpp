// What the conformance checks share: operands, the way to the backend's memory and back, and comparisons.
#pragma once

#include "support/product.hpp"

#include <subbit/backend/ops/dense.hpp>
#include <subbit/backend/ops/memory.hpp>
#include <subbit/backend/ops/paths.hpp>
#include <subbit/backend/ops/solver.hpp>
#include <subbit/backend/reference.hpp>

#include <doctest/doctest.h>
#include <cmath>
#include <limits>
#include <span>
#include <string>

namespace subbit::testing {

/// |got - expected| <= bound, entry by entry; NaN fails. In double, and by loops: of Eigen's expressions each is
/// compiled for itself, for every backend.
inline void check_numbers_within(const char* operation, const matrix<double>& got, const matrix<double>& expected,
                                 const matrix<double>& bound) {
    INFO(std::string(operation) << " is off by more than its bound");
    REQUIRE((got.rows() == expected.rows() && got.cols() == expected.cols()));
    REQUIRE((bound.rows() == expected.rows() && bound.cols() == expected.cols()));
    index wrong = 0;
    for (index i = 0; i < got.size(); ++i)
        wrong += std::abs(got.data()[i] - expected.data()[i]) <= bound.data()[i] ? 0 : 1;
    CHECK(wrong == 0);
}

template <class S, class B>
class conformance_tools {
  protected:
    explicit conformance_tools(const B& backend) : b(backend) {}

    static constexpr double eps = std::numeric_limits<S>::epsilon();
    static constexpr S nan = std::numeric_limits<S>::quiet_NaN();
    using host = matrix<S>;
    using host_vector = vector<S>;
    using numbers = matrix<double>;

    const B b;
    const reference<S> oracle = {};

    host normal(index rows, index cols, std::uint64_t stream = 0) const {
        host X(rows, cols);
        fill_normal(oracle, random_stream(static_cast<std::uint64_t>(rows * 1000 + cols), stream), X);
        return X;
    }
    /// Whole numbers from -limit to limit, so that sums of their products are exact.
    host integers(index rows, index cols, int limit, std::uint64_t stream = 0) const {
        const random_stream random(static_cast<std::uint64_t>(rows * 1000 + cols), stream);
        host X(rows, cols);
        for (index i = 0; i < X.size(); ++i)
            X.data()[i] = static_cast<S>(static_cast<int>(random.below(static_cast<std::uint64_t>(i),
                                                                       static_cast<std::uint32_t>(2 * limit + 1))) -
                                         limit);
        return X;
    }
    host random_signs(index rows, index cols, std::uint64_t stream = 0) const {
        host X = normal(rows, cols, stream);
        take_signs(oracle, X);
        return X;
    }
    auto up(const host& X) const { return upload(b, X); }
    template <class M>
    host down(const M& X) const {
        return download(b, X);
    }
    auto up_vector(const host_vector& x) const { return upload(b, span_of(x)); }
    template <class V>
    host_vector down_vector(const V& x) const {
        return download(b, x);
    }

    static numbers sizes(const host& X) { return X.template cast<double>().cwiseAbs(); }
    static numbers all(index rows, index cols, double x) { return numbers::Constant(rows, cols, x); }
    /// The rounding of a sum of k products |A||X|, for the largest entry's sake with a margin.
    static numbers product_bound(const host& A, const host& X) {
        return 2 * static_cast<double>(A.cols() + 4) * eps * product(sizes(A), sizes(X));
    }

    /// |got - expected| <= bound, entry by entry; NaN fails.
    static void check_within(const char* operation, const host& got, const host& expected, const numbers& bound) {
        check_numbers_within(operation, got.template cast<double>(), expected.template cast<double>(), bound);
    }
    /// |got - expected| <= factor eps times the largest expected magnitude.
    static void check_near(const char* operation, const host& got, const host& expected, double factor) {
        const double largest = sizes(expected).maxCoeff() + static_cast<double>(std::numeric_limits<S>::min());
        check_within(operation, got, expected, all(expected.rows(), expected.cols(), factor * eps * largest));
    }
    static void check_number(const char* operation, double got, double expected, double relative) {
        CAPTURE(operation);
        CHECK(std::abs(got - expected) <= relative * std::abs(expected));
    }
    static void check_equal(const char* operation, const host& got, const host& expected) {
        CAPTURE(operation);
        CHECK(got == expected);
    }
};

}  // namespace subbit::testing
