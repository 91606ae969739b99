// What the kinds of linear layer share: which parameters train, what a forward pass leaves, buffers.
#pragma once

#include <subbit/core/matrix.hpp>

#include <vector>

namespace subbit {

/// Which parameters a backward pass makes gradients for; the others are constants.
struct trainable {
    bool weights = false;  ///< dense weights
    bool latents = false;  ///< U and V of binary layers, through the straight-through estimator
    bool scales = false;   ///< s_post, s_mid, s_pre of binary layers
    bool biases = false;
    bool norms = false;  ///< used by models, not by linear layers
};

/// What a layer's forward pass leaves for its backward pass; empty but for low-rank layers.
template <class S>
struct linear_tape {
    matrix<S> rank_activations;  ///< (T, r): (X o s_pre) V^T
    matrix<S> unscaled;          ///< (T, m): Y before s_post and the bias

    index size() const { return rank_activations.size() + unscaled.size(); }
};

/// Buffers that the layers of a model share: what lives only during one forward or backward call. They grow to what the
/// largest layer needs.
template <class S>
class linear_workspace {
  public:
    matrix_view<S> scaled(index rows, index cols) { return shaped(scaled_, rows, cols); }
    matrix_view<S> d_rank(index rows, index cols) { return shaped(d_rank_, rows, cols); }
    matrix_view<S> weight(index rows, index cols) { return shaped(weight_, rows, cols); }
    matrix_view<S> d_weight(index rows, index cols) { return shaped(d_weight_, rows, cols); }

  private:
    static matrix_view<S> shaped(std::vector<S>& memory, index rows, index cols) {
        const auto size = static_cast<std::size_t>(rows * cols);
        if (memory.size() < size) memory.resize(size);
        return {memory.data(), rows, cols};
    }

    std::vector<S> scaled_, d_rank_, weight_, d_weight_;
};

}  // namespace subbit
