// One transformer block of a Llama, forward and backward, whatever its linear layers are made of.
#pragma once

#include "model/attention.hpp"
#include "model/cached_attention.hpp"
#include "model/gate.hpp"
#include "model/norm.hpp"

#include <subbit/core/memory.hpp>
#include <subbit/factor/rank_budget.hpp>
#include <subbit/recon/linear_layer.hpp>

#include <array>
#include <string>
#include <vector>

namespace llama {

using subbit::layer_shape;
using subbit::linear_layer;
using subbit::span_of;

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
template <class S, class Memory = subbit::host_memory>
struct block_tape {
    matrix_in<S, Memory> x, normed, q, k, v, attended, x_mid, normed_mid, gate, up, hidden;
    vector_in<S, Memory> inverse_rms, inverse_rms_mid;
    std::array<subbit::linear_tape<S, Memory>, layer_count> linear;
    bool for_backward = true;  // false: what the linear layers leave is not kept

    std::size_t bytes() const {
        index n = 0;
        for (const auto* m : {&x, &normed, &q, &k, &v, &attended, &x_mid, &normed_mid, &gate, &up, &hidden})
            n += view(*m).size();
        for (const auto& m : linear)
            n += m.size();
        return static_cast<std::size_t>(n) * sizeof(S);
    }
};

/// What all blocks of a model share: the configuration, the rotary table, and the buffers of one forward or backward
/// call (so two blocks of one context must not run at the same time).
template <class S, class Memory = subbit::host_memory>
struct block_context {
    const model_config& config;
    rotary_table<S, Memory> rotary;
    subbit::linear_workspace<S, Memory> linear;
    subbit::apply_options packed;  // how packed layers are multiplied where no backward pass follows
    matrix_in<S, Memory> d_mid, d_out, d_hidden, d_up, d_normed, d_attended, dq, dk, dv;

    block_context(const model_config& c, index positions,
                  subbit::apply_options options = {}) requires(std::same_as<Memory, subbit::host_memory>)
        : config(c), rotary(c, positions), packed(options) {}
    template <class B>
    block_context(const B& b, const model_config& c, index positions, subbit::apply_options options = {})
        : config(c), rotary(b, c, positions), packed(options) {}
};

/// What is stored of a block.
template <class S, class Memory = subbit::host_memory>
struct block_weights {
    std::array<linear_layer<S, Memory>, layer_count> layers;
    vector_in<S, Memory> attention_norm, mlp_norm;
};

/// Weights moved into the backend's memory, and as the host can read them (subbit::on_host).
template <class B, class S>
block_weights<S, memory_of<B>> upload(const B& b, block_weights<S> host) {
    block_weights<S, memory_of<B>> result;
    for (std::size_t l = 0; l < layer_count; ++l)
        result.layers[l] = subbit::upload(b, std::move(host.layers[l]));
    result.attention_norm = subbit::upload(b, std::move(host.attention_norm));
    result.mlp_norm = subbit::upload(b, std::move(host.mlp_norm));
    return result;
}
template <device_backend B, class S>
block_weights<S> do_download(subbit::backend_tag, const B& b, const block_weights<S, B>& weights) {
    block_weights<S> result;
    for (std::size_t l = 0; l < layer_count; ++l)
        result.layers[l] = subbit::on_host(b, weights.layers[l]);
    result.attention_norm = subbit::on_host(b, weights.attention_norm);
    result.mlp_norm = subbit::on_host(b, weights.mlp_norm);
    return result;
}

/// Its numbers lie in `Memory`, that of the backend that its passes run on.
template <class S, class Memory = subbit::host_memory>
class block : public block_weights<S, Memory> {
  public:
    using weights_type = block_weights<S, Memory>;
    using weights_type::attention_norm;
    using weights_type::layers;
    using weights_type::mlp_norm;
    using scalar = S;
    using memory = Memory;
    using tape = block_tape<S, Memory>;
    using matrix_type = matrix_in<S, Memory>;
    using context_type = block_context<S, Memory>;
    using layer_type = linear_layer<S, Memory>;

    /// `context` must outlive the block.
    explicit block(context_type& context) : context_(&context) {}

    vector_in<S, Memory> d_attention_norm, d_mlp_norm;

    weights_type& weights() { return *this; }
    const weights_type& weights() const { return *this; }

    index layer_total() const { return layer_count; }
    layer_type& layer(index i) { return layers[static_cast<std::size_t>(i)]; }
    const layer_type& layer(index i) const { return layers[static_cast<std::size_t>(i)]; }
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
        cached_attention(b, context_->config.head_dim, attention_scale(), const_view(t.q), cache,
                         resized(b, t.attended, X.rows, cols(t.q)));
        finish(b, t, Y);
    }

    /// What a layer took in during the forward pass that filled the tape.
    static const matrix_type& input_of(const tape& t, std::size_t layer) {
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
        if (train.norms) prepare_gradients(b);
        const index tokens = dY.rows, d = context_->config.hidden_size;
        auto through = [&](layer_id id, const matrix_type& input, matrix_type& d_output, matrix_view<S> d_input,
                           bool accumulate) {
            observe(static_cast<index>(id), const_view(input), const_view(d_output));
            layers[id].backward(b, train, const_view(input), view(d_output), d_input, accumulate, t.linear[id],
                                context_->linear);
        };

        matrix_type& d_mid = context_->d_mid;  // gradient at x_mid: the residual path, then what flows through the MLP
        subbit::axpby(b, 1, dY, 0, resized(b, d_mid, tokens, d));
        subbit::axpby(b, 1, dY, 0, resized(b, context_->d_out, tokens, d));
        const auto d_hidden = resized(b, context_->d_hidden, tokens, context_->config.intermediate_size);
        through(down_proj, t.hidden, context_->d_out, d_hidden, false);
        const auto d_up = resized(b, context_->d_up, tokens, context_->config.intermediate_size);
        gated_backward(b, activation::silu, const_view(t.gate), const_view(t.up), const_view(context_->d_hidden),
                       d_hidden, d_up);
        const auto d_normed = resized(b, context_->d_normed, tokens, d);
        through(gate_proj, t.normed_mid, context_->d_hidden, d_normed, false);
        through(up_proj, t.normed_mid, context_->d_up, d_normed, true);
        rms_norm_backward(b, const_view(t.x_mid), span(mlp_norm), norm(), t.inverse_rms_mid,
                          const_view(context_->d_normed), view(d_mid),
                          train.norms ? span_of(d_mlp_norm) : std::span<S>());

        subbit::axpby(b, 1, d_mid, 0, dX);
        const auto d_attended = resized(b, context_->d_attended, tokens, cols(t.q));
        through(o_proj, t.attended, d_mid, d_attended, false);
        const auto dq = resized(b, context_->dq, tokens, cols(t.q)), dk = resized(b, context_->dk, tokens, cols(t.k)),
                   dv = resized(b, context_->dv, tokens, cols(t.k));
        attention_backward(b, shape(tokens / window, window, window), const_view(t.q), const_view(t.k), const_view(t.v),
                           const_view(t.attended), const_view(context_->d_attended), dq, dk, dv);
        rotate(b, context_->rotary, dq, context_->config.head_dim, window, 0, S(-1));
        rotate(b, context_->rotary, dk, context_->config.head_dim, window, 0, S(-1));
        through(q_proj, t.normed, context_->dq, d_normed, false);
        through(k_proj, t.normed, context_->dk, d_normed, true);
        through(v_proj, t.normed, context_->dv, d_normed, true);
        rms_norm_backward(b, const_view(t.x), span(attention_norm), norm(), t.inverse_rms,
                          const_view(context_->d_normed), dX, train.norms ? span_of(d_attention_norm) : std::span<S>());
    }
    template <class B>
    void backward(const B& b, const subbit::trainable& train, tape& t, index window, matrix_view<const S> dY,
                  matrix_view<S> dX) {
        backward(b, train, t, window, dY, dX, [](auto&&...) {});
    }

    /// Every tensor that `train` asks for, in a fixed order.
    template <class B>
    void parameters(const B& b, const std::string& prefix, const subbit::trainable& train,
                    std::vector<subbit::parameter<S>>& list) {
        for (std::size_t l = 0; l < layer_count; ++l)
            layers[l].parameters(b, prefix + layer_names[l], train, list);
        if (!train.norms) return;
        prepare_gradients(b);
        using subbit::parameter_kind;
        list.push_back({prefix + "input_layernorm.weight", parameter_kind::norm, span_of(attention_norm),
                        span_of(d_attention_norm)});
        list.push_back(
            {prefix + "post_attention_layernorm.weight", parameter_kind::norm, span_of(mlp_norm), span_of(d_mlp_norm)});
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
    void prepare_gradients(const B& b) {
        if (!subbit::const_span(d_attention_norm).empty()) return;
        d_attention_norm = subbit::allocate<S>(b, context_->config.hidden_size);
        d_mlp_norm = subbit::allocate<S>(b, context_->config.hidden_size);
    }

    template <class B>
    void pass(const B& b, matrix_view<const S> X, index window, matrix_view<S> Y, tape& t) const {
        copy_input(b, X, t);
        project_queries(b, t, window, 0);
        attention(b, shape(X.rows / window, window, window), const_view(t.q), const_view(t.k), const_view(t.v),
                  resized(b, t.attended, X.rows, cols(t.q)));
        finish(b, t, Y);
    }
    template <class B>
    static void copy_input(const B& b, matrix_view<const S> X, tape& t) {
        subbit::axpby(b, 1, X, 0, resized(b, t.x, X.rows, X.cols));
    }

    static std::span<const S> span(const vector_in<S, Memory>& v) { return span_of(v); }
    static index cols(const matrix_type& m) { return view(m).cols; }
    template <class B>
    static matrix_view<S> resized(const B& b, matrix_type& m, index rows, index cols) {
        subbit::reshape(b, m, rows, cols);
        return view(m);
    }
    attention_shape shape(index windows, index queries, index keys) const {
        return {windows,
                queries,
                keys,
                context_->config.num_attention_heads,
                context_->config.num_key_value_heads,
                context_->config.head_dim,
                attention_scale()};
    }
    double attention_scale() const { return 1 / std::sqrt(static_cast<double>(context_->config.head_dim)); }
    norm_rule norm() const { return {context_->config.rms_norm_eps}; }
    /// A layer, and where its outputs go.
    struct output {
        layer_id id;
        matrix_view<S> Y;
    };
    template <class B>
    output to(const B& b, layer_id id, matrix_type& Y, index tokens) const {
        return {id, resized(b, Y, tokens, layers[id].rows())};
    }

    /// Layers that read the same X; one job where all are low-rank binary and no backward pass will follow.
    template <class B, class... Outputs>
    void apply(const B& b, tape& t, const matrix_type& X, Outputs... outputs) const {
        const auto forward_each = [&] {
            (layers[outputs.id].forward(b, const_view(X), outputs.Y, t.linear[outputs.id], context_->linear), ...);
        };
        if constexpr (!subbit::host_backend<B>)
            forward_each();
        else if (t.for_backward)
            forward_each();
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
        const index tokens = view(t.x).rows;
        rms_norm(b, const_view(t.x), span(attention_norm), norm(), resized(b, t.normed, tokens, cols(t.x)),
                 t.inverse_rms);
        apply(b, t, t.normed, to(b, q_proj, t.q, tokens), to(b, k_proj, t.k, tokens), to(b, v_proj, t.v, tokens));
        rotate(b, context_->rotary, view(t.q), context_->config.head_dim, window, first_position, S(1));
        rotate(b, context_->rotary, view(t.k), context_->config.head_dim, window, first_position, S(1));
    }

    /// attended -> x_mid = x + o_proj -> the MLP -> Y = x_mid + down_proj.
    template <class B>
    void finish(const B& b, tape& t, matrix_view<S> Y) const {
        const index tokens = view(t.x).rows;
        apply(b, t, t.attended, to(b, o_proj, t.x_mid, tokens));
        subbit::axpby(b, 1, t.x, 1, t.x_mid);
        rms_norm(b, const_view(t.x_mid), span(mlp_norm), norm(), resized(b, t.normed_mid, tokens, cols(t.x)),
                 t.inverse_rms_mid);
        apply(b, t, t.normed_mid, to(b, gate_proj, t.gate, tokens), to(b, up_proj, t.up, tokens));
        gated(b, activation::silu, const_view(t.gate), const_view(t.up), resized(b, t.hidden, tokens, cols(t.up)));
        apply(b, t, t.hidden, output{down_proj, Y});
        subbit::axpby(b, 1, t.x_mid, 1, Y);
    }

    context_type* context_;
};

}  // namespace llama
