// Dense products and solves of the GPU backend beyond the conformance suite: views that BLAS does not know, the
// fallback to LU, and the error that comes late.
#include <subbit/backend/emulated.hpp>

#include "support/throws.hpp"

#include <doctest/doctest.h>
#include <array>

namespace subbit::testing {

TEST_CASE("products of views without a stride of one, and of single rows and columns of such") {
    const emulated b;
    const matrix<double> big = matrix<double>::Random(60, 70);
    const auto device = upload(b, big);
    const auto every_second = [](const auto& m, index i, index j, index rows, index cols) {
        const auto v = const_view(m);
        return matrix_view<const double>(v.data + i * v.row_stride + j, rows, cols, 2 * v.row_stride, 2);
    };
    for (const auto& sizes : {std::array<index, 3>{5, 7, 9}, {1, 7, 9}, {5, 1, 9}, {5, 7, 1}, {1, 1, 1}})
        for (const bool turned : {false, true}) {
            const index m = sizes[0], k = sizes[1], n = sizes[2];
            CAPTURE(m);
            CAPTURE(k);
            CAPTURE(n);
            auto C = upload(b, matrix<double>(matrix<double>::Ones(2 * m, 2 * n)));
            const matrix_view<double> c(view(C).data, m, n, 4 * n, 2);
            const auto A = every_second(device, 1, 2, m, k), X = every_second(device, 3, 5, k, n);
            const matrix<double> a = as_eigen(every_second(big, 1, 2, m, k)),
                                 x = as_eigen(every_second(big, 3, 5, k, n));
            if (turned)
                gemm(b, X.t(), A.t(), c.t(), 2, 0.5);
            else
                gemm(b, A, X, c, 2, 0.5);
            matrix<double> expected = matrix<double>::Ones(2 * m, 2 * n);
            const matrix<double> product = (a * x).eval();
            for (index i = 0; i < m; ++i)
                for (index j = 0; j < n; ++j)
                    expected(2 * i, 2 * j) = 0.5 + 2 * product(i, j);
            CHECK((download(b, C) - expected).cwiseAbs().maxCoeff() < 1e-13);
        }
}

TEST_CASE("indefinite systems are solved on the device") {
    const emulated b;
    for (const index n : {1, 2, 31, 33, 70}) {
        CAPTURE(n);
        const matrix<double> half = matrix<double>::Random(n, n), R = matrix<double>::Random(17, n);
        const matrix<double> G = half + half.transpose() - 3 * matrix<double>::Identity(n, n);
        auto g = upload(b, G), r = upload(b, matrix<double>(R.transpose()));
        spd_solve(b, g, view(r).t());
        const matrix<double> solution = download(b, view(r).t());
        CHECK((solution * G - R).cwiseAbs().maxCoeff() < 1e-9);
    }
}

TEST_CASE("a singular matrix is thrown by what waits next, once") {
    const emulated b;
    auto G = upload(b, matrix<float>(matrix<float>::Ones(5, 5))),
         R = upload(b, matrix<float>(matrix<float>::Ones(2, 5)));
    spd_solve(b, G, R);
    const auto other = b.on_another_stream(0);
    CHECK(download(other, R).rows() == 2);
    check_throws<value_error>([&] { squared_norm(b, R); }, {"spd_solve", "5x5", "singular"});
    CHECK(download(b, R).rows() == 2);
}

}  // namespace subbit::testing
