// Transfers and element-wise kernels of the GPU backend, in all storage orders.
#include <subbit/backend/emulated.hpp>

#include "gpu/exchanges.hpp"

#include <doctest/doctest.h>
#include <span>
#include <utility>

namespace subbit::testing {

TEST_CASE("matrices of any strides go to the device and come back") {
    const emulated b;
    for (const auto& [m, n] : {std::pair<index, index>{1, 1}, {15, 1}, {1, 17}, {31, 33}, {63, 130}}) {
        const matrix<double> X = matrix<double>::Random(m, n), wide = matrix<double>::Random(m + 2, n + 3);
        CHECK(download(b, upload(b, X)) == X);
        CHECK(download(b, upload(b, view(X).t())) == X.transpose());
        CHECK(download(b, view(upload(b, X)).t()) == X.transpose());
        const auto window = view(wide).block(1, 2, m, n);
        CHECK(download(b, upload(b, window)) == wide.block(1, 2, m, n));
        const auto device = upload(b, wide);
        CHECK(download(b, view(device).block(1, 2, m, n).t()) == wide.block(1, 2, m, n).transpose());
        auto copy = device;
        scale(b, copy, std::span<const double>(), std::span<const double>());
        CHECK(download(b, copy) == wide);
    }
}

TEST_CASE("copies are recorded") {
    check_recorded_copies(emulated());
}

TEST_CASE("axpby and scale of windows touch nothing else") {
    const emulated b;
    const matrix<float> X = matrix<float>::Random(33, 20), Y = matrix<float>::Random(24, 40);
    const vector<float> left = vector<float>::Random(20), right = vector<float>::Random(33);
    const auto x = upload(b, X);
    auto y = upload(b, Y);
    axpby(b, 2, view(x).t(), -1, view(y).block(3, 5, 20, 33));
    const auto l = upload(b, span_of(left)), r = upload(b, span_of(right));
    scale(b, view(y).block(3, 5, 20, 33), const_span(l), const_span(r));
    matrix<float> expected = Y;
    auto window = expected.block(3, 5, 20, 33);
    window = 2 * X.transpose() - window.eval();
    for (index i = 0; i < 20; ++i)
        for (index j = 0; j < 33; ++j)
            window(i, j) *= left(i) * right(j);
    CHECK(download(b, y) == expected);
}

}  // namespace subbit::testing
