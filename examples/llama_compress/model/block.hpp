// One transformer block of a Llama, forward and backward, whatever its linear layers are made of.
#pragma once

#include "attention.hpp"
#include "cached_attention.hpp"
#include "norm.hpp"

#include <subbit/core/memory.hpp>
#include <subbit/factor/rank_budget.hpp>
#include <subbit/recon/linear_layer.hpp>

#include <array>
#include <string>
#include <vector>

namespace llama {

using subbit::layer_shape;
using subbit::linear_layer;

/// The linear layers of a block, in the order in which they are stored.
enum layer_id : std::size_t { q_proj, k_proj, v_proj, o_proj, gate_proj, up_proj, down_proj, layer_count };

inline constexpr std::array<const char*, layer_count> layer_names = {
    "self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "self_attn.o_proj",
    "mlp.gate_proj",    "mlp.up_proj",      "mlp.down_proj"};

/// (outputs, inputs) of a linear layer.
inline layer_shape shape_of(const model_config& c, std::size_t layer) {
    const index queries = c.num_attention_heads * c.head_dim, keys = c.num_key_value_heads * c.head_dim;
    switch (layer) {
        case q_proj:
            return {queries, c.hidden_size};
        case k_proj:
        case v_proj:
            return {keys, c.hidden_size};
        case o_proj:
            return {c.hidden_size, queries};
        case down_proj:
            return {c.hidden_size, c.intermediate_size};
        default:
            return {c.intermediate_size, c.hidden_size};
    }
}

/// What a forward pass leaves for the backward pass; T = tokens of all windows.
template <class S>
struct block_tape {
    matrix<S> x, normed, q, k, v, attended, x_mid, normed_mid, gate, up, hidden;
    std::vector<S> inverse_rms, inverse_rms_mid;
    std::array<subbit::linear_tape<S>, layer_count> linear;
    bool for_backward = true;  // false: what the linear layers leave is not kept

    std::size_t bytes() const {
        index n = 0;
        for (const matrix<S>* m : {&x, &normed, &q, &k, &v, &attended, &x_mid, &normed_mid, &gate, &up, &hidden})
            n += m->size();
        for (const auto& m : linear)
            n += m.size();
        return static_cast<std::size_t>(n) * sizeof(S);
    }
};

/// What all blocks of a model share: the configuration, the rotary table, and the buffers of one forward or backward
/// call (so two blocks of one context must not run at the same time).
template <class S>
struct block_context {
    const model_config& config;
    rotary_table<S> rotary;
    subbit::linear_workspace<S> linear;
    subbit::apply_options packed;  // how packed layers are multiplied where no backward pass follows
    matrix<S> d_mid, d_out, d_hidden, d_up, d_normed, d_attended, dq, dk, dv;

    block_context(const model_config& c, index positions, subbit::apply_options options = {})
        : config(c), rotary(c, positions), packed(options) {}
};

template <class S>
class block {
  public:
    using scalar = S;
    using tape = block_tape<S>;

    /// `context` must outlive the block.
    explicit block(block_context<S>& context) : context_(&context) {}

    std::array<linear_layer<S>, layer_count> layers;
    vector<S> attention_norm, mlp_norm;
    vector<S> d_attention_norm, d_mlp_norm;

    index layer_total() const { return layer_count; }
    linear_layer<S>& layer(index i) { return layers[static_cast<std::size_t>(i)]; }
    const linear_layer<S>& layer(index i) const { return layers[static_cast<std::size_t>(i)]; }
    static const char* layer_name(index i) { return layer_names[static_cast<std::size_t>(i)]; }

    /// Y (T, d) from X (T, d), T a multiple of `window`; every window starts at position 0 and sees itself alone.
    template <class B>
    void forward(const B& b, matrix_view<const S> X, index window, matrix_view<S> Y, tape& t) const {
        t.for_backward = true;
        pass(b, X, window, Y, t);
    }

    /// forward() where no backward pass will follow.
    template <class B>
    void infer(const B& b, matrix_view<const S> X, index window, matrix_view<S> Y, tape& t) const {
        t.for_backward = false;
        pass(b, X, window, Y, t);
    }

    /// The next tokens of one sequence: as infer() with the keys and values of what came before.
    template <class B>
    void infer_cached(const B& b, matrix_view<const S> X, key_value_cache<S>& cache, matrix_view<S> Y, tape& t) const {
        cache.require_room(X.rows);
        t.for_backward = false;
        copy_input(b, X, t);
        project_queries(b, t, X.rows, cache.length());
        cache.append(const_view(t.k), const_view(t.v));
        cached_attention(b, context_->config.head_dim, const_view(t.q), cache, resized(t.attended, X.rows, t.q.cols()));
        finish(b, t, Y);
    }

    /// What a layer took in during the forward pass that filled the tape.
    static const matrix<S>& input_of(const tape& t, std::size_t layer) {
        switch (layer) {
            case o_proj:
                return t.attended;
            case gate_proj:
            case up_proj:
                return t.normed_mid;
            case down_proj:
                return t.hidden;
            default:
                return t.normed;
        }
    }

    /// dX (T, d) from dY; writes the gradients that `train` asks for. `observe(layer, inputs, d_outputs)` sees
    /// every linear layer's inputs and output gradients.
    template <class B, class Observer>
    void backward(const B& b, const subbit::trainable& train, tape& t, index window, matrix_view<const S> dY,
                  matrix_view<S> dX, Observer&& observe) {
        if (train.norms && d_attention_norm.size() == 0) {
            d_attention_norm.setZero(attention_norm.size());
            d_mlp_norm.setZero(mlp_norm.size());
        }
        const index tokens = dY.rows, d = context_->config.hidden_size;
        auto through = [&](layer_id id, const matrix<S>& input, matrix<S>& d_output, matrix_view<S> d_input,
                           bool accumulate) {
            observe(static_cast<index>(id), const_view(input), const_view(d_output));
            layers[id].backward(b, train, const_view(input), subbit::view(d_output), d_input, accumulate, t.linear[id],
                                context_->linear);
        };

        matrix<S>& d_mid = context_->d_mid;  // gradient at x_mid: the residual path, then what flows through the MLP
        d_mid = subbit::as_eigen(dY);
        context_->d_out = d_mid;
        const auto d_hidden = resized(context_->d_hidden, tokens, context_->config.intermediate_size);
        through(down_proj, t.hidden, context_->d_out, d_hidden, false);
        const auto d_up = resized(context_->d_up, tokens, context_->config.intermediate_size);
        swiglu_backward(b, const_view(t.gate), const_view(t.up), const_view(context_->d_hidden), d_hidden, d_up);
        const auto d_normed = resized(context_->d_normed, tokens, d);
        through(gate_proj, t.normed_mid, context_->d_hidden, d_normed, false);
        through(up_proj, t.normed_mid, context_->d_up, d_normed, true);
        rms_norm_backward(b, const_view(t.x_mid), span(mlp_norm), t.inverse_rms_mid, const_view(context_->d_normed),
                          subbit::view(d_mid), train.norms ? subbit::span_of(d_mlp_norm) : std::span<S>());

        subbit::as_eigen(dX) = d_mid;
        const auto d_attended = resized(context_->d_attended, tokens, t.q.cols());
        through(o_proj, t.attended, d_mid, d_attended, false);
        const auto dq = resized(context_->dq, tokens, t.q.cols()), dk = resized(context_->dk, tokens, t.k.cols()),
                   dv = resized(context_->dv, tokens, t.k.cols());
        attention_backward(b, shape(tokens / window, window, window), const_view(t.q), const_view(t.k), const_view(t.v),
                           const_view(t.attended), const_view(context_->d_attended), dq, dk, dv);
        rotate(b, context_->rotary, dq, context_->config.head_dim, window, 0, S(-1));
        rotate(b, context_->rotary, dk, context_->config.head_dim, window, 0, S(-1));
        through(q_proj, t.normed, context_->dq, d_normed, false);
        through(k_proj, t.normed, context_->dk, d_normed, true);
        through(v_proj, t.normed, context_->dv, d_normed, true);
        rms_norm_backward(b, const_view(t.x), span(attention_norm), t.inverse_rms, const_view(context_->d_normed), dX,
                          train.norms ? subbit::span_of(d_attention_norm) : std::span<S>());
    }
    template <class B>
    void backward(const B& b, const subbit::trainable& train, tape& t, index window, matrix_view<const S> dY,
                  matrix_view<S> dX) {
        backward(b, train, t, window, dY, dX, [](auto&&...) {});
    }

    /// Every tensor that `train` asks for, in a fixed order.
    void parameters(const std::string& prefix, const subbit::trainable& train,
                    std::vector<subbit::parameter<S>>& list) {
        for (std::size_t l = 0; l < layer_count; ++l)
            layers[l].parameters(prefix + layer_names[l], train, list);
        if (!train.norms) return;
        if (d_attention_norm.size() == 0) {
            d_attention_norm.setZero(attention_norm.size());
            d_mlp_norm.setZero(mlp_norm.size());
        }
        using subbit::parameter_kind;
        list.push_back({prefix + "input_layernorm.weight", parameter_kind::norm, subbit::span_of(attention_norm),
                        subbit::span_of(d_attention_norm)});
        list.push_back({prefix + "post_attention_layernorm.weight", parameter_kind::norm, subbit::span_of(mlp_norm),
                        subbit::span_of(d_mlp_norm)});
    }

    /// Puts the packed signs side by side, in the order in which a pass reads them: one stream.
    void gather(subbit::streaming_arena& arena) {
        for (const auto& job : {std::vector{q_proj, k_proj, v_proj}, {o_proj}, {gate_proj, up_proj}, {down_proj}})
            for (const auto factor : {&low_rank::V, &low_rank::U})
                for (const layer_id id : job)
                    if (layers[id].is_binary()) (layers[id].binary().layer.*factor).move_to(arena);
    }

    /// After an optimizer step: what is derived from the parameters is made again.
    template <class B>
    void after_update(const B& b) {
        for (auto& l : layers)
            l.after_update(b);
    }

  private:
    using low_rank = subbit::low_rank_binary_linear<S>;

    template <class B>
    void pass(const B& b, matrix_view<const S> X, index window, matrix_view<S> Y, tape& t) const {
        copy_input(b, X, t);
        project_queries(b, t, window, 0);
        attention(b, shape(X.rows / window, window, window), const_view(t.q), const_view(t.k), const_view(t.v),
                  resized(t.attended, X.rows, t.q.cols()));
        finish(b, t, Y);
    }
    template <class B>
    static void copy_input(const B& b, matrix_view<const S> X, tape& t) {
        subbit::axpby(b, 1, X, 0, resized(t.x, X.rows, X.cols));
    }

    static std::span<const S> span(const vector<S>& v) { return subbit::span_of(v); }
    static matrix_view<S> resized(matrix<S>& m, index rows, index cols) {
        m.resize(rows, cols);
        return subbit::view(m);
    }
    attention_shape shape(index windows, index queries, index keys) const {
        return {windows,
                queries,
                keys,
                context_->config.num_attention_heads,
                context_->config.num_key_value_heads,
                context_->config.head_dim};
    }
    /// A layer, and where its outputs go.
    struct output {
        layer_id id;
        matrix_view<S> Y;
    };
    output to(layer_id id, matrix<S>& Y, index tokens) const { return {id, resized(Y, tokens, layers[id].rows())}; }

    /// Layers that read the same X; one job where all are low-rank binary and no backward pass will follow.
    template <class B, class... Outputs>
    void apply(const B& b, tape& t, const matrix<S>& X, Outputs... outputs) const {
        if (t.for_backward)
            (layers[outputs.id].forward(b, const_view(X), outputs.Y, t.linear[outputs.id], context_->linear), ...);
        else if (!(layers[outputs.id].is_binary() && ...))
            (layers[outputs.id].infer(b, const_view(X), outputs.Y), ...);
        else
            subbit::apply_layers(b, const_view(X),
                                 {subbit::layer_output<S>{layers[outputs.id].binary().layer, outputs.Y}...},
                                 context_->packed);
    }

    /// x -> normed -> q, k, v with the rotary embedding.
    template <class B>
    void project_queries(const B& b, tape& t, index window, index first_position) const {
        const index tokens = t.x.rows();
        rms_norm(b, const_view(t.x), span(attention_norm), context_->config.rms_norm_eps,
                 resized(t.normed, tokens, t.x.cols()), t.inverse_rms);
        apply(b, t, t.normed, to(q_proj, t.q, tokens), to(k_proj, t.k, tokens), to(v_proj, t.v, tokens));
        rotate(b, context_->rotary, subbit::view(t.q), context_->config.head_dim, window, first_position, S(1));
        rotate(b, context_->rotary, subbit::view(t.k), context_->config.head_dim, window, first_position, S(1));
    }

    /// attended -> x_mid = x + o_proj -> the MLP -> Y = x_mid + down_proj.
    template <class B>
    void finish(const B& b, tape& t, matrix_view<S> Y) const {
        const index tokens = t.x.rows();
        apply(b, t, t.attended, to(o_proj, t.x_mid, tokens));
        subbit::axpby(b, 1, t.x, 1, t.x_mid);
        rms_norm(b, const_view(t.x_mid), span(mlp_norm), context_->config.rms_norm_eps,
                 resized(t.normed_mid, tokens, t.x.cols()), t.inverse_rms_mid);
        apply(b, t, t.normed_mid, to(gate_proj, t.gate, tokens), to(up_proj, t.up, tokens));
        swiglu(b, const_view(t.gate), const_view(t.up), resized(t.hidden, tokens, t.up.cols()));
        apply(b, t, t.hidden, output{down_proj, Y});
        subbit::axpby(b, 1, t.x_mid, 1, Y);
    }

    block_context<S>* context_;
};

}  // namespace llama
