// A linear layer y = x W^T + bias as reconstruction sees it: dense, low-rank binary, or a sum of binary paths, the last
// two with or without latents. All have the same forward and backward, so a model is written once, whatever its layers
// are.
#pragma once

#include <subbit/recon/binary_linear.hpp>
#include <subbit/recon/dense_linear.hpp>
#include <subbit/recon/residual_linear.hpp>

#include <string>
#include <utility>
#include <variant>
#include <vector>

namespace subbit {

/// Any kind of layer.
template <class S>
class linear_layer {
  public:
    linear_layer() = default;
    linear_layer(dense_linear<S> dense) : state_(std::move(dense)) {}
    linear_layer(binary_linear<S> binary) : state_(std::move(binary)) {}
    linear_layer(residual_linear<S> residual) : state_(std::move(residual)) {}

    bool is_binary() const { return std::holds_alternative<binary_linear<S>>(state_); }
    bool is_dense() const { return std::holds_alternative<dense_linear<S>>(state_); }
    dense_linear<S>& dense() { return std::get<dense_linear<S>>(state_); }
    const dense_linear<S>& dense() const { return std::get<dense_linear<S>>(state_); }
    binary_linear<S>& binary() { return std::get<binary_linear<S>>(state_); }
    const binary_linear<S>& binary() const { return std::get<binary_linear<S>>(state_); }
    bool is_residual() const { return std::holds_alternative<residual_linear<S>>(state_); }
    residual_linear<S>& residual() { return std::get<residual_linear<S>>(state_); }
    const residual_linear<S>& residual() const { return std::get<residual_linear<S>>(state_); }

    /// f(binary_linear or residual_linear); value_error for a dense layer.
    template <class F>
    decltype(auto) visit_compressed(F&& f) {
        return visit_compressed_of(state_, f);
    }
    template <class F>
    decltype(auto) visit_compressed(F&& f) const {
        return visit_compressed_of(state_, f);
    }

    index rows() const {
        return std::visit([](const auto& l) { return l.rows(); }, state_);
    }
    index cols() const {
        return std::visit([](const auto& l) { return l.cols(); }, state_);
    }

    /// Y (tokens, m) = X (tokens, n) W^T + bias; `tape` is what backward will want to see again.
    template <host_backend B>
    void forward(const B& b, matrix_view<const S> X, matrix_view<S> Y, linear_tape<S>& tape,
                 linear_workspace<S>& work) const {
        std::visit([&](const auto& l) { l.forward(b, X, Y, tape, work); }, state_);
    }

    /// The same where no backward pass will follow: by the kernels that are fast for a few rows.
    template <host_backend B>
    void infer(const B& b, matrix_view<const S> X, matrix_view<S> Y) const {
        std::visit([&](const auto& l) { l.infer(b, X, Y); }, state_);
    }

    /// Writes parameter gradients and dX (tokens, n), or adds to dX; an empty dX is not computed. dY is destroyed.
    template <host_backend B>
    void backward(const B& b, const trainable& train, matrix_view<const S> X, matrix_view<S> dY, matrix_view<S> dX,
                  bool accumulate, const linear_tape<S>& tape, linear_workspace<S>& work) {
        std::visit([&](auto& l) { l.backward(b, train, X, dY, dX, accumulate, tape, work); }, state_);
    }

    /// Appends the trainable tensors; the pointers stay good until the layer changes its kind.
    void parameters(const std::string& name, const trainable& train, std::vector<parameter<S>>& list) {
        std::visit([&](auto& l) { l.parameters(name, train, list); }, state_);
    }
    template <host_backend B>
    void after_update(const B& b) {
        std::visit([&](auto& l) { l.after_update(b); }, state_);
    }

  private:
    template <class State, class F>
    static decltype(auto) visit_compressed_of(State& state, F& f) {
        if (auto* residual = std::get_if<residual_linear<S>>(&state)) return f(*residual);
        if (auto* binary = std::get_if<binary_linear<S>>(&state)) return f(*binary);
        throw value_error("a dense layer where a compressed one was expected");
    }

    std::variant<dense_linear<S>, binary_linear<S>, residual_linear<S>> state_;
};

}  // namespace subbit
