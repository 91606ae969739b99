// The whole Llama, forward and backward, against numbers that another program made.
#include "../support/reference.hpp"
#include "model/evaluation.hpp"

#include <subbit/backend/cpu.hpp>

#include <doctest/doctest.h>
#include <map>
#include <string>
#include <utility>
#include <vector>

namespace llama {
namespace {

using subbit::safetensors_reader;
using subbit::span_of;

/// How near an exact evaluation can come to the file's numbers: 1e-9, or 1e-6 where the file shows that the program
/// which made it normalizes in single precision, as the usual implementation does whatever its type. Then the final
/// hidden states, divided by the norm's weight, are float32 numbers, every one. (The gradients are held to more than
/// that by finite differences.)
double tolerance_of(const safetensors_reader& expected, const std::string& last_states, index tokens,
                    std::span<const double> norm_weight) {
    std::vector<double> states(static_cast<std::size_t>(tokens) * norm_weight.size());
    expected.read_into(last_states, std::span<double>(states));
    for (std::size_t i = 0; i < states.size(); ++i) {
        const double normed = states[i] / norm_weight[i % norm_weight.size()];
        if (std::abs(normed - static_cast<double>(static_cast<float>(normed))) > 1e-14 * std::abs(normed)) return 1e-9;
    }
    return 1e-6;
}

/// Largest difference over largest value.
void check_tensor(const safetensors_reader& expected, const std::string& name, std::span<const double> have,
                  double tolerance) {
    CAPTURE(name);
    std::vector<double> want(have.size());
    expected.read_into(name, std::span<double>(want));
    double worst = 0, largest = 0;
    for (std::size_t i = 0; i < have.size(); ++i) {
        worst = std::max(worst, std::abs(have[i] - want[i]));
        largest = std::max(largest, std::abs(want[i]));
    }
    if (expected.info(name).type == subbit::dtype::f32) tolerance = std::max(tolerance, 1e-7);
    CHECK(largest > 0);
    CHECK(worst <= tolerance * largest);
}
void check_tensor(const safetensors_reader& expected, const std::string& name, const matrix<double>& have,
                  double tolerance) {
    check_tensor(expected, name, std::span<const double>(have.data(), static_cast<std::size_t>(have.size())),
                 tolerance);
}

template <class B>
void check_model(const B& b) {
    const auto folder = subbit::testing::reference_dir() / "llama_two_blocks";
    const model_directory model(folder);
    const safetensors_reader expected(folder / "expected.safetensors");
    const auto& config = model.config();
    const index blocks = config.num_hidden_layers, d = config.hidden_size;
    const auto& shape = expected.info("input_ids").shape;
    REQUIRE(shape.size() == 2);
    const index count = shape[0], window = shape[1], tokens = count * window;
    const auto raw_ids = expected.raw<std::int64_t>("input_ids");
    std::vector<std::int32_t> ids(raw_ids.size()), labels;
    std::transform(raw_ids.begin(), raw_ids.end(), ids.begin(), [](auto id) { return static_cast<std::int32_t>(id); });
    for (index w = 0; w < count; ++w) {
        const auto next =
            next_tokens(std::span(ids).subspan(static_cast<std::size_t>(w * window), static_cast<std::size_t>(window)));
        labels.insert(labels.end(), next.begin(), next.end());
    }

    const auto outer = model.load_outer_layers<double>();
    const double tolerance =
        tolerance_of(expected, "hidden_states." + std::to_string(blocks), tokens, span_of(outer.final_norm));
    block_context<double> context(config, window);
    std::vector<block<double>> layers;
    std::vector<block_tape<double>> tapes(static_cast<std::size_t>(blocks));
    matrix<double> X(tokens, d), Y(tokens, d);
    outer.embed(b, ids, subbit::view(X));
    check_tensor(expected, "hidden_states.0", X, tolerance);
    for (index l = 0; l < blocks; ++l) {
        layers.push_back(model.load_block<double>(l, context));
        layers.back().forward(b, const_view(X), window, subbit::view(Y), tapes[static_cast<std::size_t>(l)]);
        X.swap(Y);
        if (l + 1 < blocks) check_tensor(expected, "hidden_states." + std::to_string(l + 1), X, tolerance);
    }
    matrix<double> normed(tokens, d), logits(tokens, config.vocab_size);
    subbit::vector<double> inverse_rms;
    rms_norm(b, const_view(X), span_of(outer.final_norm), {config.rms_norm_eps}, subbit::view(normed), inverse_rms);
    check_tensor(expected, "hidden_states." + std::to_string(blocks), normed, tolerance);
    gemm(b, normed, const_view(outer.head()).t(), logits);
    check_tensor(expected, "logits", logits, tolerance);

    const double scored = static_cast<double>(count * (window - 1));
    matrix<double> d_normed(tokens, d), d_head = matrix<double>::Zero(config.vocab_size, d);
    const double loss =
        subbit::cross_entropy(b, const_view(normed), const_view(outer.head()), std::span<const std::int32_t>(labels),
                              1 / scored, subbit::view(d_normed), subbit::view(d_head)) /
        scored;
    check_tensor(expected, "loss", std::span<const double>(&loss, 1), tolerance);

    matrix<double> gradient = matrix<double>::Zero(tokens, d), d_input(tokens, d);
    vector<double> d_norm(d);
    rms_norm_backward(b, const_view(X), span_of(outer.final_norm), {config.rms_norm_eps}, inverse_rms,
                      const_view(d_normed), subbit::view(gradient), span_of(d_norm));
    check_tensor(expected, "grad.model.norm.weight", span_of(std::as_const(d_norm)), tolerance);
    const subbit::trainable train{.weights = true, .norms = true};
    index checked = 0;
    for (index l = blocks - 1; l >= 0; --l) {
        auto& layer = layers[static_cast<std::size_t>(l)];
        layer.backward(b, train, tapes[static_cast<std::size_t>(l)], window, const_view(gradient),
                       subbit::view(d_input));
        gradient.swap(d_input);
        std::vector<subbit::parameter<double>> parameters;
        layer.parameters(b, block_prefix(l), train, parameters);
        for (const auto& p : parameters)
            check_tensor(expected, "grad." + p.name, p.gradient, tolerance), ++checked;
    }
    CHECK(checked == blocks * 9);

    matrix<double> d_embedding = matrix<double>::Zero(config.vocab_size, d);
    for (index t = 0; t < tokens; ++t)
        d_embedding.row(ids[static_cast<std::size_t>(t)]) += gradient.row(t);
    if (config.tie_word_embeddings)
        d_embedding += d_head;
    else
        check_tensor(expected, "grad.lm_head.weight", d_head, tolerance);
    check_tensor(expected, "grad.model.embed_tokens.weight", d_embedding, tolerance);
}

}  // namespace

TEST_SUITE("reference") {
    TEST_CASE("a Llama of two blocks on the reference backend") {
        check_model(subbit::reference<double>{});
    }
    TEST_CASE("a Llama of two blocks on the cpu backend") {
        check_model(subbit::cpu({.threads = 2}));
    }
}

}  // namespace llama
