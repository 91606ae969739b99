#include "trainer.hpp"

#include <model/evaluation.hpp>
#include <subbit/io/safetensors.hpp>
#include <subbit/train/losses.hpp>

#include <cmath>
#include <string>
#include <utility>

namespace train_demo {

using subbit::const_view;
using subbit::span_of;
using subbit::view;

namespace {

constexpr subbit::trainable everything{.weights = true, .norms = true};

matrix<float> gaussian(index rows, index cols, double deviation, const subbit::random_stream& numbers) {
    matrix<float> m(rows, cols);
    for (index i = 0; i < m.size(); ++i)
        m.data()[i] = static_cast<float>(deviation * numbers.normal(static_cast<std::uint64_t>(i)));
    return m;
}

subbit::phase_options phase(const training_options& o) {
    subbit::phase_options p;
    p.weights = p.norms = subbit::learning_rate::absolute(o.rate);
    p.warmup = static_cast<std::size_t>(o.warmup);
    p.optimizer = {.beta1 = 0.9, .beta2 = 0.98, .epsilon = 1e-8};
    return p;
}

}  // namespace

trainer::trainer(const llama::model_config& config, const training_options& options, int threads)
    : config_(config),
      options_(options),
      backend_({.threads = threads, .products = subbit::precision::bf16}),
      context_(config, options.window),
      tapes_(static_cast<std::size_t>(config.num_hidden_layers)),
      states_(static_cast<std::size_t>(config.num_hidden_layers) + 1) {
    make_weights();
    tuner_.emplace_back(backend_, parameters(), phase(options), static_cast<std::size_t>(options.steps));
}

/// Layers keep the variance of their inputs; those that add to the residual stream start smaller the more there are.
void trainer::make_weights() {
    std::uint64_t stream = 0;
    const auto random = [&](index rows, index cols, double deviation) {
        return gaussian(rows, cols, deviation, subbit::random_stream(options_.seed, stream++));
    };
    const index d = config_.hidden_size;
    outer_.embedding = random(config_.vocab_size, d, 0.05);
    outer_.final_norm = vector<float>::Ones(d);
    d_embedding_.setZero(config_.vocab_size, d);
    d_final_norm_.setZero(d);
    const double residual = 1 / std::sqrt(2.0 * static_cast<double>(config_.num_hidden_layers));
    for (index l = 0; l < config_.num_hidden_layers; ++l) {
        blocks_.emplace_back(context_, l)
            .visit(
                [&](const llama::linear_spec& spec, auto& layer) {
                    const bool adds = spec.id == llama::linear_id::output || spec.id == llama::linear_id::down;
                    const auto [rows, cols] = spec.shape;
                    subbit::dense_linear<float> dense;
                    dense.weight = random(rows, cols, (adds ? residual : 1) / std::sqrt(static_cast<double>(cols)));
                    layer = std::move(dense);
                },
                [](const llama::norm_spec& spec, auto& weight) { weight = vector<float>::Ones(spec.size); });
    }
}

std::vector<subbit::parameter<float>> trainer::parameters() {
    using subbit::parameter_kind;
    std::vector<subbit::parameter<float>> list;
    const auto size = static_cast<std::size_t>(d_embedding_.size());
    list.push_back({"model.embed_tokens.weight",
                    parameter_kind::weight,
                    {outer_.embedding.data(), size},
                    {d_embedding_.data(), size}});
    list.push_back({"model.norm.weight", parameter_kind::norm, span_of(outer_.final_norm), span_of(d_final_norm_)});
    for (index l = 0; l < config_.num_hidden_layers; ++l)
        blocks_[static_cast<std::size_t>(l)].parameters(backend_, llama::block_prefix(l), everything, list);
    return list;
}

double trainer::step(std::span<const std::int32_t> tokens) {
    const index rows = std::ssize(tokens), d = config_.hidden_size;
    for (auto& m : states_)
        m.resize(rows, d);
    outer_.embed(backend_, tokens, view(states_[0]));
    for (std::size_t l = 0; l < blocks_.size(); ++l)
        blocks_[l].forward(backend_, const_view(states_[l]), options_.window, view(states_[l + 1]), tapes_[l]);
    const double loss = backward_from_loss(tokens);
    tuner_[0].step(backend_);
    return loss;
}

/// Every gradient; the embedding's has two parts, since it is the head too.
double trainer::backward_from_loss(std::span<const std::int32_t> tokens) {
    const index rows = std::ssize(tokens), d = config_.hidden_size, window = options_.window;
    std::vector<std::int32_t> labels;
    for (index at = 0; at < rows; at += window) {
        const auto next =
            llama::next_tokens(tokens.subspan(static_cast<std::size_t>(at), static_cast<std::size_t>(window)));
        labels.insert(labels.end(), next.begin(), next.end());
    }
    const double weight = 1 / static_cast<double>(rows / window * (window - 1));
    const auto final_norm = span_of(std::as_const(outer_.final_norm));
    normed_.resize(rows, d);
    d_normed_.resize(rows, d);
    d_input_.resize(rows, d);
    d_embedding_.setZero();
    llama::rms_norm(backend_, const_view(states_.back()), final_norm, config_.norm, view(normed_), inverse_rms_);
    const double loss =
        subbit::cross_entropy(backend_, const_view(normed_), const_view(outer_.embedding),
                              std::span<const std::int32_t>(labels), weight, view(d_normed_), view(d_embedding_));
    gradient_.setZero(rows, d);
    llama::rms_norm_backward(backend_, const_view(states_.back()), final_norm, config_.norm, inverse_rms_,
                             const_view(d_normed_), view(gradient_), span_of(d_final_norm_));
    for (std::size_t l = blocks_.size(); l-- > 0;) {
        blocks_[l].backward(backend_, everything, tapes_[l], window, const_view(gradient_), view(d_input_));
        gradient_.swap(d_input_);
    }
    for (index t = 0; t < rows; ++t)
        d_embedding_.row(tokens[static_cast<std::size_t>(t)]) += gradient_.row(t);
    return loss * weight;
}

void trainer::save(const std::filesystem::path& path) const {
    subbit::safetensors_writer file;
    const auto add_vector = [&](const std::string& name, const vector<float>& v) {
        file.add(name, {v.size()}, span_of(v), subbit::dtype::bf16);
    };
    file.add("model.embed_tokens.weight", const_view(outer_.embedding), subbit::dtype::bf16);
    add_vector("model.norm.weight", outer_.final_norm);
    for (index l = 0; l < config_.num_hidden_layers; ++l) {
        const auto& b = blocks_[static_cast<std::size_t>(l)];
        const std::string prefix = llama::block_prefix(l);
        b.visit(
            [&](const llama::linear_spec& spec, const auto& layer) {
                file.add(prefix + spec.name + ".weight", const_view(layer.dense().weight), subbit::dtype::bf16);
            },
            [&](const llama::norm_spec& spec, const auto& weight) { add_vector(prefix + spec.name, weight); });
    }
    file.metadata("format", "pt");
    file.write(path);
}

double perplexity(const std::filesystem::path& directory, std::span<const std::int32_t> tokens, index window,
                  int threads) {
    const llama::model_directory model(directory);
    subbit::progress quiet;
    return llama::perplexity<float>(subbit::cpu({.threads = threads}), model, llama::split_windows(tokens, window),
                                    quiet)
        .perplexity;
}

}  // namespace train_demo
