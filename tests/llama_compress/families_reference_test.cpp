// Whole models of every family, forward and backward, against numbers that another program made.
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

using subbit::matrix;
using subbit::safetensors_reader;
using subbit::span_of;

/// How near an exact evaluation can come to the file's numbers: 1e-9, or 1e-6 where the file shows that the program
/// which made it normalizes in single precision, as the usual implementation does whatever its type. Then the final
/// hidden states, divided by the norm's weight, are float32 numbers, every one. (The gradients are held to more than
/// that by finite differences.)
double tolerance_of(const safetensors_reader& expected, const std::string& last_states, index tokens,
                    std::span<const double> norm_weight, double offset) {
    std::vector<double> states(static_cast<std::size_t>(tokens) * norm_weight.size());
    expected.read_into(last_states, std::span<double>(states));
    for (std::size_t i = 0; i < states.size(); ++i) {
        const double normed = states[i] / (offset + norm_weight[i % norm_weight.size()]);
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

/// The model's passes in double against what the folder's expected.safetensors holds: logits, loss, every gradient, and
/// hidden states where they are there.
class model_check {
  public:
    explicit model_check(const std::filesystem::path& folder)
        : model_(folder), expected_(folder / "expected.safetensors"), outer_(model_.load_outer_layers<double>()) {
        const auto& shape = expected_.info("input_ids").shape;
        REQUIRE(shape.size() == 2);
        window_ = shape[1];
        const auto raw = expected_.raw<std::int64_t>("input_ids");
        std::transform(raw.begin(), raw.end(), std::back_inserter(ids_),
                       [](auto id) { return static_cast<std::int32_t>(id); });
        const bool has_states = expected_.contains(state_name(blocks()));
        tolerance_ = has_states ? tolerance_of(expected_, state_name(blocks()), tokens(),
                                               subbit::const_span(outer_.final_norm), model_.config().norm.offset)
                                : 1e-5;
    }

    template <class B>
    void run(const B& b) {
        block_context<double> context(model_.config(), window_);
        std::vector<block<double>> layers;
        std::vector<block_tape<double>> tapes(static_cast<std::size_t>(blocks()));
        matrix<double> X(tokens(), width()), Y(tokens(), width());
        outer_.embed(b, ids_, subbit::view(X));
        check_state(0, X);
        for (index l = 0; l < blocks(); ++l) {
            layers.push_back(model_.load_block<double>(l, context));
            layers.back().forward(b, const_view(X), window_, subbit::view(Y), tapes[static_cast<std::size_t>(l)]);
            X.swap(Y);
            if (l + 1 < blocks()) check_state(l + 1, X);
        }
        matrix<double> gradient = matrix<double>::Zero(tokens(), width()), d_input(tokens(), width());
        const matrix<double> d_head = check_head(b, X, gradient);

        const subbit::trainable train{.weights = true, .biases = true, .norms = true};
        for (index l = blocks() - 1; l >= 0; --l) {
            auto& layer = layers[static_cast<std::size_t>(l)];
            layer.backward(b, train, tapes[static_cast<std::size_t>(l)], window_, const_view(gradient),
                           subbit::view(d_input));
            gradient.swap(d_input);
            std::vector<subbit::parameter<double>> parameters;
            layer.parameters(b, block_prefix(l), train, parameters);
            check_parameters(l, parameters);
        }
        check_embedding(gradient, d_head);
        const auto all = std::count_if(expected_.names().begin(), expected_.names().end(),
                                       [](const auto& name) { return name.starts_with("grad."); });
        CHECK(checked_ == all);
    }

  private:
    index blocks() const { return model_.config().num_hidden_layers; }
    index width() const { return model_.config().hidden_size; }
    index tokens() const { return std::ssize(ids_); }
    static std::string state_name(index l) { return "hidden_states." + std::to_string(l); }

    void check_state(index l, const matrix<double>& X) {
        if (expected_.contains(state_name(l))) check_tensor(expected_, state_name(l), X, tolerance_);
    }
    void check_gradient(const std::string& name, std::span<const double> have) {
        check_tensor(expected_, "grad." + name, have, tolerance_);
        ++checked_;
    }
    void check_gradient(const std::string& name, const matrix<double>& have) {
        check_gradient(name, std::span<const double>(have.data(), static_cast<std::size_t>(have.size())));
    }

    /// Gradients of a block; those of layers that share a tensor are its rows.
    void check_parameters(index l, const std::vector<subbit::parameter<double>>& parameters) {
        std::map<std::string, std::vector<double>> joined;
        for (const auto& p : parameters) {
            std::string name = p.name;
            for (const auto& spec : model_.config().block(l).linears)
                if (spec.fused && name.starts_with(block_prefix(l) + spec.name + "."))
                    name = block_prefix(l) + spec.stored_name() + name.substr(name.rfind('.'));
            auto& rows = joined[name];
            rows.insert(rows.end(), p.gradient.begin(), p.gradient.end());
        }
        for (const auto& [name, gradient] : joined)
            check_gradient(name, gradient);
    }

    /// The final norm, logits and loss of X; leaves the gradient at X, and returns that of the head.
    template <class B>
    matrix<double> check_head(const B& b, const matrix<double>& X, matrix<double>& gradient) {
        const auto& config = model_.config();
        const index count = tokens() / window_;
        matrix<double> normed(tokens(), width()), logits(tokens(), config.vocab_size);
        subbit::vector<double> inverse_rms;
        rms_norm(b, const_view(X), subbit::const_span(outer_.final_norm), config.norm, subbit::view(normed),
                 inverse_rms);
        check_state(blocks(), normed);
        gemm(b, normed, const_view(outer_.head()).t(), logits);
        check_tensor(expected_, "logits", logits, tolerance_);

        std::vector<std::int32_t> labels;
        for (index w = 0; w < count; ++w) {
            const auto next = next_tokens(
                std::span(ids_).subspan(static_cast<std::size_t>(w * window_), static_cast<std::size_t>(window_)));
            labels.insert(labels.end(), next.begin(), next.end());
        }
        const double scored = static_cast<double>(count * (window_ - 1));
        matrix<double> d_normed(tokens(), width()), d_head = matrix<double>::Zero(config.vocab_size, width());
        const double loss = subbit::cross_entropy(b, const_view(normed), const_view(outer_.head()),
                                                  std::span<const std::int32_t>(labels), 1 / scored,
                                                  subbit::view(d_normed), subbit::view(d_head)) /
                            scored;
        check_tensor(expected_, "loss", std::span<const double>(&loss, 1), tolerance_);
        vector<double> d_norm(width());
        rms_norm_backward(b, const_view(X), subbit::const_span(outer_.final_norm), config.norm, inverse_rms,
                          const_view(d_normed), subbit::view(gradient), span_of(d_norm));
        check_gradient(config.final_norm_name, span_of(std::as_const(d_norm)));
        return d_head;
    }

    void check_embedding(const matrix<double>& gradient, const matrix<double>& d_head) {
        const auto& config = model_.config();
        matrix<double> d_embedding = matrix<double>::Zero(config.vocab_size, width());
        for (index t = 0; t < tokens(); ++t)
            d_embedding.row(ids_[static_cast<std::size_t>(t)]) += config.embedding_scale * gradient.row(t);
        if (config.tie_word_embeddings)
            d_embedding += d_head;
        else
            check_gradient(config.head_name, d_head);
        check_gradient(config.embedding_name, d_embedding);
    }

    model_directory model_;
    safetensors_reader expected_;
    outer_layers<double> outer_;
    std::vector<std::int32_t> ids_;
    index window_ = 0;
    double tolerance_ = 0;
    std::ptrdiff_t checked_ = 0;
};

/// Calls f(folder) for every model of the reference directory: families of others can be tried there.
template <class F>
void for_each_model(F&& f) {
    std::vector<std::filesystem::path> folders = {subbit::testing::reference_dir() / "llama_two_blocks"};
    const auto families = subbit::testing::reference_dir() / "families";
    REQUIRE(std::filesystem::is_directory(families));
    for (const auto& entry : std::filesystem::directory_iterator(families))
        if (std::filesystem::exists(entry.path() / "expected.safetensors")) folders.push_back(entry.path());
    for (const auto& folder : folders) {
        CAPTURE(folder.string());
        f(folder);
    }
}

}  // namespace

TEST_SUITE("reference") {
    TEST_CASE("models of every family on the reference backend") {
        for_each_model([](const auto& folder) { model_check(folder).run(subbit::reference<double>{}); });
    }
    TEST_CASE("models of every family on the cpu backend") {
        for_each_model([](const auto& folder) { model_check(folder).run(subbit::cpu({.threads = 2})); });
    }
}

}  // namespace llama
