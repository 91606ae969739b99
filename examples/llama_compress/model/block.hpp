// One transformer block, forward and backward, of any family and with linear layers of any kind.
//
// In the shapes, T is the tokens of all windows, d the hidden size, f the width of the MLP, q = heads * head_dim the
// width of the queries and k = kv_heads * head_dim that of keys and values.
#pragma once

#include "model/attention.hpp"
#include "model/block_weights.hpp"
#include "model/cached_attention.hpp"
#include "model/gate.hpp"
#include "model/model_config.hpp"
#include "model/norm.hpp"
#include "model/rotary.hpp"

#include <subbit/core/memory.hpp>
#include <subbit/recon/linear_layer.hpp>

#include <span>
#include <string>
#include <vector>

namespace llama {

/// What a forward pass keeps for the backward pass. Matrices of norms that a block does not have stay empty.
template <class S, class Memory = subbit::host_memory>
struct block_tape {
    matrix_in<S, Memory> x;                      // (T, d)
    matrix_in<S, Memory> normed;                 // (T, d): what queries, keys and values read
    matrix_in<S, Memory> plain_q;                // (T, q): queries before their norm
    matrix_in<S, Memory> plain_k;                // (T, k): keys before their norm
    matrix_in<S, Memory> q, k, v;                // (T, q), (T, k), (T, k): q and k rotated
    matrix_in<S, Memory> attended;               // (T, q)
    matrix_in<S, Memory> plain_mid;              // (T, d): the attention's output before its norm
    matrix_in<S, Memory> x_mid;                  // (T, d): x and the attention's output
    matrix_in<S, Memory> normed_mid;             // (T, d): what gate and up read
    matrix_in<S, Memory> gate, up;               // (T, f)
    matrix_in<S, Memory> hidden;                 // (T, f): activation(gate) o up
    matrix_in<S, Memory> plain_out;              // (T, d): the MLP's output before its norm
    per_norm<vector_in<S, Memory>> inverse_rms;  // (T) each, (T * heads) and (T * kv_heads) of the heads' norms
    per_linear<subbit::linear_tape<S, Memory>> linear;
    bool for_backward = true;  // false: what the linear layers leave is not kept

    std::size_t bytes() const {
        index n = 0;
        for (const auto* m : {&x, &normed, &plain_q, &plain_k, &q, &k, &v, &attended, &plain_mid, &x_mid, &normed_mid,
                              &gate, &up, &hidden, &plain_out})
            n += view(*m).size();
        for (const auto& m : linear)
            n += m.size();
        return static_cast<std::size_t>(n) * sizeof(S);
    }
};

/// What all blocks of a model share: the configuration, the rotary tables, and the buffers of one forward or backward
/// call (so two blocks of one context must not run at the same time).
template <class S, class Memory = subbit::host_memory>
struct block_context {
    const model_config& config;
    std::vector<rotary_table<S, Memory>> rotary;  // as config.rotary
    subbit::linear_workspace<S, Memory> linear;
    subbit::apply_options packed;         // how packed layers are multiplied where no backward pass follows
    matrix_in<S, Memory> d_mid, d_out;    // (T, d): gradients at x_mid, and at the output of attention or MLP
    matrix_in<S, Memory> d_hidden, d_up;  // (T, f)
    matrix_in<S, Memory> d_normed;        // (T, d): of either norm's output
    matrix_in<S, Memory> d_attended, dq;  // (T, q)
    matrix_in<S, Memory> dk, dv;          // (T, k)
    matrix_in<S, Memory> d_plain_q;       // (T, q): before the norm of the heads
    matrix_in<S, Memory> d_plain_k;       // (T, k)

    block_context(const model_config& c, index positions,
                  subbit::apply_options options = {}) requires(std::same_as<Memory, subbit::host_memory>)
        : config(c), packed(options) {
        for (const auto& rule : c.rotary)
            rotary.emplace_back(rule, c.head_dim, positions);
    }
    template <class B>
    block_context(const B& b, const model_config& c, index positions, subbit::apply_options options = {})
        : config(c), packed(options) {
        for (const auto& rule : c.rotary)
            rotary.emplace_back(b, rule, c.head_dim, positions);
    }
};

/// Its numbers lie in `Memory`, that of the backend that its passes run on.
template <class S, class Memory = subbit::host_memory>
class block : public block_weights<S, Memory> {
  public:
    using weights_type = block_weights<S, Memory>;
    using weights_type::layers;
    using weights_type::norms;
    using weights_type::schema;
    using scalar = S;
    using memory = Memory;
    using tape = block_tape<S, Memory>;
    using matrix_type = matrix_in<S, Memory>;
    using context_type = block_context<S, Memory>;
    using layer_type = linear_layer<S, Memory>;

    /// Block `number` of the context's model, without weights; `context` must outlive it.
    block(context_type& context, index number) : context_(&context) { schema = &context.config.block(number); }

    weights_type& weights() { return *this; }
    const weights_type& weights() const { return *this; }

    index layer_total() const { return layer_count; }
    layer_type& layer(index i) { return layers[static_cast<std::size_t>(i)]; }
    const layer_type& layer(index i) const { return layers[static_cast<std::size_t>(i)]; }
    const std::string& layer_name(index i) const { return schema->linears[static_cast<std::size_t>(i)].name; }

    /// Y (T, d) from X (T, d), T a multiple of `window`; every window starts at position 0 and sees itself alone.
    template <class B>
    void forward(const B& b, matrix_view<const S> X, index window, matrix_view<S> Y, tape& t) const {
        t.for_backward = true;
        pass(b, X, window, Y, t);
    }

    /// forward() without a tape, if no backward pass follows.
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
        cache.append(b, const_view(t.k), const_view(t.v));
        cached_attention(b, config().attention_scale, const_view(t.q), cache,
                         resized(b, t.attended, X.rows, cols(t.q)));
        finish(b, t, Y);
    }

    /// The next token of several sequences of the same length, a row each, and a cache each.
    template <class B>
    void infer_cached(const B& b, matrix_view<const S> X, std::span<key_value_cache<S>> caches, matrix_view<S> Y,
                      tape& t) const {
        subbit::require_size("infer_cached: caches", std::ssize(caches), X.rows);
        t.for_backward = false;
        copy_input(b, X, t);
        project_queries(b, t, 1, caches[0].length());
        const auto attended = resized(b, t.attended, X.rows, cols(t.q));
        const auto q = const_view(t.q), k = const_view(t.k), v = const_view(t.v);
        b.parallel_for(X.rows, 1, [&](index begin, index end) {
            for (index i = begin; i < end; ++i) {
                auto& cache = caches[static_cast<std::size_t>(i)];
                cache.append(b, k.middle_rows(i, 1), v.middle_rows(i, 1));
                cached_attention(b, config().attention_scale, q.middle_rows(i, 1), cache, attended.middle_rows(i, 1));
            }
        });
        finish(b, t, Y);
    }

    /// A layer's input in the forward pass that filled the tape.
    static const matrix_type& input_of(const tape& t, linear_id layer) {
        switch (layer) {
            case linear_id::output:
                return t.attended;
            case linear_id::gate:
            case linear_id::up:
                return t.normed_mid;
            case linear_id::down:
                return t.hidden;
            default:
                return t.normed;
        }
    }

    /// dX (T, d) from dY; writes the gradients that `train` selects. `observe(layer, inputs, d_outputs)` is called with
    /// every linear layer's inputs and output gradients.
    template <class B, class Observer>
    void backward(const B& b, const subbit::trainable& train, tape& t, index window, matrix_view<const S> dY,
                  matrix_view<S> dX, Observer&& observe) {
        if (train.norms) prepare_gradients(b);
        backward_pass<B, Observer>{*this, b, train, t, window, observe}.run(dY, dX);
    }
    template <class B>
    void backward(const B& b, const subbit::trainable& train, tape& t, index window, matrix_view<const S> dY,
                  matrix_view<S> dX) {
        backward(b, train, t, window, dY, dX, [](auto&&...) {});
    }

    /// Every tensor that `train` selects, in a fixed order.
    template <class B>
    void parameters(const B& b, const std::string& prefix, const subbit::trainable& train,
                    std::vector<subbit::parameter<S>>& list) {
        if (train.norms) prepare_gradients(b);
        this->visit(
            [&](const linear_spec& spec, layer_type& layer) { layer.parameters(b, prefix + spec.name, train, list); },
            [&](const norm_spec& spec, vector_in<S, Memory>& weight) {
                if (train.norms)
                    list.push_back({prefix + spec.name, subbit::parameter_kind::norm, span_of(weight),
                                    span_of(d_norms_[spec.id])});
            });
    }

    /// Calls f(spec, layer, factor) for every factor of the low-rank layers, &type::V or &type::U, in the order in
    /// which a pass reads them.
    template <class F>
    void visit_signs(F&& f) {
        using low_rank = subbit::low_rank_binary_linear<S>;
        for (const auto& job : layers_by_input)
            for (const auto factor : {&low_rank::V, &low_rank::U})
                for (const linear_id id : job)
                    if (layers[id].is_binary()) f(schema->linears[id], layers[id].binary().layer, factor);
    }

    /// Call it after an optimizer step: derives the signs from the parameters again.
    template <class B>
    void after_update(const B& b) {
        for (auto& l : layers)
            l.after_update(b);
    }

  private:
    template <class B, class Observer>
    struct backward_pass;

    template <class B>
    void prepare_gradients(const B& b) {
        for (const auto& spec : schema->norms)
            if (subbit::const_span(d_norms_[spec.id]).empty()) d_norms_[spec.id] = subbit::allocate<S>(b, spec.size);
    }

    const model_config& config() const { return context_->config; }
    const rotary_table<S, Memory>& rotary() const { return context_->rotary[schema->attention.rotary]; }

    template <class B>
    void pass(const B& b, matrix_view<const S> X, index window, matrix_view<S> Y, tape& t) const {
        copy_input(b, X, t);
        project_queries(b, t, window, 0);
        attention(b, shape_of_attention(X.rows, window), const_view(t.q), const_view(t.k), const_view(t.v),
                  resized(b, t.attended, X.rows, cols(t.q)));
        finish(b, t, Y);
    }
    template <class B>
    static void copy_input(const B& b, matrix_view<const S> X, tape& t) {
        subbit::axpby(b, 1, X, 0, resized(b, t.x, X.rows, X.cols));
    }

    static index cols(const matrix_type& m) { return view(m).cols; }
    template <class B>
    static matrix_view<S> resized(const B& b, matrix_type& m, index rows, index cols) {
        subbit::reshape(b, m, rows, cols);
        return view(m);
    }
    /// The rows that a norm sees, as wide as its weights: those of m, or every head of (T, heads * head_dim).
    template <class T>
    matrix_view<T> normed_rows(norm_id id, matrix_view<T> m) const {
        const index width = std::ssize(subbit::const_span(norms[id]));
        return width == m.cols ? m : matrix_view<T>(m.data, m.size() / width, width);
    }
    attention_shape shape_of_attention(index tokens, index window) const {
        return {tokens / window,
                window,
                window,
                config().num_attention_heads,
                config().num_key_value_heads,
                config().head_dim,
                config().attention_scale,
                schema->attention.span};
    }
    /// A layer, and where its outputs go.
    struct output {
        linear_id id;
        matrix_view<S> Y;
    };
    template <class B>
    output to(const B& b, linear_id id, matrix_type& Y, index tokens) const {
        return {id, resized(b, Y, tokens, layers[id].rows())};
    }

    /// Layers that read the same X; one job if all are low-rank binary and no backward pass follows.
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
            (layers[outputs.id].infer(b, const_view(X), outputs.Y, context_->packed), ...);
        else
            subbit::apply_layers(b, const_view(X),
                                 {subbit::layer_output<S>{layers[outputs.id].binary().layer, outputs.Y}...},
                                 context_->packed);
    }

    template <class B>
    void apply_norm(const B& b, norm_id id, matrix_view<const S> X, matrix_view<S> Y, tape& t) const {
        rms_norm(b, normed_rows(id, X), subbit::const_span(norms[id]), config().norm, normed_rows(id, Y),
                 t.inverse_rms[id]);
    }

    /// x -> normed -> q, k, v, with the norms of the heads where there are any, and the rotary embedding.
    template <class B>
    void project_queries(const B& b, tape& t, index window, index first_position) const {
        const index tokens = view(t.x).rows;
        apply_norm(b, norm_id::attention, const_view(t.x), resized(b, t.normed, tokens, cols(t.x)), t);
        const bool normed = schema->has(norm_id::query);
        apply(b, t, t.normed, to(b, linear_id::query, normed ? t.plain_q : t.q, tokens),
              to(b, linear_id::key, normed ? t.plain_k : t.k, tokens), to(b, linear_id::value, t.v, tokens));
        if (normed) {
            apply_norm(b, norm_id::query, const_view(t.plain_q), resized(b, t.q, tokens, cols(t.plain_q)), t);
            apply_norm(b, norm_id::key, const_view(t.plain_k), resized(b, t.k, tokens, cols(t.plain_k)), t);
        }
        rotate(b, rotary(), view(t.q), config().head_dim, window, first_position, S(1));
        rotate(b, rotary(), view(t.k), config().head_dim, window, first_position, S(1));
    }

    /// attended -> x_mid = x + the attention's output -> the MLP -> Y = x_mid + its output.
    template <class B>
    void finish(const B& b, tape& t, matrix_view<S> Y) const {
        const index tokens = view(t.x).rows, d = cols(t.x);
        resized(b, t.x_mid, tokens, d);
        add_branch(b, norm_id::attention_output, linear_id::output, t.attended, t.plain_mid, view(t.x_mid), t);
        subbit::axpby(b, 1, t.x, 1, t.x_mid);
        apply_norm(b, norm_id::mlp, const_view(t.x_mid), resized(b, t.normed_mid, tokens, d), t);
        apply(b, t, t.normed_mid, to(b, linear_id::gate, t.gate, tokens), to(b, linear_id::up, t.up, tokens));
        gated(b, config().gate, const_view(t.gate), const_view(t.up), resized(b, t.hidden, tokens, cols(t.up)));
        add_branch(b, norm_id::mlp_output, linear_id::down, t.hidden, t.plain_out, Y, t);
        subbit::axpby(b, 1, t.x_mid, 1, Y);
    }

    /// Y = what attention or MLP give to the residual stream: their last layer's output, normed where there is a norm.
    template <class B>
    void add_branch(const B& b, norm_id norm, linear_id layer, const matrix_type& input, matrix_type& plain,
                    matrix_view<S> Y, tape& t) const {
        if (!schema->has(norm)) return apply(b, t, input, output{layer, Y});
        apply(b, t, input, to(b, layer, plain, Y.rows));
        apply_norm(b, norm, const_view(plain), Y, t);
    }

    context_type* context_;
    per_norm<vector_in<S, Memory>> d_norms_;
};

}  // namespace llama

#include "model/block_backward.hpp"
