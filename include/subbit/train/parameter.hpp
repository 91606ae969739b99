// What trains: which of a model's tensors, and what an optimizer sees of one.
#pragma once

#include <subbit/core/matrix.hpp>

#include <span>
#include <string>
#include <utility>

namespace subbit {

/// The parameters for which a backward pass computes gradients; the others are constant.
struct trainable {
    bool weights = false;  ///< dense weights
    bool latents = false;  ///< U and V of binary layers, through the straight-through estimator
    bool scales = false;   ///< s_post, s_mid, s_pre of binary layers
    bool biases = false;
    bool norms = false;  ///< used by models, not by linear layers
};

/// The kinds of parameters; each may have a learning rate of its own.
enum class parameter_kind { weight, latent, scale, bias, norm };

/// One trainable tensor: its values and the gradient of the current step, both in the backend's memory and owned by
/// others.
template <class S>
struct parameter {
    std::string name;
    parameter_kind kind = parameter_kind::weight;
    std::span<S> value;
    std::span<S> gradient;
    index rows = 0;  ///< of a contiguous matrix; 0 for a vector
    /// Of latents: the packed signs, if they are all that forward and backward passes read; else empty. Ranks then send
    /// each other the signs in place of the latents (tuner::finish_step).
    std::span<std::uint32_t> signs = {};
};

/// A parameter's values or gradient in its shape; a vector is one row.
template <class S, class T>
matrix_view<T> in_shape(const parameter<S>& p, std::span<T> numbers) {
    const index rows = p.rows > 0 ? p.rows : 1;
    return {numbers.data(), rows, std::ssize(numbers) / rows};
}

/// All entries of a contiguous matrix.
template <class M>
auto entries(M& m) {
    const auto v = view(m);
    return std::span(v.data, static_cast<std::size_t>(v.size()));
}

/// A matrix as a parameter.
template <class M>
auto matrix_parameter(std::string name, parameter_kind kind, M& value, M& gradient) {
    using S = typename decltype(view(value))::value_type;
    return parameter<S>{std::move(name), kind, entries(value), entries(gradient), view(value).rows};
}

}  // namespace subbit
