#include <subbit/backend/cpu/lanes.hpp>

#include <doctest/doctest.h>

#include <cmath>
#include <vector>

namespace {

/// A sum of products and a store in lanes of `Register` bytes: what attention and the solvers do with them.
template <class S, subbit::index Register>
std::vector<S> through_lanes(const std::vector<S>& x, const std::vector<S>& y) {
    using pack = subbit::lanes<S, Register>;
    const auto n = static_cast<subbit::index>(x.size());
    std::vector<S> out(x.size());
    pack sum{};
    for (subbit::index j = 0; j < n; j += pack::count) {
        pack a, b;
        a.load(x.data() + j, n - j);
        b.load(y.data() + j, n - j);
        sum.add_product(a, b);
        a.make_absolute();
        a.subtract(b);
        a.multiply(S(3));
        a.store(out.data() + j, n - j);
    }
    out.push_back(static_cast<S>(sum.total()));
    return out;
}

}  // namespace

TEST_CASE_TEMPLATE("lanes of any register have one result, at lengths that fill no register too", S, float, double) {
    for (const subbit::index n : {0, 1, 3, 7, 8, 9, 15, 16, 17, 31, 33, 100}) {
        CAPTURE(n);
        std::vector<S> x, y;
        S plain = 0;
        for (subbit::index j = 0; j < n; ++j) {
            x.push_back(static_cast<S>(std::sin(1.0 + static_cast<double>(j))));
            y.push_back(static_cast<S>(std::cos(3.0 * static_cast<double>(j))));
            plain += x.back() * y.back();
        }
        const std::vector<S> out = through_lanes<S, 16>(x, y);
        CHECK(out == through_lanes<S, 32>(x, y));
        CHECK(out == through_lanes<S, 64>(x, y));
        CHECK(out.back() == doctest::Approx(plain).epsilon(1e-5));
        for (std::size_t j = 0; j < x.size(); ++j)
            CHECK(out[j] == doctest::Approx(3 * (std::abs(x[j]) - y[j])).epsilon(1e-5));
    }
}

TEST_CASE("sums in double of floats, at lengths that fill no register too") {
    for (const subbit::index n : {0, 1, 3, 7, 8, 9, 15, 16, 17, 33, 100}) {
        CAPTURE(n);
        std::vector<float> x, y;
        double sum = 0, squares = 0, distance = 0;
        for (subbit::index j = 0; j < n; ++j) {
            x.push_back(static_cast<float>(std::sin(1.0 + static_cast<double>(j))));
            y.push_back(static_cast<float>(std::cos(3.0 * static_cast<double>(j))));
            const auto a = static_cast<double>(x.back()), b = static_cast<double>(y.back());
            sum += a;
            squares += a * a;
            distance += (a - b) * (a - b);
        }
        CHECK(subbit::lane_sum(x.data(), n) == doctest::Approx(sum).epsilon(1e-13));
        CHECK(subbit::lane_square_sum(x.data(), n) == doctest::Approx(squares).epsilon(1e-13));
        CHECK(subbit::lane_square_distance(x.data(), y.data(), n) == doctest::Approx(distance).epsilon(1e-13));
    }
}

TEST_CASE("a lane is negative anywhere, or nowhere") {
    for (subbit::index at = 0; at < 16; ++at) {
        float numbers[16] = {};
        subbit::lanes<float, 16> narrow;
        subbit::lanes<float, 64> wide;
        narrow.load(numbers);
        wide.load(numbers);
        CHECK_FALSE(narrow.any_negative());
        CHECK_FALSE(wide.any_negative());
        numbers[at] = -1;
        narrow.load(numbers);
        wide.load(numbers);
        CHECK(narrow.any_negative());
        CHECK(wide.any_negative());
    }
}
