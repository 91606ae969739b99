// Checks of products and solves, and of the steps of the solvers that stand on them (backend/ops/).
#pragma once

#include "conformance/conformance_tools.hpp"

namespace subbit::testing {

template <class S, class B>
class factor_conformance : conformance_tools<S, B> {
  public:
    explicit factor_conformance(const B& backend) : tools(backend) {}

    void check(index m, index n) const {
        check_rank_one(m, n);
        check_project_dual(m, n);
        check_gram(m, n);
        check_solve(m, n);
        check_descent_steps(m, n);
        check_descend(m, n);
        check_row_scales(m, n);
    }
    void check(index m, index k, index n) const {
        check_gemm(m, k, n);
        check_bit_gemm(m, k, n);
    }

    void check_errors() const {
        const auto X = up(normal(3, 4)), Y = up(normal(4, 3));
        auto C = allocate<S>(b, 3, 3);
        auto small = allocate<S>(b, 2);
        CHECK_THROWS_AS(gemm(b, X, X, C), shape_error);
        CHECK_THROWS_AS(gemm(b, X, Y, view(C).middle_rows(0, 2)), shape_error);
        CHECK_THROWS_AS(gram(b, X, C), shape_error);
        CHECK_THROWS_AS(spd_solve(b, C, view(C).middle_cols(0, 2)), shape_error);
        CHECK_THROWS_AS(project_dual(b, magnitude_form::row_means, 1, X, C, C), shape_error);
        CHECK_THROWS_AS(rank1_magnitude(b, X, span_of(small), span_of(small)), shape_error);
    }

  private:
    using tools = conformance_tools<S, B>;
    using tools::all, tools::product_bound, tools::sizes;
    using tools::b, tools::oracle, tools::eps, tools::nan;
    using tools::check_within, tools::check_near, tools::check_number, tools::check_equal;
    using tools::normal, tools::integers, tools::random_signs;
    using tools::up, tools::down, tools::up_vector, tools::down_vector;
    using typename tools::host;
    using typename tools::host_vector;
    using typename tools::numbers;

    void check_gemm(index m, index k, index n) const {
        const host A = normal(m, k, 14), X = normal(k, n, 15), C = normal(m, n, 16);
        const numbers bound = product_bound(A, X);
        auto fresh = up(host::Constant(m, n, nan));
        gemm(b, up(A), up(X), fresh);
        host expected(m, n);
        gemm(oracle, A, X, expected);
        check_within("gemm over NaN", down(fresh), expected, bound);

        auto sum = up(C);
        const auto At = up(A.transpose()), Xt = up(X.transpose());
        gemm(b, view(At).t(), view(Xt).t(), sum, -0.5, 2);
        expected = C;
        gemm(oracle, A, X, expected, -0.5, 2);
        check_within("gemm of transposes", down(sum), expected, bound + 4 * eps * sizes(C));

        auto turned = up(C.transpose());
        gemm(b, up(A), up(X), view(turned).t(), 1, 1);
        expected = C;
        gemm(oracle, A, X, expected, 1, 1);
        check_within("gemm into a transpose", down(view(turned).t()), expected, bound + 4 * eps * sizes(C));
    }

    void check_bit_gemm(index m, index k, index n) const {
        const host A = normal(m, k, 17), X = random_signs(k, n, 18), C = normal(m, n, 19);
        const numbers bound = product_bound(A, X) + 4 * eps * sizes(C);
        const bit_matrix bits = bit_matrix::pack(X), turned = bit_matrix::pack(host(X.transpose()));
        host expected = C;
        gemm(oracle, A, X, expected, 0.5, -1);
        auto straight = up(C);
        gemm(b, up(A), bits.view(), straight, 0.5, -1);
        check_within("gemm with bits", down(straight), expected, bound);
        auto transposed = up(C);
        gemm(b, up(A), turned.t(), transposed, 0.5, -1);
        check_within("gemm with transposed bits", down(transposed), expected, bound);
        auto fresh = up(host::Constant(m, n, nan));
        gemm(b, up(A), bits.view(), fresh);
        gemm(oracle, A, X, expected);
        check_within("gemm with bits over NaN", down(fresh), expected, bound);
    }

    void check_gram(index n, index k) const {
        const host X = normal(n, k, 20);
        auto G = up(host::Constant(k, k, nan));
        gram(b, up(X), G);
        host expected(k, k);
        gram(oracle, X, expected);
        const numbers bound = product_bound(X.transpose(), X);
        check_within("gram", down(G), expected, bound);
        auto rounded = up(host::Constant(k, k, nan));
        rounded_gram(b, up(X), rounded);
        check_within("rounded_gram", down(rounded), expected, bound);
    }

    void check_solve(index n, index k) const {
        const host X = normal(k + 8, k, 21), R = normal(n, k, 22);
        host G(k, k);
        gram(oracle, X, G);
        shift_diagonal(oracle, 0.1 * static_cast<double>(k), G);
        auto g = up(G), r = up(R);
        spd_solve(b, g, r);
        // The residual, not the distance: it does not depend on how well G is conditioned.
        const numbers solution = down(r).template cast<double>(), g_double = G.template cast<double>();
        check_numbers_within("spd_solve", product(solution, g_double), R.template cast<double>(),
                             all(n, k, 4 * static_cast<double>(k + 4) * eps * solution.norm() * g_double.norm()));
        if (k == 3) {
            auto singular = up(host::Zero(k, k));
            auto rhs = up(R);
            const auto solve_and_wait = [&] {
                spd_solve(b, singular, rhs);
                down(rhs);
            };
            CHECK_THROWS_AS(solve_and_wait(), value_error);
            host swap = host::Identity(k, k);  // not positive definite, but invertible
            swap.row(0).swap(swap.row(1));
            auto indefinite = up(swap);
            auto swapped = up(R);
            spd_solve(b, indefinite, swapped);
            host expected = R;
            expected.col(0).swap(expected.col(1));
            check_near("spd_solve of an indefinite matrix", down(swapped), expected, 8);
        }
    }

    /// The residual and three steps, each from the same numbers on both sides.
    void check_descent_steps(index m, index n) const {
        const host Q = normal(m, n, 23), X = normal(m, n, 25);
        host P = normal(m, n, 24), R = normal(m, n, 26);
        P.array() = P.array().abs() * Q.array().sign();  // p'q is not near 0, where its rounding is all there is
        R.array() = R.array().abs() * Q.array().sign();
        const double bound = 64 + static_cast<double>(m + n);
        host_vector energy(m), gained = normal(m, 1, 27).cwiseAbs(), last = gained;
        auto r = up(R), q = up(Q);
        auto device_energy = allocate<S>(b, m);
        auto device_gained = up_vector(gained), device_last = up_vector(last);
        const descent_rows<S> device{span_of(device_energy), span_of(device_gained), span_of(device_last)};
        const descent_rows<S> on_host{span_of(energy), span_of(gained), span_of(last)};
        start_descent(b, up(P), r, device);
        host residual = R;
        start_descent(oracle, P, residual, on_host);
        check_near("start_descent", down(r), residual, 4);
        check_near("start_descent: energy", down_vector(device_energy), energy, bound);
        for (const descent_place place : {descent_place{true, false}, {false, false}, {false, true}}) {
            host p = P, rest = R, x = X;
            energy = R.rowwise().squaredNorm();
            device_energy = up_vector(energy);
            const descent_rows<S> again{span_of(device_energy), span_of(device_gained), span_of(device_last)};
            auto dp = up(P), dr = up(R), dx = up(X);
            descend_step(b, place, q, dp, dr, dx, again);
            descend_step(oracle, place, Q, p, rest, x, on_host);
            check_near("descend_step: X", down(dx), x, bound);
            check_near("descend_step: R", down(dr), rest, bound);
            if (!place.last) check_near("descend_step: P", down(dp), p, bound);
            check_near("descend_step: energy", down_vector(device_energy), energy, bound);
            check_near("descend_step: gained", down_vector(device_gained), gained, bound);
            check_near("descend_step: last", down_vector(device_last), last, bound);
        }
        CHECK_THROWS_AS(start_descent(b, q, view(r).middle_rows(0, m - 1), device), shape_error);
    }

    void check_rank_one(index m, index n) const {
        const host T = normal(m, n, 11);
        const auto compare = [&](const char* name, const auto& device, const auto& host_view) {
            auto u = allocate<S>(b, device.rows), v = allocate<S>(b, device.cols);
            host_vector eu(device.rows), ev(device.cols);
            rank1_magnitude(b, device, span_of(u), span_of(v));
            rank1_magnitude(oracle, host_view, span_of(eu), span_of(ev));
            const double factor = 64 + static_cast<double>(m + n);
            check_near(name, down_vector(u), eu, factor);
            check_near(name, down_vector(v), ev, factor);
        };
        const auto device = up(T);
        compare("rank1_magnitude", view(device), view(T));
        compare("rank1_magnitude of a transpose", view(device).t(), view(T).t());
        auto u = allocate<S>(b, m), v = allocate<S>(b, n);
        rank1_magnitude(b, up(host::Zero(m, n)), span_of(u), span_of(v));
        CHECK(down_vector(u) == host_vector::Zero(m));
    }

    void check_project_dual(index m, index n) const {
        const host L = normal(m, n, 12), D = normal(m, n, 13);
        // D is what is left of t = L + D, so its error is measured by t's size, not its own.
        const double size = sizes(L + D).maxCoeff();
        const numbers bound = all(m, n, (64 + static_cast<double>(m + n)) * eps * size);
        for (const auto form : {magnitude_form::rank_one, magnitude_form::row_means})
            for (const bool turned : {false, true}) {
                const auto l = up(L);
                auto d = up(D);
                auto z = up(host::Constant(m, n, nan));
                host ed = D, ez(m, n);
                if (turned) {
                    project_dual(b, form, 0.9, view(l).t(), view(d).t(), view(z).t());
                    project_dual(oracle, form, 0.9, view(L).t(), view(ed).t(), view(ez).t());
                } else {
                    project_dual(b, form, 0.9, l, d, z);
                    project_dual(oracle, form, 0.9, L, ed, ez);
                }
                check_within("project_dual: D", down(d), ed, bound);
                check_within("project_dual: Z", down(z), ez, bound);
            }
    }

    void check_descend(index n, index k) const {
        const host half = integers(k, k, 1, 23);
        const host Q = half + half.transpose() + host::Identity(k, k) * S(8), C = integers(n, k, 6, 24);
        const host U = random_signs(n, k, 25);
        host F(n, k);
        gemm(oracle, U, Q, F);
        const host_vector scales = integers(n, 1, 2, 26).cwiseAbs();
        host eu = U, ef = F;
        const index expected = descend_bits(oracle, C, Q, span_of(scales), eu, ef);
        auto u = up(U), f = up(F);
        const auto device_scales = up_vector(scales);
        const index flips = descend_bits(b, up(C), up(Q), std::span<const S>(const_span(device_scales)), u, f);
        CHECK(flips == expected);
        check_equal("descend_bits: U", down(u), eu);
        check_equal("descend_bits: F", down(f), ef);
    }

    void check_row_scales(index n, index k) const {
        const host C = integers(n, k, 6, 27), U = random_signs(n, k, 28);
        host F = U * S(static_cast<double>(k));
        F.row(n / 2).setZero();
        host eu = U, ef = F;
        host_vector expected(n);
        const double explained = fit_row_scales(oracle, C, eu, ef, span_of(expected));
        auto u = up(U), f = up(F);
        auto scales = allocate<S>(b, n);
        check_number("fit_row_scales", fit_row_scales(b, up(C), u, f, span_of(scales)), explained, 16 * eps);
        check_near("fit_row_scales: scales", down_vector(scales), expected, 8);
        check_equal("fit_row_scales: U", down(u), eu);
        check_equal("fit_row_scales: F", down(f), ef);
    }
};

}  // namespace subbit::testing
