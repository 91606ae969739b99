// A model on disk: config.json, tokenizer.json and tensors, of which the blocks' linear layers are dense or packed.
#pragma once

#include "model/block.hpp"
#include "model/model_config.hpp"
#include "model/row_table.hpp"
#include "model/stored_layer.hpp"
#include "tokenizer/tokenizer.hpp"

#include <subbit/backend/ops/rows.hpp>
#include <subbit/backend/reference.hpp>
#include <subbit/io/safetensors.hpp>

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <span>
#include <string>
#include <vector>

namespace llama {

/// "model.layers.3."
inline std::string block_prefix(index block) {
    return "model.layers." + std::to_string(block) + ".";
}

/// What a run of a finished model rounds beyond float32 arithmetic; nothing, unless it is asked for.
struct model_rounding {
    row_format head = row_format::f32;  ///< of embedding and output head
    subbit::apply_options packed;       ///< of products with packed signs
};

/// What lies outside the blocks: embedding, final norm, output head.
template <class S, class Memory = subbit::host_memory>
struct outer_layers {
    matrix_in<S, Memory> embedding;  // (vocabulary, d)
    vector_in<S, Memory> final_norm;
    matrix_in<S, Memory> own_head;  // (vocabulary, d), or empty: tied to the embedding

    const matrix_in<S, Memory>& head() const { return view(own_head).size() != 0 ? own_head : embedding; }

    /// X(t,:) = the embedding of token t; value_error for an id outside the vocabulary.
    template <class B>
    void embed(const B& b, std::span<const std::int32_t> tokens, matrix_view<S> X) const {
        subbit::gather_rows(b, const_view(embedding), tokens, X);
    }
};

/// The layers moved into the backend's memory.
template <class B, class S>
outer_layers<S, memory_of<B>> upload(const B& b, outer_layers<S> host) {
    return {subbit::upload(b, std::move(host.embedding)), subbit::upload(b, std::move(host.final_norm)),
            subbit::upload(b, std::move(host.own_head))};
}

/// Opens a directory and reads blocks from it one at a time.
class model_directory {
  public:
    explicit model_directory(const std::filesystem::path& path)
        : path_(path), config_(read_model_config(path / "config.json")), tensors_(path) {}

    const std::filesystem::path& path() const { return path_; }
    const model_config& config() const { return config_; }
    const subbit::safetensors_reader& tensors() const { return tensors_; }
    tokenizer load_tokenizer() const { return tokenizer(path_ / "tokenizer.json"); }

    /// The small files that other programs expect beside the tensors: tokenizer, generation settings, chat template.
    std::vector<std::filesystem::path> companions() const {
        std::vector<std::filesystem::path> files;
        for (const auto& entry : std::filesystem::directory_iterator(path_)) {
            const std::string name = entry.path().filename().string();
            for (const char* start : {"tokenizer", "generation_config", "special_tokens", "added_tokens",
                                      "chat_template", "vocab", "merges"})
                if (entry.is_regular_file() && name.starts_with(start)) files.push_back(entry.path());
        }
        return files;
    }

    /// True where the first block is packed.
    bool is_packed() const { return holds_compressed_layer(tensors_, block_prefix(0) + layer_names[0]); }

    /// Embedding and head rounded as a table of that format would hold them.
    template <class S>
    outer_layers<S> load_outer_layers(row_format format = row_format::f32) const {
        outer_layers<S> outer;
        outer.embedding = load_rounded<S>(embedding_name, format);
        outer.final_norm = load_final_norm<S>();
        if (!config_.tie_word_embeddings) outer.own_head = load_rounded<S>(head_name, format);
        return outer;
    }

    template <class S>
    vector<S> load_final_norm() const {
        return norm<S>("model.norm.weight");
    }

    /// The embedding (vocabulary, d); while it is read, little of it is in memory in another form.
    row_table load_embedding(row_format format) const { return load_rows(embedding_name, format); }
    /// The head likewise, or an empty table where it is tied to the embedding.
    row_table load_own_head(row_format format) const {
        return config_.tie_word_embeddings ? row_table() : load_rows(head_name, format);
    }

    /// The block refers to `context`, which must outlive it.
    template <class S>
    block<S> load_block(index number, block_context<S>& context) const {
        return load_block(subbit::reference<S>(), number, context);
    }
    /// The same in the backend's memory; the host holds one layer of it at a time.
    template <class B, class S>
    block<S, memory_of<B>> load_block(const B& b, index number, block_context<S, memory_of<B>>& context) const {
        block<S, memory_of<B>> result(context);
        const std::string prefix = block_prefix(number);
        result.attention_norm = subbit::upload(b, norm<S>(prefix + "input_layernorm.weight"));
        result.mlp_norm = subbit::upload(b, norm<S>(prefix + "post_attention_layernorm.weight"));
        for (std::size_t l = 0; l < layer_count; ++l)
            result.layers[l] =
                subbit::upload(b, load_layer<S>(prefix + layer_names[l], shape_of(config_, l), has_bias(l)));
        return result;
    }

  private:
    static constexpr const char* embedding_name = "model.embed_tokens.weight";
    static constexpr const char* head_name = "lm_head.weight";

    row_table load_rows(const char* name, row_format format) const {
        tensors_.expect_shape(name, {config_.vocab_size, config_.hidden_size});
        row_table table(format, config_.vocab_size, config_.hidden_size);
        tensors_.for_each_row<float>(name, [&](index i, std::span<const float> row) {
            if (!std::all_of(row.begin(), row.end(), [](float x) { return std::isfinite(x); })) fail_not_finite(name);
            table.set_row(i, row);
        });
        return table;
    }

    template <class S>
    matrix<S> load_rounded(const char* name, row_format format) const {
        tensors_.expect_shape(name, {config_.vocab_size, config_.hidden_size});
        matrix<S> rows = finite(name, tensors_.read_matrix<S>(name));
        if (format == row_format::f32) return rows;
        row_table one(format, 1, rows.cols());
        vector<float> row(rows.cols());
        for (index i = 0; i < rows.rows(); ++i) {
            row = rows.row(i).template cast<float>();
            one.set_row(0, subbit::const_span(row));
            one.read_row(0, subbit::span_of(row));
            rows.row(i) = row.template cast<S>();
        }
        return rows;
    }

    bool has_bias(std::size_t layer) const { return layer < gate_proj ? config_.attention_bias : config_.mlp_bias; }

    /// The same matrix or vector; value_error naming the tensor where it holds a NaN or an infinity.
    template <class M>
    M finite(const std::string& name, M values) const {
        if ((values.array() * 0).sum() == 0) return values;  // 0 times what is not finite is a NaN
        fail_not_finite(name);
    }
    [[noreturn]] void fail_not_finite(const std::string& name) const {
        throw subbit::value_error("tensor \"" + name + "\" (" + subbit::shape_text(tensors_.info(name).shape) +
                                  ") has entries that are not finite");
    }

    template <class S>
    vector<S> norm(const std::string& name) const {
        tensors_.expect_shape(name, {config_.hidden_size});
        return finite(name, tensors_.read_vector<S>(name));
    }

    template <class S>
    linear_layer<S> load_layer(const std::string& name, layer_shape shape, bool bias) const {
        if (holds_compressed_layer(tensors_, name)) {
            auto layer = read_compressed_layer<S>(tensors_, name);
            subbit::require_shape(name.c_str(), layer.rows(), layer.cols(), shape.rows, shape.cols);
            return layer;
        }
        subbit::dense_linear<S> dense;
        tensors_.expect_shape(name + ".weight", {shape.rows, shape.cols});
        dense.weight = finite(name + ".weight", tensors_.read_matrix<S>(name + ".weight"));
        if (bias) {
            tensors_.expect_shape(name + ".bias", {shape.rows});
            dense.bias = finite(name + ".bias", tensors_.read_vector<S>(name + ".bias"));
        }
        return dense;
    }

    std::filesystem::path path_;
    model_config config_;
    subbit::safetensors_reader tensors_;
};

}  // namespace llama
