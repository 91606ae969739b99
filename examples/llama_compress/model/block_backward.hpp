// The backward pass of a block: forward() read from its end. block.hpp includes it where it ends.
#pragma once

#include <algorithm>
#include <utility>

namespace llama {

template <class S, class Memory>
template <class B, class Observer>
struct block<S, Memory>::backward_pass {
    block& blk;
    const B& b;
    const subbit::trainable& train;
    tape& t;
    index window;
    Observer& observe;

    context_type& buffers = *blk.context_;
    index tokens = view(t.x).rows, d = view(t.x).cols;

    /// dX from dY, both (T, d).
    void run(matrix_view<const S> dY, matrix_view<S> dX) {
        // d_mid is the gradient at x_mid: what the residual path passes on, then what flows through the MLP.
        matrix_type& d_mid = buffers.d_mid;
        subbit::axpby(b, 1, dY, 0, sized(d_mid, d));
        through_mlp(d_mid);
        subbit::axpby(b, 1, d_mid, 0, dX);
        through_attention(d_mid, dX);
    }

  private:
    /// d_mid += the gradient through the MLP.
    void through_mlp(matrix_type& d_mid) {
        if (blk.schema->has(norm_id::mlp_output))
            before_norm(norm_id::mlp_output, t.plain_out, d_mid, buffers.d_out);
        else  // a layer may change the gradient that it is given, and d_mid goes on
            subbit::axpby(b, 1, d_mid, 0, sized(buffers.d_out, d));
        const index inner = view(t.up).cols;
        const auto d_hidden = sized(buffers.d_hidden, inner), d_up = sized(buffers.d_up, inner);
        through(linear_id::down, buffers.d_out, d_hidden, false);
        gated_backward(b, blk.config().gate, const_view(t.gate), const_view(t.up), const_view(buffers.d_hidden),
                       d_hidden, d_up);
        const auto d_normed = sized(buffers.d_normed, d);
        through(linear_id::gate, buffers.d_hidden, d_normed, false);
        through(linear_id::up, buffers.d_up, d_normed, true);
        through_norm(norm_id::mlp, const_view(t.x_mid), const_view(buffers.d_normed), view(d_mid));
    }

    /// dX += the gradient through the attention.
    void through_attention(matrix_type& d_mid, matrix_view<S> dX) {
        matrix_type& d_out = before_norm(norm_id::attention_output, t.plain_mid, d_mid, buffers.d_out);
        const index queries = view(t.q).cols, keys = view(t.k).cols;
        through(linear_id::output, d_out, sized(buffers.d_attended, queries), false);
        const auto dq = sized(buffers.dq, queries), dk = sized(buffers.dk, keys), dv = sized(buffers.dv, keys);
        attention_backward(b, blk.shape_of_attention(tokens, window),
                           {const_view(t.q), const_view(t.k), const_view(t.v), const_view(t.attended)},
                           const_view(buffers.d_attended), {dq, dk, dv});
        rotate(b, blk.rotary(), dq, blk.config().head_dim, window, 0, S(-1));
        rotate(b, blk.rotary(), dk, blk.config().head_dim, window, 0, S(-1));
        matrix_type& d_query = before_norm(norm_id::query, t.plain_q, buffers.dq, buffers.d_plain_q);
        matrix_type& d_key = before_norm(norm_id::key, t.plain_k, buffers.dk, buffers.d_plain_k);
        const auto d_normed = sized(buffers.d_normed, d);
        through(linear_id::query, d_query, d_normed, false);
        through(linear_id::key, d_key, d_normed, true);
        through(linear_id::value, buffers.dv, d_normed, true);
        through_norm(norm_id::attention, const_view(t.x), const_view(buffers.d_normed), dX);
    }

    /// A linear layer: shows what it saw, writes the gradients of its parameters and d_input.
    void through(linear_id id, matrix_type& d_output, matrix_view<S> d_input, bool accumulate) {
        const auto input = const_view(input_of(t, id));
        observe(static_cast<index>(id), input, const_view(d_output));
        blk.layers[id].backward(b, train, input, view(d_output), d_input, accumulate, t.linear[id], buffers.linear);
    }

    /// dX += the gradient through a norm of X.
    void through_norm(norm_id id, matrix_view<const S> X, matrix_view<const S> dY, matrix_view<S> dX) {
        rms_norm_backward(b, blk.normed_rows(id, X), subbit::const_span(blk.norms[id]), blk.config().norm,
                          t.inverse_rms[id], blk.normed_rows(id, dY), blk.normed_rows(id, dX),
                          train.norms ? span_of(blk.d_norms_[id]) : std::span<S>());
    }

    /// The gradient at the input of a norm, in d_plain; in a block without that norm d_normed itself.
    matrix_type& before_norm(norm_id id, const matrix_type& plain, matrix_type& d_normed, matrix_type& d_plain) {
        if (!blk.schema->has(id)) return d_normed;
        const auto d_input = sized(d_plain, view(plain).cols);
        subbit::fill(b, 0, d_input);
        through_norm(id, const_view(plain), const_view(d_normed), d_input);
        return d_plain;
    }

    matrix_view<S> sized(matrix_type& m, index cols) { return resized(b, m, tokens, cols); }
};

}  // namespace llama
