// What the conformance checks share: operands, the way to the backend's memory and back, and comparisons.
#pragma once

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

template <class S, class B>
class conformance_tools {
  protected:
    explicit conformance_tools(const B& backend) : b(backend) {}

    static constexpr double eps = std::numeric_limits<S>::epsilon();
    static constexpr S nan = std::numeric_limits<S>::quiet_NaN();
    using host = matrix<S>;
    using host_vector = vector<S>;

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

    /// |got - expected| <= bound, entry by entry; NaN fails.
    template <class Got, class Expected, class Bound>
    static void check_within(const char* operation, const Got& got, const Expected& expected, const Bound& bound) {
        const double excess = ((got - expected).cwiseAbs().template cast<double>() - bound).maxCoeff();
        INFO(std::string(operation) << " is off by more than its bound");
        CHECK(got.allFinite());
        CHECK(excess <= 0);
    }
    /// |got - expected| <= factor eps times the largest expected magnitude.
    template <class Got, class Expected>
    static void check_near(const char* operation, const Got& got, const Expected& expected, double factor) {
        const double largest = static_cast<double>(expected.cwiseAbs().maxCoeff());
        const double bound = factor * eps * (largest + std::numeric_limits<S>::min());
        check_within(operation, got, expected, Eigen::MatrixXd::Constant(expected.rows(), expected.cols(), bound));
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
