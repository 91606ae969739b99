// What layers in training, their losses and their optimizers ask of a GPU's backend, real or emulated, against the
// host.
#pragma once

#include "../support/strided.hpp"

#include <subbit/backend/jobs/repeated.hpp>
#include <subbit/backend/reference.hpp>
#include <subbit/recon/linear_layer.hpp>
#include <subbit/recon/tuning.hpp>
#include <subbit/train/losses.hpp>

#include <doctest/doctest.h>
#include <cstdint>
#include <span>
#include <utility>
#include <vector>

namespace subbit::testing {
inline const reference<double> on_cpu;
inline constexpr index odd_sizes[] = {1, 15, 17, 33, 63};

template <class A, class C>
double distance(const A& a, const C& c) {
    return a.size() == 0 ? 0.0 : (a - c).cwiseAbs().maxCoeff();
}

template <class B>
vector<double> down(const B& b, const typename B::template vector<double>& x) {
    return download(b, const_span(x));
}

/// A loss that is linear in a layer's outputs, and all that its passes leave; on any backend.
template <class B>
struct layer_run {
    using memory = memory_of<B>;

    matrix<double> Y, dX;
    std::vector<vector<double>> gradients, values;
    std::vector<bit_matrix> signs;

    layer_run(const B& b, linear_layer<double> host, index tokens, bool accumulate, matrix_optimizer optimizer) {
        const trainable train{.weights = true, .latents = true, .scales = true, .biases = true};
        auto layer = upload(b, std::move(host));
        const index m = layer.rows(), n = layer.cols();
        const auto X = upload(b, random_matrix<double>(tokens, n, 1));
        auto dY = upload(b, random_matrix<double>(tokens, m, 2)), d_in = upload(b, random_matrix<double>(tokens, n, 3));
        auto out = allocate<double>(b, tokens, m);
        linear_tape<double, memory> tape;
        linear_workspace<double, memory> work;
        std::vector<parameter<double>> list;
        layer.parameters(b, "layer", train, list);
        phase_options options;
        options.matrices = optimizer;
        options.weights = options.latents = options.scales = options.biases = learning_rate::share_of_magnitude(0.3);
        tuner<double, memory> tune(b, list, options, 4);
        for (int step = 0; step < 3; ++step) {
            layer.forward(b, const_view(X), view(out), tape, work);
            Y = download(b, out);
            auto gradient = copy_of(b, dY);  // a layer may use it up
            layer.backward(b, train, const_view(X), view(gradient), view(d_in), accumulate, tape, work);
            tune.gather(b, 0, 1);
            if (step == 0)
                for (const auto& p : list)
                    gradients.push_back(download(b, p.gradient));
            tune.step(b, 1);
            layer.after_update(b);
        }
        dX = download(b, d_in);
        for (const auto& p : list)
            values.push_back(download(b, p.value));
        if (!layer.is_dense()) signs = layer.visit_compressed([&](const auto& l) { return l.signs(b); });
        const auto back = on_host(b, layer);
        CHECK(back.rows() == m);
    }
};

template <class B>
void check_layer(const B& b, const linear_layer<double>& layer) {
    for (const index tokens : {index{1}, index{17}})
        for (const bool accumulate : {false, true})
            for (const auto optimizer : {matrix_optimizer::adamw, matrix_optimizer::muon}) {
                const layer_run<reference<double>> want(on_cpu, layer, tokens, accumulate, optimizer);
                const layer_run<B> got(b, layer, tokens, accumulate, optimizer);
                CHECK(distance(got.Y, want.Y) < 1e-9);
                CHECK(distance(got.dX, want.dX) < 1e-9);
                REQUIRE(got.gradients.size() == want.gradients.size());
                for (std::size_t i = 0; i < got.gradients.size(); ++i) {
                    CHECK(distance(got.gradients[i], want.gradients[i]) < 1e-9);
                    CHECK(distance(got.values[i], want.values[i]) < 1e-9);
                }
                CHECK(got.signs == want.signs);
            }
}

/// An owner keeps its memory where it has the size.
template <class B>
void check_owners(const B& b) {
    typename B::template matrix<double> X;
    reshape(b, X, 3, 5);
    const double* const before = view(X).data;
    reshape(b, X, 3, 5);
    CHECK(view(X).data == before);
    reshape(b, X, 5, 4);
    CHECK((view(X).rows == 5 && view(X).cols == 4));
}

template <class B>
void check_losses(const B& b) {
    for (const index d : odd_sizes) {
        constexpr index tokens = 31;
        CAPTURE(d);
        const auto Y = random_matrix<double>(tokens, d, 7), target = random_matrix<double>(tokens, d, 8);
        const auto y = upload(b, Y), t = upload(b, target);
        matrix<double> want = Y;
        auto got = upload(b, Y);
        for (const index vocabulary : {index{1}, index{33}, index{300}}) {
            CAPTURE(vocabulary);
            const matrix<double> head = random_matrix<double>(vocabulary, d, 10);
            const auto h = upload(b, head);
            std::vector<std::int32_t> labels;
            for (index k = 0; k < tokens; ++k)
                labels.push_back(k % 5 == 4 ? -1 : static_cast<std::int32_t>(k % vocabulary));
            matrix<double> d_head = head;
            auto got_head = upload(b, head);
            const std::span<const std::int32_t> of(labels);
            const double entropy =
                cross_entropy(on_cpu, const_view(Y), const_view(head), of, 0.3, view(want), view(d_head));
            CHECK(cross_entropy(b, const_view(y), const_view(h), of, 0.3, view(got), view(got_head)) ==
                  doctest::Approx(entropy).epsilon(1e-10));
            CHECK(distance(download(b, got), want) < 1e-10);
            CHECK(distance(download(b, got_head), d_head) < 1e-10);
            CHECK(cross_entropy(b, const_view(y), const_view(h), of, 0.3, matrix_view<double>()) ==
                  doctest::Approx(entropy).epsilon(1e-10));
            const double kl = forward_kl(on_cpu, const_view(target), const_view(Y), const_view(head), 0.3, view(want));
            CHECK(forward_kl(b, const_view(t), const_view(y), const_view(h), 0.3, view(got)) ==
                  doctest::Approx(kl).epsilon(1e-10));
            CHECK(distance(download(b, got), want) < 1e-10);
        }
    }
}

template <class B>
void check_dense_layer(const B& b) {
    dense_linear<double> dense;
    dense.weight = random_matrix<double>(15, 33, 11);
    check_layer<B>(b, dense);
    dense.bias = random_matrix<double>(15, 1, 12);
    check_layer<B>(b, dense);
}

template <class B>
void check_low_rank_layer(const B& b) {
    for (const bool three : {false, true}) {
        const auto U = random_matrix<double>(17, 5, 13), V = random_matrix<double>(5, 63, 14);
        binary_linear<double> binary;
        binary.layer.U = bit_matrix::pack(U);
        binary.layer.V = bit_matrix::pack(V);
        binary.layer.s_post = random_matrix<double>(17, 1, 15);
        binary.layer.s_pre = random_matrix<double>(63, 1, 16);
        if (three) {
            binary.layer.s_mid = random_matrix<double>(5, 1, 17);
            binary.layer.bias = random_matrix<double>(17, 1, 18);
            binary.estimator = straight_through::clipped;
        }
        check_layer<B>(b, binary);
        binary.U_latent = U;
        binary.V_latent = V;
        check_layer<B>(b, binary);
    }
}

template <class B>
void check_residual_layer(const B& b) {
    for (const index paths : {index{1}, index{3}}) {
        residual_linear<double> residual;
        for (index p = 0; p < paths; ++p) {
            const auto seed = static_cast<std::uint64_t>(3 * p);
            residual.layer.paths.push_back({bit_matrix::pack(random_matrix<double>(17, 35, 20 + seed)),
                                            random_matrix<double>(17, 1, 21 + seed).cwiseAbs(),
                                            random_matrix<double>(35, 1, 22 + seed).cwiseAbs()});
        }
        check_layer<B>(b, residual);
        residual.layer.bias = random_matrix<double>(17, 1, 30);
        residual.follow(on_cpu, random_matrix<double>(17, 35, 31), path_coupling::coupled);
        check_layer<B>(b, residual);
        residual.follow(on_cpu, random_matrix<double>(17, 35, 31), path_coupling::independent);
        check_layer<B>(b, residual);
    }
}

template <class B>
void check_moments(const B& b) {
    phase_options options;
    options.latents = learning_rate::absolute(0.01);
    const auto gradient = upload(b, std::span<const double>(span_of(vector<double>(random_matrix<double>(37, 1, 40)))));
    const auto run = [&](int stop) {
        auto value = allocate<double>(b, 37);
        auto slope = gradient;
        const std::vector<parameter<double>> list = {{"x", parameter_kind::latent, span_of(value), span_of(slope)}};
        tuner<double, B> tune(b, list, options, 6);
        for (int step = 0; step < 6; ++step) {
            if (step == stop) {
                tuner<double, B> resumed(b, list, options, 6);
                resumed.restore(b, static_cast<std::size_t>(step), tune.moments(b), tune.peaks());
                tune = std::move(resumed);
            }
            tune.step(b);
        }
        return down(b, value);
    };
    CHECK(run(3) == run(-1));
}

template <class B>
void check_repeated_work(const B& b) {
    typename B::template matrix<double> X, sum;
    reshape(b, X, 2, 3);
    reshape(b, sum, 2, 3);
    fill(b, 1, X);
    fill(b, 0, sum);
    index calls = 0;
    repeated_work<B> work;
    const auto add = [&] {
        ++calls;
        const auto copy = copy_of(b, X);  // memory that the recording has for itself
        axpby(b, 1, copy, 1, sum);
    };
    const auto sum_after = [&](int times) {
        for (int k = 0; k < times; ++k)
            work(b, add);
        return download(b, sum)(1, 2);
    };
    CHECK(sum_after(1) == 1);
    CHECK(sum_after(4) == 5);
    CHECK(calls == 2);  // as it stands, and to be recorded
    fill(b, 10, X);
    CHECK(sum_after(2) == 25);
    CHECK(calls == 2);
    reshape(b, X, 40, 30);  // leaves its memory
    reshape(b, X, 2, 3);    // and keeps the new one
    fill(b, 100, X);
    CHECK(sum_after(3) == 325);
    CHECK(calls == 4);
}

/// A tuner's recorded steps, gathered and not, move parameters as those that are asked for one by one.
template <class B>
void check_recorded_steps(const B& b) {
    phase_options options;
    options.latents = learning_rate::absolute(0.01);
    options.optimizer.weight_decay = 0.1;
    for (const index gathered : {index{0}, index{2}}) {
        const auto run = [&](bool records) {
            std::vector<typename B::template vector<double>> values, slopes;
            for (const index n : {index{1}, index{37}, index{2048}, index{2049}, index{5000}}) {
                values.push_back(allocate<double>(b, n));
                slopes.push_back(allocate<double>(b, n));
            }
            std::vector<parameter<double>> list;
            for (std::size_t i = 0; i < 5; ++i)
                list.push_back({"x", parameter_kind::latent, span_of(values[i]), span_of(slopes[i])});
            std::vector<typename B::template vector<double>> more(25, values[1]);  // than one launch moves
            for (auto& m : more)
                list.push_back({"y", parameter_kind::latent, span_of(m), span_of(slopes[1])});
            tuner<double, B> tune(b, list, options, 6);
            repeated_work<B> work;
            for (int step = 0; step < 6; ++step) {
                for (auto& slope : slopes)
                    fill(b, 1 + step, as_column(span_of(slope)));
                for (index k = 0; k < gathered; ++k) {
                    for (auto& slope : slopes)
                        fill(b, 1 + step + static_cast<int>(k), as_column(span_of(slope)));
                    tune.gather(b, k, gathered);
                }
                tune.next_step(b, gathered);
                if (records)
                    work(b, [&] { tune.update(b); });
                else
                    tune.update(b);
            }
            std::vector<vector<double>> result;
            for (auto& p : list)
                result.push_back(download(b, p.value));
            return result;
        };
        const auto recorded = run(true);
        CHECK(recorded == run(false));
        CHECK(recorded[4](4999) != 0);
        CHECK(recorded[29] == recorded[1]);
    }
}

template <class B>
void check_written_numbers(const B& b) {
    for (const index n : {index{1}, index{255}, index{256}, index{257}, index{1025}}) {
        const vector<double> host = random_matrix<double>(n, 1, 50);
        auto x = allocate<double>(b, n);
        upload(b, span_of(host), span_of(x));
        CHECK(down(b, x) == host);
    }
}

}  // namespace subbit::testing
