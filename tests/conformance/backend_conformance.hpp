// Every operation of a backend against reference<S>, at odd sizes. A user's backend runs it too:
//
//   TEST_CASE("mine") { subbit::testing::check_backend<float>(my_backend{}); }
//
// Tolerances are those of float rounding: a sum of k products is off by no more than a few k eps times the sum of their
// magnitudes. Where integers keep every step exact, the results must be equal.
#pragma once

#include "conformance/conformance_tools.hpp"
#include "support/int8_bound.hpp"

#include <subbit/backend/factor_operations.hpp>
#include <subbit/backend/layer_operations.hpp>
#include <subbit/backend/reference.hpp>

#include <doctest/doctest.h>
#include <array>
#include <cmath>
#include <limits>
#include <span>
#include <string>

namespace subbit::testing {

inline constexpr std::array<index, 6> conformance_sizes = {1, 3, 63, 64, 65, 257};

/// The checks of one backend B in the scalar type S; each function covers one operation, or two of a kind.
template <class S, class B>
class conformance : conformance_tools<S, B> {
  public:
    explicit conformance(const B& backend) : tools(backend) {}

    void all() const {
        const std::size_t count = conformance_sizes.size();
        for (std::size_t i = 0; i < count; ++i) {
            const index m = conformance_sizes[i];
            check_vectors(m);
            check_square(m);
            for (std::size_t j = 0; j < count; ++j) {
                const index n = conformance_sizes[j];
                CAPTURE(m);
                CAPTURE(n);
                check_memory(m, n);
                check_elementwise(m, n);
                check_signs(m, n);
                check_sums(m, n);
                check_normalize(m, n);
                check_rank_one(m, n);
                check_project_dual(m, n);
                check_gram(m, n);
                check_solve(m, n);
                check_descend(m, n);
                check_row_scales(m, n);
                check_paths(m, n);
                // Two Latin squares: every pair of sizes meets in every pair of the three places.
                for (const index k : {conformance_sizes[(i + j) % count], conformance_sizes[(i + j + 3) % count]}) {
                    CAPTURE(k);
                    check_gemm(m, k, n);
                    check_bit_gemm(m, k, n);
                    check_layer(m, k, n);
                }
            }
        }
        check_errors();
    }

  private:
    using tools = conformance_tools<S, B>;
    using tools::b, tools::oracle, tools::eps, tools::nan;
    using tools::check_within, tools::check_near, tools::check_number, tools::check_equal;
    using tools::normal, tools::integers, tools::random_signs;
    using tools::up, tools::down, tools::up_vector, tools::down_vector;
    using typename tools::host;
    using typename tools::host_vector;

    void check_memory(index m, index n) const {
        const host X = normal(m, n);
        check_equal("allocate", down(allocate<S>(b, m, n)), host::Zero(m, n));
        check_equal("upload, download", down(up(X)), X);
        check_equal("download of a transpose", down(view(up(X)).t()), X.transpose());
        auto filled = allocate<S>(b, m, n);
        fill_normal(b, random_stream(5, 6), filled);
        host expected(m, n);
        fill_normal(oracle, random_stream(5, 6), expected);
        check_near("fill_normal", down(filled), expected, 4);
    }

    void check_vectors(index n) const {
        const host_vector x = normal(n, 1);
        CHECK(down_vector(allocate_vector<S>(b, n)) == host_vector::Zero(n));
        CHECK(down_vector(up_vector(x)) == x);
    }

    void check_square(index n) const {
        const host G = normal(n, n);
        const auto device = up(G);
        const double diagonal = G.diagonal().template cast<double>().cwiseAbs().sum();
        CHECK(std::abs(trace(b, device) - trace(oracle, G)) <= 4 * eps * diagonal);

        auto shifted = up(G);
        shift_diagonal(b, 0.25, shifted);
        host expected = G;
        shift_diagonal(oracle, 0.25, expected);
        check_equal("shift_diagonal", down(shifted), expected);

        for (const double relative : {0.5, -1e3}) {  // the second falls below the least
            auto regularized = up(G);
            regularize(b, relative, 0.125, 0.25, regularized);
            host ridge = G;
            regularize(oracle, relative, 0.125, 0.25, ridge);
            check_within("regularize", down(regularized), ridge,
                         Eigen::MatrixXd::Constant(n, n, 8 * eps * (diagonal + 1)));
        }

        const host X = normal(n + 2, n);
        const host symmetric = X.transpose() * X;
        auto vectors = allocate<S>(b, n, n);
        symmetric_eigenvectors(b, up(symmetric), vectors);
        const host V = down(vectors);
        const host rotated = V.transpose() * symmetric * V, unit = V.transpose() * V;
        const host eigenvalues = rotated.diagonal().asDiagonal();
        const double size = static_cast<double>(n) * eps;
        check_within("symmetric_eigenvectors: not orthonormal", unit, host::Identity(n, n),
                     Eigen::MatrixXd::Constant(n, n, 16 * size));
        check_within("symmetric_eigenvectors: not diagonal", rotated, eigenvalues,
                     Eigen::MatrixXd::Constant(n, n, 32 * size * static_cast<double>(symmetric.norm())));
        for (index i = 1; i < n; ++i)
            CHECK(static_cast<double>(rotated(i, i) - rotated(i - 1, i - 1)) <=
                  32 * size * static_cast<double>(symmetric.norm()));
    }

    void check_elementwise(index m, index n) const {
        const host X = normal(m, n, 1), Y = normal(m, n, 2);
        const auto x = up(X), y = up(Y);
        const host_vector left = normal(m, 1, 3), right = normal(n, 1, 4);
        const auto device_left = up_vector(left), device_right = up_vector(right);

        for (const bool use_left : {false, true})
            for (const bool use_right : {false, true}) {
                const auto some = [](bool use, const auto& v) {
                    return use ? std::span<const S>(const_span(v)) : std::span<const S>();
                };
                auto scaled = up(X);
                scale(b, scaled, some(use_left, device_left), some(use_right, device_right));
                host expected = X;
                scale(oracle, expected, some(use_left, left), some(use_right, right));
                check_within("scale", down(scaled), expected, 4 * eps * expected.cwiseAbs().template cast<double>());
            }
        auto turned = up(X.transpose());
        scale(b, view(turned).t(), std::span<const S>(const_span(device_left)), std::span<const S>());
        const host turned_expected = (left.asDiagonal() * X).transpose();
        check_equal("scale of a transpose", down(turned), turned_expected);

        const Eigen::MatrixXd size = (X.cwiseAbs() + Y.cwiseAbs()).template cast<double>();
        auto sum = up(Y);
        axpby(b, 0.5, x, -2, sum);
        check_within("axpby", down(sum), host(S(0.5) * X - S(2) * Y), 4 * eps * size);
        auto copied = up(host::Constant(m, n, nan));
        axpby(b, 1, x, 0, copied);
        check_equal("axpby as a copy over NaN", down(copied), X);
        auto from_transpose = allocate<S>(b, n, m);
        axpby(b, 1, view(x).t(), 0, from_transpose);
        check_equal("axpby of a transpose", down(from_transpose), X.transpose());

        auto difference = allocate<S>(b, m, n);
        scaled_difference(b, 0.75, x, y, difference);
        check_within("scaled_difference", down(difference), host(S(0.75) * (X - Y)), 4 * eps * size);
        auto product = up(Y);
        hadamard(b, x, product);
        check_equal("hadamard", down(product), X.cwiseProduct(Y));
    }

    void check_signs(index m, index n) const {
        host X = integers(m, n, 2, 5);  // with zeros
        X(0, 0) = S(-0.0);
        const host Y = normal(m, n, 6);
        host expected = X;
        take_signs(oracle, expected);
        auto signs = up(X);
        take_signs(b, signs);
        check_equal("take_signs", down(signs), expected);
        CHECK(pack_signs(b, up(X)) == bit_matrix::pack(X));
        CHECK(pack_signs(b, view(up(X)).t()) == bit_matrix::pack(host(X.transpose())));
        auto copied = up(Y);
        copy_signs(b, up(X), copied);
        check_equal("copy_signs", down(copied), Y.cwiseAbs().cwiseProduct(expected));
    }

    void check_sums(index m, index n) const {
        const host X = normal(m, n, 7), Y = normal(m, n, 8);
        const auto x = up(X), y = up(Y);
        const double norm = squared_norm(oracle, X), distance = squared_distance(oracle, X, Y);
        check_number("squared_norm", squared_norm(b, x), norm, 1e-6 + 8 * eps);
        check_number("squared_distance", squared_distance(b, x, y), distance, 1e-5 + 8 * eps);
        check_number("squared_norm of a transpose", squared_norm(b, view(x).t()), norm, 1e-6 + 8 * eps);

        auto rows = allocate_vector<S>(b, m), cols = allocate_vector<S>(b, n);
        host_vector row_means(m), col_means(n), norms(n), dots(n);
        abs_row_means(b, x, span_of(rows));
        abs_row_means(oracle, X, span_of(row_means));
        check_near("abs_row_means", down_vector(rows), row_means, 8);
        abs_row_means(b, view(x).t(), span_of(cols));
        abs_row_means(oracle, view(X).t(), span_of(col_means));
        check_near("abs_row_means of a transpose", down_vector(cols), col_means, 8);
        column_norms(b, x, span_of(cols));
        column_norms(oracle, X, span_of(norms));
        check_near("column_norms", down_vector(cols), norms, 8);
        subbit::column_dots(b, x, y, span_of(cols));
        subbit::column_dots(oracle, X, Y, span_of(dots));
        const host_vector magnitudes = X.cwiseAbs().cwiseProduct(Y.cwiseAbs()).colwise().sum().transpose();
        check_within("column_dots", down_vector(cols), dots, 8 * eps * magnitudes.template cast<double>());

        const host_vector weights = normal(m, 1, 9);
        const auto device_weights = up_vector(weights);
        vector<double> expected = vector<double>::Ones(n);
        auto sums = upload_vector(b, std::span<const double>(span_of(expected)));
        add_square_sums(b, x, std::span<const S>(const_span(device_weights)), span_of(sums));
        add_square_sums(oracle, X, span_of(weights), span_of(expected));
        const auto got = download_vector(b, std::span<const double>(const_span(sums)));
        for (index j = 0; j < n; ++j)
            check_number("add_square_sums", got(j), expected(j), 8 * eps);
    }

    void check_normalize(index m, index n) const {
        host Z = normal(m, n, 10);
        Z.col(n / 2).setZero();
        auto X = up(host::Constant(m, n, nan));
        normalize_columns(b, up(Z), X);
        host expected(m, n);
        normalize_columns(oracle, Z, expected);
        check_near("normalize_columns", down(X), expected, 8);
    }

    void check_rank_one(index m, index n) const {
        const host T = normal(m, n, 11);
        const auto compare = [&](const char* name, const auto& device, const auto& host_view) {
            auto u = allocate_vector<S>(b, device.rows), v = allocate_vector<S>(b, device.cols);
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
        auto u = allocate_vector<S>(b, m), v = allocate_vector<S>(b, n);
        rank1_magnitude(b, up(host::Zero(m, n)), span_of(u), span_of(v));
        CHECK(down_vector(u) == host_vector::Zero(m));
    }

    void check_project_dual(index m, index n) const {
        const host L = normal(m, n, 12), D = normal(m, n, 13);
        // D is what is left of t = L + D, so its error is measured by t's size, not its own.
        const double size = static_cast<double>((L + D).cwiseAbs().maxCoeff());
        const Eigen::MatrixXd bound = Eigen::MatrixXd::Constant(m, n, (64 + static_cast<double>(m + n)) * eps * size);
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

    /// The rounding of a sum of k products |A||X|, for the largest entry's sake with a margin.
    template <class MA, class MX>
    static Eigen::MatrixXd product_bound(const MA& A, const MX& X) {
        const double k = static_cast<double>(A.cols());
        return 2 * (k + 4) * eps * (A.cwiseAbs() * X.cwiseAbs()).template cast<double>();
    }

    void check_gemm(index m, index k, index n) const {
        const host A = normal(m, k, 14), X = normal(k, n, 15), C = normal(m, n, 16);
        const Eigen::MatrixXd bound = product_bound(A, X);
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
        check_within("gemm of transposes", down(sum), expected, bound + 4 * eps * C.cwiseAbs().template cast<double>());

        auto turned = up(C.transpose());
        gemm(b, up(A), up(X), view(turned).t(), 1, 1);
        expected = C;
        gemm(oracle, A, X, expected, 1, 1);
        check_within("gemm into a transpose", down(view(turned).t()), expected,
                     bound + 4 * eps * C.cwiseAbs().template cast<double>());
    }

    void check_bit_gemm(index m, index k, index n) const {
        const host A = normal(m, k, 17), X = random_signs(k, n, 18), C = normal(m, n, 19);
        const Eigen::MatrixXd bound = product_bound(A, X) + 4 * eps * C.cwiseAbs().template cast<double>();
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
        check_within("gram", down(G), expected, product_bound(X.transpose(), X));
    }

    void check_solve(index n, index k) const {
        const host X = normal(k + 8, k, 21), R = normal(n, k, 22);
        const host G = X.transpose() * X + host::Identity(k, k) * S(0.1 * static_cast<double>(k));
        auto g = up(G), r = up(R);
        spd_solve(b, g, r);
        // The residual, not the distance: it does not depend on how well G is conditioned.
        const host solution = down(r);
        const double size = static_cast<double>(solution.norm()) * static_cast<double>(G.norm());
        check_within("spd_solve", host(solution * G), R,
                     Eigen::MatrixXd::Constant(n, k, 4 * static_cast<double>(k + 4) * eps * size));
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
            check_near("spd_solve of an indefinite matrix", down(swapped), host(R * swap), 8);
        }
    }

    void check_descend(index n, index k) const {
        const host half = integers(k, k, 1, 23);
        const host Q = half + half.transpose() + host::Identity(k, k) * S(8), C = integers(n, k, 6, 24);
        const host U = random_signs(n, k, 25), F = U * Q;
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
        auto scales = allocate_vector<S>(b, n);
        check_number("fit_row_scales", fit_row_scales(b, up(C), u, f, span_of(scales)), explained, 16 * eps);
        check_near("fit_row_scales: scales", down_vector(scales), expected, 8);
        check_equal("fit_row_scales: U", down(u), eu);
        check_equal("fit_row_scales: F", down(f), ef);
    }

    /// apply() for one token and for several, with two scales and with three and a bias. The layer's parts live on the
    /// host.
    void check_layer(index m, index r, index n) const {
        low_rank_binary_linear<S> layer{bit_matrix::pack(normal(m, r, 29)),
                                        bit_matrix::pack(normal(r, n, 30)),
                                        normal(m, 1, 31),
                                        normal(n, 1, 32),
                                        {},
                                        {}};
        for (const bool full : {false, true}) {
            if (full) {
                layer.s_mid = normal(r, 1, 33);
                layer.bias = normal(m, 1, 34);
            }
            const host left = layer.s_post.asDiagonal() * layer.U.template unpack<S>();
            host inner = layer.V.template unpack<S>() * layer.s_pre.asDiagonal();
            if (full) inner = layer.s_mid.asDiagonal() * inner;
            const Eigen::MatrixXd magnitude = (left.cwiseAbs() * inner.cwiseAbs()).template cast<double>();
            for (const index tokens : {1, 5}) {
                const host X = normal(tokens, n, 35);
                auto Y = up(host::Constant(tokens, m, nan));
                const auto x = up(X);
                layer.apply(b, const_view(x), view(Y));
                host expected(tokens, m);
                layer.apply(oracle, X, expected);
                const Eigen::MatrixXd bound =
                    2 * static_cast<double>(n + r + 8) * eps *
                        (X.cwiseAbs().template cast<double>() * magnitude.transpose()).array() +
                    4 * eps * expected.cwiseAbs().template cast<double>().array();
                check_within("apply", down(Y), expected, bound);
                check_approximate(layer, X, expected);
            }
        }
        check_layers(layer, m, r, n);
    }

    /// The 8-bit path stays within its bound; a backend may ignore the option.
    void check_approximate(const low_rank_binary_linear<S>& layer, const host& X, const host& expected) const {
        auto Y = up(host::Constant(X.rows(), layer.rows(), nan));
        const auto x = up(X);
        layer.apply(b, const_view(x), view(Y), {.precision = packed_precision::int8});
        Eigen::MatrixXd bound(X.rows(), layer.rows());
        for (index t = 0; t < X.rows(); ++t)
            bound.row(t) = int8_bound(layer, X.row(t).transpose().template cast<double>()).transpose();
        check_within("apply, int8", down(Y), expected, bound);
    }

    /// Several layers in one job are the same layers one by one, to the last bit.
    void check_layers(const low_rank_binary_linear<S>& layer, index m, index r, index n) const {
        const low_rank_binary_linear<S> wide{bit_matrix::pack(normal(m + 40, r, 36)),
                                             bit_matrix::pack(normal(r, n, 37)),
                                             normal(m + 40, 1, 38),
                                             normal(n, 1, 39),
                                             {},
                                             {}};
        const low_rank_binary_linear<S> thin{bit_matrix::pack(normal(1, r + 1, 40)),
                                             bit_matrix::pack(normal(r + 1, n, 41)),
                                             normal(1, 1, 42),
                                             normal(n, 1, 43),
                                             normal(r + 1, 1, 44),
                                             {}};
        for (const index tokens : {1, 5})
            for (const auto precision : {packed_precision::exact, packed_precision::int8}) {
                const auto x = up(normal(tokens, n, 45));
                const auto output = [&](index rows) { return up(host::Constant(tokens, rows, nan)); };
                auto Y0 = output(m), Y1 = output(m + 40), Y2 = output(1), Z0 = Y0, Z1 = Y1, Z2 = Y2;
                apply_layers(b, const_view(x), {{layer, view(Y0)}, {wide, view(Y1)}, {thin, view(Y2)}},
                             {.precision = precision});
                layer.apply(b, const_view(x), view(Z0), {.precision = precision});
                wide.apply(b, const_view(x), view(Z1), {.precision = precision});
                thin.apply(b, const_view(x), view(Z2), {.precision = precision});
                check_equal("apply_layers: first", down(Y0), down(Z0));
                check_equal("apply_layers: second", down(Y1), down(Z1));
                check_equal("apply_layers: third", down(Y2), down(Z2));
            }
    }

    /// Coupled paths, what they stand for, their gradients, the refit of two paths' scales, and apply() of a layer.
    void check_paths(index m, index n) const {
        const host W = normal(m, n, 41);
        residual_binary_linear<S> layer;
        layer.bias = normal(m, 1, 42);
        for (const std::uint64_t p : {0u, 1u})
            layer.paths.push_back({bit_matrix(m, n), normal(m, 1, 43 + p).cwiseAbs(), normal(n, 1, 45 + p).cwiseAbs()});
        const std::span<const binary_path<S>> paths(layer.paths);
        couple_paths(b, up(W), std::span<binary_path<S>>(layer.paths));
        host left = W;
        for (const auto& path : layer.paths) {
            // Where almost nothing is left the sign is rounding's.
            const auto decided = left.array().abs() > 8 * static_cast<S>(eps) * (W - left).array().abs();
            CHECK((!decided || left.array() * path.B.template unpack<S>().array() > S(0) ||
                   (left.array() == S(0) && path.B.template unpack<S>().array() > S(0)))
                      .all());
            left -= path.dense();
        }
        auto effective = up(host::Constant(m, n, nan));
        expand_paths(b, paths, effective);
        check_near("expand_paths", down(effective), layer.dense(), 4);

        const host G = normal(m, n, 48);
        const auto gradients = [&](const auto& backend, const auto& of) {
            std::vector<host_vector> post(2, host_vector::Constant(m, nan)), pre(2, host_vector::Constant(n, nan));
            path_gradients(backend, of, paths, std::span<host_vector>(post), std::span<host_vector>(pre));
            return std::pair(post, pre);
        };
        const auto got = gradients(b, up(G)), want = gradients(oracle, G);
        for (std::size_t p = 0; p < 2; ++p) {
            check_near("path_gradients: d_post", got.first[p], want.first[p], 8.0 * static_cast<double>(n + 8));
            check_near("path_gradients: d_pre", got.second[p], want.second[p], 8.0 * static_cast<double>(m + 8));
        }

        const auto refit = [&](const auto& backend, const auto& T, const auto& signs, auto& rows, const auto& cols) {
            std::vector<path_scales<S>> list;
            for (std::size_t p = 0; p < 2; ++p)
                list.push_back({const_view(signs[p]), span_of(rows[p]), std::span<const S>(const_span(cols[p]))});
            fit_path_rows(backend, T, std::span<const path_scales<S>>(list));
        };
        std::vector<host> signs;
        std::vector<host_vector> rows, cols;
        std::vector<decltype(up(W))> device_signs;
        std::vector<decltype(up_vector(layer.bias))> device_rows, device_cols;
        for (const auto& path : layer.paths) {
            signs.push_back(path.B.template unpack<S>());
            rows.push_back(path.s_post);
            cols.push_back(path.s_pre);
            device_signs.push_back(up(signs.back()));
            device_rows.push_back(up_vector(path.s_post));
            device_cols.push_back(up_vector(path.s_pre));
        }
        refit(oracle, W, signs, rows, cols);
        refit(b, up(W), device_signs, device_rows, device_cols);
        for (std::size_t p = 0; p < 2; ++p)
            check_near("fit_path_rows", down_vector(device_rows[p]), rows[p], 1e4);

        const host X = normal(3, n, 47);
        auto Y = up(host::Constant(3, m, nan));
        const auto x = up(X);
        layer.apply(b, const_view(x), view(Y));
        host outputs(3, m);
        layer.apply(oracle, X, outputs);
        Eigen::MatrixXd magnitude = Eigen::MatrixXd::Zero(3, m);
        for (const auto& path : layer.paths)
            magnitude += (X.cwiseAbs() * path.dense().cwiseAbs().transpose()).template cast<double>();
        check_within("apply paths", down(Y), outputs,
                     Eigen::MatrixXd(2 * static_cast<double>(n + 8) * eps * magnitude.array() +
                                     8 * eps * outputs.cwiseAbs().template cast<double>().array()));
    }

    void check_errors() const {
        const auto X = up(normal(3, 4)), Y = up(normal(4, 3));
        auto C = allocate<S>(b, 3, 3);
        auto small = allocate_vector<S>(b, 2);
        const auto ones = std::span<const S>(const_span(small));
        CHECK_THROWS_AS(gemm(b, X, X, C), shape_error);
        CHECK_THROWS_AS(gemm(b, X, Y, view(C).middle_rows(0, 2)), shape_error);
        CHECK_THROWS_AS(gram(b, X, C), shape_error);
        CHECK_THROWS_AS(spd_solve(b, C, view(C).middle_cols(0, 2)), shape_error);
        CHECK_THROWS_AS(scale(b, C, ones, ones), shape_error);
        CHECK_THROWS_AS(axpby(b, 1, X, 0, C), shape_error);
        CHECK_THROWS_AS(project_dual(b, magnitude_form::row_means, 1, X, C, C), shape_error);
        CHECK_THROWS_AS(rank1_magnitude(b, X, span_of(small), span_of(small)), shape_error);
        CHECK_THROWS_AS(squared_distance(b, X, Y), shape_error);
        std::vector<binary_path<S>> narrow{{bit_matrix(3, 2), host_vector::Ones(3), host_vector::Ones(3)}};
        CHECK_THROWS_AS(couple_paths(b, C, std::span<binary_path<S>>(narrow)), shape_error);
        CHECK_THROWS_AS(expand_paths(b, std::span<const binary_path<S>>(narrow), C), shape_error);
    }
};

/// Runs every check on `backend` in the scalar type S.
template <class S, class B>
void check_backend(const B& backend) {
    static_assert(subbit::backend<B, S>);
    conformance<S, B>(backend).all();
}

}  // namespace subbit::testing
