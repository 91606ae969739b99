// What the kinds of linear layers share: the tape, and buffers.
#pragma once

#include <subbit/backend/ops/memory.hpp>
#include <subbit/core/matrix.hpp>
#include <subbit/train/parameter.hpp>

#include <iterator>

namespace subbit {

/// What a layer's forward pass keeps for its backward pass; empty except for low-rank layers.
template <class S, class Memory = host_memory>
struct linear_tape {
    matrix_in<S, Memory> rank_activations;  ///< (T, r): (X o s_pre) V^T
    matrix_in<S, Memory> unscaled;          ///< (T, m): Y before s_post and the bias

    index size() const { return view(rank_activations).size() + view(unscaled).size(); }
};

/// Buffers that live only during one forward or backward call, shared by all layers of a model. They grow to the size
/// that the largest layer needs.
template <class S, class Memory = host_memory>
class linear_workspace {
  public:
    template <class B>
    matrix_view<S> scaled(const B& b, index rows, index cols) {
        return shaped(b, scaled_, rows, cols);
    }
    template <class B>
    matrix_view<S> d_rank(const B& b, index rows, index cols) {
        return shaped(b, d_rank_, rows, cols);
    }
    template <class B>
    matrix_view<S> weight(const B& b, index rows, index cols) {
        return shaped(b, weight_, rows, cols);
    }
    template <class B>
    matrix_view<S> d_weight(const B& b, index rows, index cols) {
        return shaped(b, d_weight_, rows, cols);
    }

  private:
    using buffer = vector_in<S, Memory>;

    template <class B>
    static matrix_view<S> shaped(const B& b, buffer& memory, index rows, index cols) {
        if (std::ssize(span_of(memory)) < rows * cols) reshape(b, memory, rows * cols);
        return {span_of(memory).data(), rows, cols};
    }

    buffer scaled_, d_rank_, weight_, d_weight_;
};

}  // namespace subbit
