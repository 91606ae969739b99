// A linear layer y = x W^T + bias for reconstruction: dense, low-rank binary, or a sum of binary paths, the last two
// with or without latents. All have the same forward and backward, so a model is written once for every kind of layer.
#pragma once

#include <subbit/recon/binary_linear.hpp>
#include <subbit/recon/dense_linear.hpp>
#include <subbit/recon/residual_linear.hpp>

#include <string>
#include <utility>
#include <variant>
#include <vector>

namespace subbit {

/// A linear layer of any of the three kinds.
template <class S, class Memory = host_memory>
class linear_layer {
  public:
    using dense_type = dense_linear<S, Memory>;
    using binary_type = binary_linear<S, Memory>;
    using residual_type = residual_linear<S, Memory>;

    linear_layer() = default;
    linear_layer(dense_type dense) : state_(std::move(dense)) {}
    linear_layer(binary_type binary) : state_(std::move(binary)) {}
    linear_layer(residual_type residual) : state_(std::move(residual)) {}

    bool is_binary() const { return std::holds_alternative<binary_type>(state_); }
    bool is_dense() const { return std::holds_alternative<dense_type>(state_); }
    dense_type& dense() { return get<dense_type>(state_, "dense"); }
    const dense_type& dense() const { return get<dense_type>(state_, "dense"); }
    binary_type& binary() { return get<binary_type>(state_, "binary"); }
    const binary_type& binary() const { return get<binary_type>(state_, "binary"); }
    bool is_residual() const { return std::holds_alternative<residual_type>(state_); }
    residual_type& residual() { return get<residual_type>(state_, "residual"); }
    const residual_type& residual() const { return get<residual_type>(state_, "residual"); }

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

    /// Y (tokens, m) = X (tokens, n) W^T + bias; `tape` keeps what backward needs.
    template <class B>
    void forward(const B& b, matrix_view<const S> X, matrix_view<S> Y, linear_tape<S, Memory>& tape,
                 linear_workspace<S, Memory>& work) const {
        std::visit([&](const auto& l) { l.forward(b, X, Y, tape, work); }, state_);
    }

    /// The same without a tape, if no backward pass follows; uses kernels that are fast for a few rows.
    template <host_backend B>
    void infer(const B& b, matrix_view<const S> X, matrix_view<S> Y, apply_options options = {}) const {
        std::visit([&](const auto& l) { l.infer(b, X, Y, options); }, state_);
    }

    /// Writes parameter gradients, and writes dX (tokens, n) or adds to it; an empty dX is not computed. dY is
    /// overwritten.
    template <class B>
    void backward(const B& b, const trainable& train, matrix_view<const S> X, matrix_view<S> dY, matrix_view<S> dX,
                  bool accumulate, const linear_tape<S, Memory>& tape, linear_workspace<S, Memory>& work) {
        std::visit([&](auto& l) { l.backward(b, train, X, dY, dX, accumulate, tape, work); }, state_);
    }

    /// Appends the trainable tensors; they stay valid until the layer changes its kind.
    template <class B>
    void parameters(const B& b, const std::string& name, const trainable& train, std::vector<parameter<S>>& list) {
        std::visit([&](auto& l) { l.parameters(b, name, train, list); }, state_);
    }
    template <class B>
    void after_update(const B& b) {
        std::visit([&](auto& l) { l.after_update(b); }, state_);
    }

  private:
    template <class Layer, class State>
    static auto& get(State& state, const char* kind) {
        if (auto* layer = std::get_if<Layer>(&state)) return *layer;
        throw value_error(std::string("a layer of another kind where a ") + kind + " one was expected");
    }
    template <class State, class F>
    static decltype(auto) visit_compressed_of(State& state, F& f) {
        if (auto* residual = std::get_if<residual_type>(&state)) return f(*residual);
        if (auto* binary = std::get_if<binary_type>(&state)) return f(*binary);
        throw value_error("a dense layer where a compressed one was expected");
    }

    std::variant<dense_type, binary_type, residual_type> state_;
};

/// A layer moved into the backend's memory.
template <class B, class S>
linear_layer<S, memory_of<B>> upload(const B& b, linear_layer<S> host) {
    if (host.is_dense()) return upload(b, std::move(host.dense()));
    if (host.is_binary()) return upload(b, std::move(host.binary()));
    return upload(b, std::move(host.residual()));
}

/// A layer that the host can read; of a dense layer only weight and bias.
template <class B, class S>
linear_layer<S> do_download(backend_tag, const B& b, const linear_layer<S, B>& layer) {
    if (layer.is_dense())
        return dense_linear<S>{on_host(b, layer.dense().weight), on_host(b, layer.dense().bias), {}, {}};
    if (layer.is_binary()) return on_host(b, layer.binary());
    return on_host(b, layer.residual());
}

}  // namespace subbit
