// The oracle itself, by hand on matrices that fit on a page, and against its own suite (which it must pass).
#include "conformance/backend_conformance.hpp"

using namespace subbit;

TEST_CASE("the reference backend passes the suite that is measured with it") {
    testing::check_backend<double>(reference<double>());
}

TEST_CASE("products by hand") {
    const reference<double> b;
    const matrix<double> A{{1, 2}, {3, 4}}, X{{5, 6}, {7, 8}};
    matrix<double> C{{1, 1}, {1, 1}};
    gemm(b, A, X, C, 2, 10);
    CHECK(C == matrix<double>{{48, 54}, {96, 110}});
    gemm(b, A, bit_matrix::pack(matrix<double>{{1, -1}, {-1, -1}}).view(), C);
    CHECK(C == matrix<double>{{-1, -3}, {-1, -7}});
    gram(b, A, C);
    CHECK(C == matrix<double>{{10, 14}, {14, 20}});
}

TEST_CASE("solving by hand") {
    const reference<double> b;
    matrix<double> G{{2, 0}, {0, 4}}, R{{2, 4}, {6, 4}};
    spd_solve(b, G, R);
    CHECK((R - matrix<double>{{1, 1}, {3, 1}}).norm() < 1e-15);
    G = matrix<double>{{1, 1}, {1, 1}};
    CHECK_THROWS_AS(spd_solve(b, G, R), value_error);
}

TEST_CASE("magnitudes by hand") {
    const reference<double> b;
    // |T| = (3 4)' (0.6 0.8) is of rank one already.
    const matrix<double> T{{-1.8, 2.4}, {2.4, -3.2}};
    vector<double> u(2), v(2), means(2);
    rank1_magnitude(b, T, span_of(u), span_of(v));
    CHECK((u - vector<double>{{3, 4}}).norm() < 1e-12);
    CHECK((v - vector<double>{{0.6, 0.8}}).norm() < 1e-12);
    abs_row_means(b, T, span_of(means));
    CHECK((means - vector<double>{{2.1, 2.8}}).norm() < 1e-15);

    matrix<double> D{{1, -1}, {0, 2}}, Z(2, 2);
    const matrix<double> L{{1, -3}, {0, 4}};  // t = L + D = (2 -4; 0 6)
    project_dual(b, magnitude_form::row_means, 0.5, L, D, Z);
    CHECK(Z == matrix<double>{{3, -3}, {3, 3}});
    CHECK(D == matrix<double>{{-0.5, -0.5}, {-1.5, 1.5}});
}

TEST_CASE("one sweep of bit descent by hand") {
    const reference<double> b;
    // cost(u) = u'Qu - 2 c'u: the signs of c are the best, and the sweep finds them.
    const matrix<double> Q{{1, 0}, {0, 1}}, C{{3, -2}};
    matrix<double> U{{-1, -1}}, F{{-1, -1}};
    vector<double> scales{{1}};
    CHECK(descend_bits(b, C, Q, std::span<const double>(span_of(std::as_const(scales))), U, F) == 1);
    CHECK(U == matrix<double>{{1, -1}});
    CHECK(F == matrix<double>{{1, -1}});
    CHECK(fit_row_scales(b, C, U, F, span_of(scales)) == 2.5 * 5);
    CHECK(scales(0) == 2.5);
}
