// Checks of packed layers (backend/ops/layers.hpp) and of sums of paths (backend/ops/paths.hpp).
#pragma once

#include "conformance/conformance_tools.hpp"
#include "support/int8_bound.hpp"

#include <subbit/backend/ops/layers.hpp>

namespace subbit::testing {

template <class S, class B>
class layer_conformance : conformance_tools<S, B> {
  public:
    explicit layer_conformance(const B& backend) : tools(backend) {}

    void check(index m, index n) const { check_paths(m, n); }
    void check(index m, index k, index n) const { check_layer(m, k, n); }

    void check_errors() const {
        auto C = allocate<S>(b, 3, 3);
        std::vector<binary_path<S>> narrow{{bit_matrix(3, 2), host_vector::Ones(3), host_vector::Ones(3)}};
        CHECK_THROWS_AS(couple_paths(b, C, std::span<binary_path<S>>(narrow)), shape_error);
        CHECK_THROWS_AS(expand_paths(b, std::span<const binary_path<S>>(narrow), C), shape_error);
    }

  private:
    using tools = conformance_tools<S, B>;
    using tools::b, tools::oracle, tools::eps, tools::nan;
    using tools::check_within, tools::check_near, tools::check_equal;
    using tools::normal;
    using tools::product_bound, tools::sizes;
    using tools::up, tools::down, tools::up_vector, tools::down_vector;
    using typename tools::host;
    using typename tools::host_vector;
    using typename tools::numbers;

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
            const numbers magnitude = product(sizes(left), sizes(inner)).transpose();
            for (const index tokens : {1, 5, 19}) {
                const host X = normal(tokens, n, 35);
                auto Y = up(host::Constant(tokens, m, nan));
                const auto x = up(X);
                layer.apply(b, const_view(x), view(Y));
                host expected(tokens, m);
                layer.apply(oracle, X, expected);
                const numbers bound =
                    2 * static_cast<double>(n + r + 8) * eps * product(sizes(X), magnitude) + 4 * eps * sizes(expected);
                check_within("apply", down(Y), expected, bound);
                layer.apply(b, const_view(x), view(Y), {.precision = packed_precision::reordered});
                check_within("apply, reordered", down(Y), expected, bound);
                check_approximate(layer, X, expected);
            }
        }
        check_layers(layer, m, r, n);
    }

    /// The 8-bit path stays within its bound; a backend may ignore the option.
    template <class Layer>
    void check_approximate(const Layer& layer, const host& X, const host& expected) const {
        auto Y = up(host::Constant(X.rows(), layer.rows(), nan));
        const auto x = up(X);
        layer.apply(b, const_view(x), view(Y), {.precision = packed_precision::int8});
        numbers bound(X.rows(), layer.rows());
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
        for (const index tokens : {1, 5, 37})
            for (const auto precision :
                 {packed_precision::exact, packed_precision::reordered, packed_precision::int8}) {
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

        for (const index tokens : {1, 3, 19})
            check_applied_paths(layer, normal(tokens, n, 47));
    }

    void check_applied_paths(const residual_binary_linear<S>& layer, const host& X) const {
        auto Y = up(host::Constant(X.rows(), layer.rows(), nan));
        const auto x = up(X);
        host outputs(X.rows(), layer.rows());
        layer.apply(oracle, X, outputs);
        numbers bound = 8 * eps * sizes(outputs);
        for (const auto& path : layer.paths)
            bound += product_bound(X, path.dense().transpose());
        layer.apply(b, const_view(x), view(Y));
        check_within("apply paths", down(Y), outputs, bound);
        layer.apply(b, const_view(x), view(Y), {.precision = packed_precision::reordered});
        check_within("apply paths, reordered", down(Y), outputs, bound);
        check_approximate(layer, X, outputs);
    }
};

}  // namespace subbit::testing
