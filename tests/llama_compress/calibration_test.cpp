// The moments of a whole model against a plain computation in double.
#include "compress/calibration.hpp"
#include "../support/temporary_directory.hpp"
#include "tiny_model.hpp"

#include <subbit/backend/cpu.hpp>

#include <doctest/doctest.h>
#include <map>
#include <utility>
#include <vector>

namespace llama {
namespace {

using subbit::clipping;
using subbit::span_of;

constexpr index length = 14, window_count = 5;

/// A tiny model on disk, and windows of random tokens.
struct tiny_case {
    subbit::testing::temporary_directory directory;
    std::vector<std::vector<std::int32_t>> windows;

    tiny_case() {
        testing::tiny_shape shape;
        shape.hidden = 16;
        shape.intermediate = 24;
        shape.tied = false;
        testing::write_tiny_model(directory / "model", shape);
        const subbit::random_stream stream(9);
        for (std::uint64_t w = 0; w < window_count; ++w) {
            windows.emplace_back();
            for (std::uint64_t t = 0; t < length; ++t)
                windows.back().push_back(static_cast<std::int32_t>(stream.below(100 * w + t, 257)));
        }
    }
    template <class S, class B>
    std::vector<block_moments<S>> moments(const B& b, clipping mode, std::size_t held_bytes = calibration_bytes,
                                          std::size_t state_bytes = 1 << 20) const {
        const model_directory model(directory / "model");
        return calibrate<S>(
            b, model, llama::upload(b, model.load_outer_layers<S>()), windows,
            {.moments = {.mode = mode}, .held_bytes = held_bytes, .limits = {directory.path(), state_bytes}});
    }
};

/// Inputs and output gradients of every layer, by window: all blocks in memory, one window at a time, in double.
using activations = std::map<std::pair<index, index>, std::vector<std::pair<matrix<double>, matrix<double>>>>;
activations observe(const tiny_case& c) {
    const subbit::reference<double> b;
    const model_directory model(c.directory / "model");
    const auto& config = model.config();
    block_context<double> context(config, length);
    const auto outer = model.load_outer_layers<double>();
    activations seen;
    for (const auto& window : c.windows) {
        std::vector<block<double>> blocks;
        std::vector<block_tape<double>> tapes(2);
        matrix<double> X(length, config.hidden_size), Y = X, normed = X, d_normed = X;
        outer.embed(b, window, subbit::view(X));
        for (index l = 0; l < 2; ++l) {
            blocks.push_back(model.load_block<double>(l, context));
            blocks.back().forward(b, const_view(X), length, subbit::view(Y), tapes[static_cast<std::size_t>(l)]);
            X = Y;
        }
        subbit::vector<double> inverse;
        rms_norm(b, const_view(X), span_of(outer.final_norm), config.norm, subbit::view(normed), inverse);
        matrix<double> d_logits = normed * outer.head().transpose();
        for (index t = 0; t < length; ++t) {
            d_logits.row(t) = (d_logits.row(t).array() - d_logits.row(t).maxCoeff()).exp();
            d_logits.row(t) /= d_logits.row(t).sum();
            if (t + 1 < length)
                d_logits(t, window[static_cast<std::size_t>(t + 1)]) -= 1;
            else
                d_logits.row(t).setZero();
        }
        d_normed = d_logits * outer.head() / static_cast<double>(length - 1);
        matrix<double> gradient = matrix<double>::Zero(length, config.hidden_size), d_input = gradient;
        rms_norm_backward(b, const_view(X), span_of(outer.final_norm), config.norm, inverse, const_view(d_normed),
                          subbit::view(gradient), std::span<double>());
        for (index l = 1; l >= 0; --l) {
            blocks[static_cast<std::size_t>(l)].backward(
                b, subbit::trainable{}, tapes[static_cast<std::size_t>(l)], length, const_view(gradient),
                subbit::view(d_input), [&](index k, matrix_view<const double> in, matrix_view<const double> out) {
                    seen[{l, k}].emplace_back(subbit::as_eigen(in), subbit::as_eigen(out));
                });
            gradient = d_input;
        }
    }
    return seen;
}

/// The mean over windows of the mean over tokens. With so few tokens no norm is beyond the percentile, so that clipping
/// by a bound that was found first changes nothing either.
vector<double> mean_squares(const std::vector<std::pair<matrix<double>, matrix<double>>>& seen, bool outputs) {
    vector<double> sum = vector<double>::Zero((outputs ? seen[0].second : seen[0].first).cols());
    for (const auto& [in, out] : seen)
        sum += (outputs ? out : in).colwise().squaredNorm().transpose() / static_cast<double>(length);
    return sum / static_cast<double>(seen.size()) * (outputs ? 1e6 : 1.0);
}

double difference(const vector<double>& have, const vector<double>& want) {
    return (have - want).cwiseAbs().maxCoeff() / want.cwiseAbs().maxCoeff();
}

}  // namespace

TEST_CASE("a model's moments are those of its activations and gradients") {
    const tiny_case c;
    const auto seen = observe(c);
    const subbit::reference<double> b;
    for (const auto mode : {clipping::plain, clipping::two_phase, clipping::quantile}) {
        const auto moments = c.moments<double>(b, mode);
        REQUIRE(moments.size() == 2);
        for (index l = 0; l < 2; ++l)
            for (index k = 0; k < index{layer_count}; ++k) {
                CAPTURE(l);
                CAPTURE(k);
                const auto& m = moments[static_cast<std::size_t>(l)][static_cast<std::size_t>(k)];
                CHECK(difference(m.input, mean_squares(seen.at({l, k}), false)) < 1e-9);
                CHECK(difference(m.output, mean_squares(seen.at({l, k}), true)) < 1e-9);
            }
    }
}

TEST_CASE("moments depend on neither the memory that is allowed nor the threads") {
    const tiny_case c;
    for (const auto mode : {clipping::quantile, clipping::online, clipping::two_phase, clipping::plain}) {
        const auto all = c.moments<float>(subbit::cpu({.threads = 1}), mode);
        const auto single = c.moments<float>(subbit::cpu({.threads = 1}), mode, 0);
        const auto pairs = c.moments<float>(subbit::cpu({.threads = 2}), mode, 2 * 3 * length * 16 * sizeof(float));
        for (std::size_t l = 0; l < 2; ++l)
            for (std::size_t k = 0; k < layer_count; ++k)
                for (const auto* other : {&single, &pairs}) {
                    CHECK((*other)[l][k].input == all[l][k].input);
                    CHECK((*other)[l][k].output == all[l][k].output);
                }
    }
}

}  // namespace llama
