// A model that continues a text on a GPU: packed layers, cache and output head stay there, and a token is one recorded
// graph.
#pragma once

#include "generate/token_model.hpp"
#include "gpu/attention.hpp"
#include "gpu/decode.hpp"
#include "gpu/decode_attention.hpp"
#include "gpu/gate.hpp"
#include "gpu/layer_inputs.hpp"
#include "gpu/norm.hpp"
#include "model/model_directory.hpp"

#include <subbit/backend/gpu.hpp>
#include <subbit/backend/ops/dense.hpp>
#include <subbit/backend/ops/memory.hpp>

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <initializer_list>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

namespace llama {

/// The output head on a device, in the format of a row_table.
template <class Device>
class device_head {
  public:
    device_head(const subbit::gpu_backend<Device>& b, const row_table& table)
        : format_(table.format()),
          rows_(table.rows()),
          cols_(table.cols()),
          bytes_(b.device(), std::ssize(table.bytes())),
          scales_(b.device(), std::ssize(table.scales())) {
        b.device().copy_to_device(bytes_.data(), table.bytes().data(), bytes_.bytes());
        b.device().copy_to_device(scales_.data(), table.scales().data(), scales_.bytes());
        b.synchronize();  // the table may go now
    }

    index rows() const { return rows_; }
    /// scores (rows) of x (cols).
    void multiply(const subbit::gpu_backend<Device>& b, const float* x, float* scores) const {
        if (format_ == row_format::f32) launch<float>(b, x, scores);
        if (format_ == row_format::bf16) launch<subbit::bf16>(b, x, scores);
        if (format_ == row_format::int8) launch<std::int8_t>(b, x, scores);
    }

  private:
    template <class Number>
    void launch(const subbit::gpu_backend<Device>& b, const float* x, float* scores) const {
        using kernel = gpu_decode::head_scores<Number>;
        auto shape = subbit::gpu::cover_by_warps(rows_);
        shape.shared_bytes = kernel::shared_bytes(cols_);
        const auto* numbers = reinterpret_cast<const Number*>(bytes_.data());
        b.launch(shape, kernel{{numbers, rows_, cols_}, scales_.data(), x, scores});
    }

    row_format format_;
    index rows_, cols_;
    subbit::gpu::buffer<Device, std::byte> bytes_;
    subbit::gpu::buffer<Device, float> scales_;
};

/// A whole model on a device, and the keys and values of the tokens that it has seen; running_model's counterpart.
template <class Device>
class gpu_running_model : public token_model {
  public:
    using backend = subbit::gpu_backend<Device>;

    /// Room for `capacity` tokens.
    gpu_running_model(const backend& b, const model_directory& directory, index capacity, row_format head)
        : b_(b),
          config_(directory.config()),
          capacity_(capacity),
          embedding_(directory.load_embedding(subbit::reference<float>(), head)),
          head_(b, config_.tie_word_embeddings ? embedding_ : directory.load_head(subbit::reference<float>(), head)),
          final_norm_(uploaded(directory.load_final_norm<float>())),
          most_rows_(std::min(key_value_cache<float>::most_piece, capacity)),
          host_tokens_(b.device(), token_numbers(most_rows_)),
          tokens_(b.device(), token_numbers(most_rows_)),
          normed_(b.device(), most_rows_, config_.hidden_size),
          queries_(b.device(), most_rows_, config_.query_width()),
          keys_(b.device(), most_rows_, config_.key_width()),
          values_(b.device(), most_rows_, config_.key_width()),
          attended_(b.device(), most_rows_, config_.query_width()),
          gate_(b.device(), most_rows_, config_.intermediate_size),
          up_(b.device(), most_rows_, config_.intermediate_size),
          scores_(b.device(), config_.vocab_size),
          host_scores_(b.device(), config_.vocab_size),
          parts_(b.device(), gpu_decode::attention_numbers(most_rows_, config_.num_attention_heads, config_.head_dim)),
          prompt_work_(b),
          token_work_(b),
          context_(b, config_, capacity) {
        if (config_.head_dim > gpu_decode::most_head_dim)
            throw subbit::value_error("head_dim " + std::to_string(config_.head_dim) + ", expected at most " +
                                      std::to_string(gpu_decode::most_head_dim) + " on a GPU; use the cpu backend");
        for (index l = 0; l < config_.num_hidden_layers; ++l) {
            const index rows = gpu_decode::cache_rows(capacity, config_.block(l).attention.span, most_rows_);
            blocks_.push_back({directory.load_block<backend, float>(b, l, context_),
                               matrix_type(b.device(), rows, config_.key_width()),
                               matrix_type(b.device(), rows, config_.key_width())});
            b.synchronize();  // the host's copies are gone
            directory.tensors().release();
        }
    }

    /// The scores of the token after `tokens`, which come after all tokens before; value_error for an id outside the
    /// vocabulary, shape_error where the room is used up.
    std::span<const float> next_scores(std::span<const std::int32_t> tokens) override {
        if (length_ + std::ssize(tokens) > capacity_)
            throw subbit::shape_error("cache of " + std::to_string(capacity_) +
                                      " tokens: " + std::to_string(length_ + std::ssize(tokens)) + " do not fit");
        for (const auto most = static_cast<std::size_t>(most_rows_); tokens.size() > most;
             tokens = tokens.subspan(most))
            append(tokens.first(most), false);
        append(tokens, true);
        return {host_scores_.data(), static_cast<std::size_t>(host_scores_.size())};
    }

  private:
    using workspace = subbit::gpu::packed_workspace<Device, float>;
    using matrix_type = subbit::gpu::device_matrix<Device, float>;
    using vector_type = subbit::gpu::device_vector<Device, float>;
    using part = std::pair<linear_id, matrix_view<float>>;

    using block_type = block<float, backend>;

    struct cached_block {
        block_type weights;
        matrix_type keys, values;

        gpu_decode::cache_view cache() {
            const auto K = view(keys);
            return {K.data, view(values).data, K.cols, static_cast<int>(K.rows),
                    static_cast<int>(weights.schema->attention.span)};
        }
    };

    vector_type uploaded(const vector<float>& x) const { return subbit::upload(b_, subbit::const_span(x)); }

    /// Tokens on their way to the device, as one copy: the position of the first one, an int in the place of a number,
    /// three unused, and rows of embeddings.
    static constexpr index before_rows = 4;
    index token_numbers(index rows) const { return before_rows + rows * config_.hidden_size; }
    const std::int32_t* position() const { return reinterpret_cast<const std::int32_t*>(tokens_.data()); }

    /// Runs the tokens through the model; with `score`, the last one's scores are made too.
    void append(std::span<const std::int32_t> tokens, bool score) {
        const index rows = std::ssize(tokens);
        float* row = host_tokens_.data() + before_rows;
        for (const std::int32_t id : tokens) {
            embedding_.read_embedding(id, config_.embedding_scale,
                                      {row, static_cast<std::size_t>(config_.hidden_size)});
            row += config_.hidden_size;
        }
        const auto first = static_cast<std::int32_t>(length_);
        std::memcpy(host_tokens_.data(), &first, sizeof(first));
        if (rows > 1 || !score) {
            pass(rows, score, prompt_work_);
        } else if (graph_) {
            graph_->replay();
        } else {
            pass(1, true, token_work_);  // makes the workspace as large as it must be, and that is where it stays
            graph_.emplace(b_.device().record([&] { pass(1, true, token_work_); }));
        }
        b_.synchronize();  // the scores are there, and host_tokens_ may be written again
        length_ += rows;
    }

    void pass(index rows, bool score, workspace& work) {
        const auto bytes = [](index numbers) { return static_cast<std::size_t>(numbers) * sizeof(float); };
        const matrix_view<float> x(tokens_.data() + before_rows, rows, config_.hidden_size);
        const auto normed = view(normed_).middle_rows(0, rows), q = view(queries_).middle_rows(0, rows),
                   k = view(keys_).middle_rows(0, rows), v = view(values_).middle_rows(0, rows),
                   attended = view(attended_).middle_rows(0, rows), gate = view(gate_).middle_rows(0, rows),
                   up = view(up_).middle_rows(0, rows);
        b_.device().send(tokens_.data(), host_tokens_.data(), bytes(token_numbers(rows)));
        for (auto& one : blocks_) {
            const block_type& weights = one.weights;
            multiply(weights, norm(x, weights.norms[norm_id::attention], normed),
                     {{linear_id::query, q}, {linear_id::key, k}, {linear_id::value, v}}, 0, work);
            const auto parts = attend(weights, q, k, v, one.cache());
            add_branch(weights, norm_id::attention_output, linear_id::output, attention_input{parts, attended}, normed,
                       x, work);
            multiply(weights, norm(x, weights.norms[norm_id::mlp], normed),
                     {{linear_id::gate, gate}, {linear_id::up, up}}, 0, work);
            add_branch(weights, norm_id::mlp_output, linear_id::down, gated_input{config_.gate, gate, up}, normed, x,
                       work);
        }
        if (!score) return;
        const auto last = norm(x.middle_rows(rows - 1, 1), final_norm_, normed.middle_rows(0, 1)).make(b_);
        head_.multiply(b_, last.data, span_of(scores_).data());
        b_.device().fetch(host_scores_.data(), span_of(scores_).data(), bytes(scores_.size()));
    }

    normed_input norm(matrix_view<const float> X, const vector_type& weight, matrix_view<float> made) const {
        return {X, span_of(weight), config_.norm, made};
    }

    /// x += what attention or MLP give: their last layer's output, which is left in `plain` and normed where there is a
    /// norm.
    template <class Input>
    void add_branch(const block_type& weights, norm_id id, linear_id layer, const Input& input,
                    matrix_view<float> plain, matrix_view<float> x, workspace& work) const {
        if (!weights.schema->has(id)) return multiply(weights, input, {{layer, x}}, 1, work);
        multiply(weights, input, {{layer, plain}}, 0, work);
        norm(plain, weights.norms[id], {}).add_to(b_, x);
    }

    /// The new tokens' keys and values go to the cache, and the queries attend to it; of one token, both are done by
    /// the kernel of the attention.
    gpu_decode::attention_parts attend(const block_type& weights, matrix_view<float> q, matrix_view<float> k,
                                       matrix_view<const float> v, const gpu_decode::cache_view& cache) {
        const auto& rotary = context_.rotary[weights.schema->attention.rotary];
        const gpu_decode::rotary_view table{view(rotary.cosine), view(rotary.sine)};
        const gpu_decode::fresh_token token{k.data, v.data, table, head_norms(weights)};
        if (q.rows > 1) {
            if (weights.schema->has(norm_id::query)) {
                norm_heads(b_, q, config_.head_dim, token.norms.queries, token.norms);
                norm_heads(b_, k, config_.head_dim, token.norms.keys, token.norms);
            }
            b_.launch(subbit::gpu::cover(q.rows * (q.cols / 2 + k.cols)),
                      gpu_decode::rotate_and_keep{q, k, v, table, config_.head_dim, position(), cache});
        }
        return gpu_decode::attend(b_, matrix_view<const float>(q), static_cast<int>(config_.num_attention_heads),
                                  config_.attention_scale, position(), cache, parts_.data(),
                                  q.rows > 1 ? nullptr : &token);
    }
    gpu_decode::head_norms head_norms(const block_type& weights) const {
        return {span_of(weights.norms[norm_id::query]).data(), span_of(weights.norms[norm_id::key]).data(),
                static_cast<float>(config_.norm.eps), static_cast<float>(config_.norm.offset)};
    }

    /// Layers that read the same input, as one job: Y = outputs + beta Y.
    template <class Input>
    void multiply(const block_type& weights, const Input& input, std::initializer_list<part> parts, float beta,
                  workspace& work) const {
        const bool one = parts.begin()->second.rows == 1 && !b_.device().has_warpgroup_products();
        if (one && input.has_source() &&
            std::ranges::none_of(parts, [&](const part& p) { return weights.layers[p.first].is_dense(); }))
            return multiply_one(weights, input, parts, beta, work);
        job(weights, input.make(b_), parts, beta, work);
    }

    /// The same for one token and packed layers, which make the input themselves: one launch for all that read it, and
    /// one for what low-rank layers do next.
    template <class Input>
    void multiply_one(const block_type& weights, const Input& input, std::initializer_list<part> parts, float beta,
                      workspace& work) const {
        using subbit::gpu::matrix_target, subbit::gpu::vector_output, subbit::gpu::scaled_vectors;
        using first_output = vector_output<decltype(input.source(nullptr)), matrix_target<float>>;
        using second_output = vector_output<scaled_vectors<float>, matrix_target<float>>;
        std::vector<first_output> first(parts.size());
        std::vector<second_output> second;
        index ranks = 0;
        for (const auto& [id, Y] : parts)
            if (weights.layers[id].is_binary()) ranks += weights.layers[id].binary().layer.rank();
        float* next = work.hidden(ranks);
        auto* output = first.data();
        for (const auto& [id, Y] : parts) {
            if (weights.layers[id].is_binary()) {
                const auto& layer = weights.layers[id].binary().layer;
                const matrix_view<float> hidden(next, 1, layer.rank());
                output->parts[0] = {layer.V.view(), input.source(span_of(layer.s_pre).data()), nullptr};
                output->target.Y = hidden;
                auto& last = second.emplace_back();
                last.parts[0] = {layer.U.view(), {hidden, span_of(layer.s_mid).data()}, span_of(layer.s_post).data()};
                last.target = {span_of(layer.bias).data(), Y, 1, beta};
                next += layer.rank();
            } else {
                const auto& layer = weights.layers[id].residual().layer;
                output->part_count = static_cast<int>(layer.path_count());
                for (std::size_t p = 0; p < layer.paths.size(); ++p)
                    output->parts[p] = {layer.paths[p].B.view(), input.source(span_of(layer.paths[p].s_pre).data()),
                                        span_of(layer.paths[p].s_post).data()};
                output->target = {span_of(layer.bias).data(), Y, 1, beta};
            }
            ++output;
        }
        plane_products(b_, std::span<const first_output>(first), 1);
        plane_products(b_, std::span<const second_output>(second), 1);
    }

    /// The same for an input that is there; low-rank layers as one job.
    void job(const block_type& weights, matrix_view<const float> X, std::initializer_list<part> parts, float beta,
             workspace& work) const {
        std::vector<subbit::device_layer_output<Device, float>> together;
        for (const auto& [id, Y] : parts) {
            const auto& layer = weights.layers[id];
            if (layer.is_binary()) {
                together.push_back({layer.binary().layer, Y, beta});
            } else if (layer.is_residual()) {
                auto sum = subbit::gpu::residual_output(layer.residual().layer, X, Y);
                sum.beta = beta;
                subbit::gpu::packed_products(b_, std::span<const decltype(sum)>(&sum, 1), work);
            } else {
                subbit::gemm(b_, X, view(layer.dense().weight).t(), Y, 1, beta);
                const auto bias = subbit::const_span(layer.dense().bias);
                if (!bias.empty()) subbit::add_to_rows(b_, Y, bias);
            }
        }
        if (!together.empty())
            subbit::apply_layers(b_, X, std::span<const subbit::device_layer_output<Device, float>>(together), work);
    }

    backend b_;
    const model_config& config_;
    index capacity_, length_ = 0;
    row_table embedding_;  // the host reads single rows of it
    device_head<Device> head_;
    vector_type final_norm_;
    index most_rows_;  // tokens at once
    subbit::gpu::host_buffer<Device, float> host_tokens_;
    subbit::gpu::buffer<Device, float> tokens_;
    matrix_type normed_, queries_, keys_, values_, attended_, gate_, up_;
    vector_type scores_;
    subbit::gpu::host_buffer<Device, float> host_scores_;
    subbit::gpu::buffer<Device, float> parts_;  // of the attention
    workspace prompt_work_, token_work_;
    block_context<float, backend> context_;
    std::vector<cached_block> blocks_;
    std::optional<decltype(std::declval<const Device&>().record(std::declval<void (*)()>()))> graph_;
};

}  // namespace llama
