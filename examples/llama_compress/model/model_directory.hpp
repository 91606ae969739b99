// A model on disk: config.json, tokenizer.json and tensors, of which the blocks' linear layers are dense or packed.
#pragma once

#include "model/block.hpp"
#include "model/folder_contents.hpp"
#include "model/model_config.hpp"
#include "model/model_tensors.hpp"
#include "model/row_table.hpp"
#include "model/stored_layer.hpp"
#include "tokenizer/tokenizer.hpp"

#include <subbit/backend/cpu.hpp>
#include <subbit/backend/cpu/scratch.hpp>
#include <subbit/backend/ops/rows.hpp>
#include <subbit/backend/reference.hpp>
#include <subbit/core/finite.hpp>
#include <subbit/core/memory.hpp>
#include <subbit/io/packed_layer.hpp>
#include <subbit/io/safetensors.hpp>

#include <algorithm>
#include <cstdint>
#include <filesystem>
#include <set>
#include <span>
#include <string>
#include <utility>
#include <vector>

namespace llama {

/// What a finished model rounds beyond float32 arithmetic; by default nothing.
struct model_rounding {
    row_format head = row_format::f32;          ///< of embedding and output head
    subbit::apply_options packed = {};          ///< of products with packed signs
    cache_format cache = cache_format::scalar;  ///< of the keys and values that a text's tokens leave
};

/// The parts outside the blocks: embedding, final norm, output head.
template <class S, class Memory = subbit::host_memory>
struct outer_layers {
    matrix_in<S, Memory> embedding;   // (vocabulary, d)
    vector_in<S, Memory> final_norm;  // (d)
    matrix_in<S, Memory> own_head;    // (vocabulary, d), or empty: tied to the embedding
    double embedding_scale = 1;       // of X, not of the head

    const matrix_in<S, Memory>& head() const { return view(own_head).size() != 0 ? own_head : embedding; }

    /// X(t,:) = the embedding of token t; value_error for an id outside the vocabulary.
    template <class B>
    void embed(const B& b, std::span<const std::int32_t> tokens, matrix_view<S> X) const {
        subbit::gather_rows(b, const_view(embedding), tokens, X);
        scale(b, X);
    }
    /// The same for ids in the backend's memory, which are not checked.
    template <class B>
    void embed_known(const B& b, std::span<const std::int32_t> tokens, matrix_view<S> X) const {
        subbit::gather_known_rows(b, const_view(embedding), tokens, X);
        scale(b, X);
    }

  private:
    template <class B>
    void scale(const B& b, matrix_view<S> X) const {
        if (embedding_scale != 1) subbit::axpby(b, embedding_scale, X, 0, X);
    }
};

/// The layers moved into the backend's memory.
template <class B, class S>
outer_layers<S, memory_of<B>> upload(const B& b, outer_layers<S> host) {
    return {subbit::upload(b, std::move(host.embedding)), subbit::upload(b, std::move(host.final_norm)),
            subbit::upload(b, std::move(host.own_head)), host.embedding_scale};
}

/// Opens a directory and reads blocks from it one at a time. Opening throws format_error for a tensor that the model
/// would not read, and what require_model_folder() throws.
class model_directory {
  public:
    explicit model_directory(const std::filesystem::path& path)
        : path_(checked(path)), config_(read_model_config(path / "config.json")), tensors_(path) {
        use_stored_embedding(config_, tensors_);
        require_known_tensors(config_, tensors_);
    }

    const std::filesystem::path& path() const { return path_; }
    const model_config& config() const { return config_; }
    const subbit::safetensors_reader& tensors() const { return tensors_; }
    tokenizer load_tokenizer() const { return tokenizer(path_ / "tokenizer.json"); }

    /// The small files that other programs expect in the folder: tokenizer, generation settings, chat template.
    std::vector<std::filesystem::path> companions() const;

    /// The tokens that end a text, as config.json and, if it is there, generation_config.json say.
    std::set<std::int32_t> end_tokens() const;
    /// The same with the tokenizer's.
    std::set<std::int32_t> end_tokens(const tokenizer& words) const;

    /// True if a block has a compressed layer.
    bool is_packed(index block) const;
    /// True if any block has one.
    bool is_packed() const;

    /// Embedding and head rounded as a table of that format would hold them.
    template <class S>
    outer_layers<S> load_outer_layers(row_format format = row_format::f32) const {
        outer_layers<S> outer;
        outer.embedding = load_rounded<S>(config_.embedding_name, format);
        outer.final_norm = load_final_norm<S>();
        if (!config_.tie_word_embeddings) outer.own_head = load_rounded<S>(config_.head_name, format);
        outer.embedding_scale = config_.embedding_scale;
        return outer;
    }

    template <class S>
    vector<S> load_final_norm() const {
        return norm<S>(config_.final_norm_name, config_.hidden_size);
    }

    /// The embedding (vocabulary, d); it is read a few rows at a time, by the threads of a backend.
    template <subbit::host_backend B>
    row_table load_embedding(const B& b, row_format format) const {
        return load_rows(b, config_.embedding_name, format);
    }
    /// The output head likewise; where it is tied to the embedding, that.
    template <subbit::host_backend B>
    row_table load_head(const B& b, row_format format) const {
        return load_rows(b, config_.tie_word_embeddings ? config_.embedding_name : config_.head_name, format);
    }

    /// The embedding of one token, as a table of that format would hold it, read from the file; value_error for an id
    /// outside the vocabulary.
    void read_embedding(std::int32_t id, row_format format, std::span<float> values) const;

    /// The block refers to `context`, which must outlive it.
    template <class S>
    block<S> load_block(index number, block_context<S>& context) const {
        return load_block(subbit::reference<S>(), number, context);
    }
    /// The same in the backend's memory; the host holds one layer of it at a time.
    template <class B, class S>
    block<S, memory_of<B>> load_block(const B& b, index number, block_context<S, memory_of<B>>& context) const {
        block<S, memory_of<B>> result(context, number);
        const std::string prefix = block_prefix(number);
        const auto load = [&](const linear_spec& spec) { return load_layer<S>(prefix, spec); };
        const auto load_norm = [&](const norm_spec& spec) { return norm<S>(prefix + spec.name, spec.size); };
        result.visit([&](const linear_spec& spec, auto& layer) { layer = subbit::upload(b, load(spec)); },
                     [&](const norm_spec& spec, auto& weight) { weight = subbit::upload(b, load_norm(spec)); });
        return result;
    }

    /// The same, and what was read of the file does not stay in memory.
    template <class B, class S>
    block<S, memory_of<B>> load_block_once(const B& b, index number, block_context<S, memory_of<B>>& context) const {
        auto result = load_block<B, S>(b, number, context);
        tensors_.release();
        return result;
    }

    /// A block for generation: its packed signs go into `signs`, in the order of a pass, by the threads of a backend.
    template <subbit::host_backend B, class S>
    block<S> load_block(const B& b, index number, block_context<S>& context, subbit::streaming_arena& signs) const {
        block<S> result(context, number);
        const std::string prefix = block_prefix(number);
        const auto copy = [&b](std::span<const std::uint32_t> from, std::uint32_t* to) {
            constexpr index together = 1 << 18;
            b.parallel_for(std::ssize(from), together, [&](index begin, index end) {
                std::copy(from.begin() + begin, from.begin() + end, to + begin);
            });
        };
        result.visit(
            [&](const linear_spec& spec, auto& layer) {
                const std::string name = prefix + spec.name;
                if (!subbit::holds_packed_layer(tensors_, name)) return void(layer = load_layer<S>(prefix, spec));
                subbit::binary_linear<S> binary;
                binary.layer = subbit::read_packed_scales<S>(tensors_, name);
                require_described(prefix, spec, binary.layer.s_post.size(), binary.layer.s_pre.size());
                layer = std::move(binary);
            },
            [&](const norm_spec& spec, auto& weight) { weight = norm<S>(prefix + spec.name, spec.size); });
        result.visit_signs([&](const linear_spec& spec, auto& layer, auto factor) {
            subbit::read_packed_signs(tensors_, prefix + spec.name, layer, factor, signs, copy);
            tensors_.release();
        });
        return result;
    }

    /// Asks the system to load a block that will be needed soon, if there is one of that number.
    void prefetch(index block) const;

    /// One linear layer of a block on the host, dense or compressed.
    template <class S>
    linear_layer<S> load_linear(index block, const linear_spec& spec) const {
        return load_layer<S>(block_prefix(block), spec);
    }

  private:
    static const std::filesystem::path& checked(const std::filesystem::path& path) {
        require_model_folder(path);
        return path;
    }

    template <subbit::host_backend B>
    row_table load_rows(const B& b, const std::string& name, row_format format) const {
        tensors_.expect_shape(name, {config_.vocab_size, config_.hidden_size});
        row_table table(format, config_.vocab_size, config_.hidden_size);
        tensors_.for_each_run(name, [&](const subbit::stored_rows& run) {
            subbit::vectorized_for(b, run.count, 64, [&](index begin, index end) {
                struct row_scratch;
                const std::span<float> row(subbit::thread_scratch<row_scratch>().template reserve<float>(run.cols),
                                           static_cast<std::size_t>(run.cols));
                for (index i = begin; i < end; ++i) {
                    run.read(i, row);
                    set_finite_row(name, table, run.first + i, row);
                }
            });
        });
        return table;
    }

    void set_finite_row(const std::string& name, row_table& table, index i, std::span<const float> row) const;

    template <class S>
    matrix<S> load_rounded(const std::string& name, row_format format) const {
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

    /// The same matrix or vector; value_error naming the tensor if it has a NaN or an infinity.
    template <class M>
    M finite(const std::string& name, M values) const {
        if ((values.array() * 0).sum() == 0) return values;  // 0 times what is not finite is a NaN
        fail_not_finite(name);
    }
    [[noreturn]] void fail_not_finite(const std::string& name) const;

    template <class S>
    vector<S> norm(const std::string& name, index size) const {
        tensors_.expect_shape(name, {size});
        return finite(name, tensors_.read_vector<S>(name));
    }

    /// shape_error or format_error where a compressed layer is not what config.json says.
    void require_described(const std::string& prefix, const linear_spec& spec, index rows, index cols) const;

    template <class S>
    linear_layer<S> load_layer(const std::string& prefix, const linear_spec& spec) const {
        const std::string name = prefix + spec.name;
        if (holds_compressed_layer(tensors_, name)) {
            auto layer = read_compressed_layer<S>(tensors_, name);
            require_described(prefix, spec, layer.rows(), layer.cols());
            return layer;
        }
        const std::string weight = prefix + spec.stored_name() + ".weight",
                          bias = prefix + spec.stored_name() + ".bias";
        const index first = spec.fused ? spec.fused->first : 0;
        subbit::dense_linear<S> dense;
        tensors_.expect_shape(weight, {spec.stored_rows(), spec.shape.cols});
        dense.weight = tensors_.read_matrix<S>(weight);
        if (spec.fused) dense.weight = matrix<S>(dense.weight.middleRows(first, spec.shape.rows));
        dense.weight = finite(weight, std::move(dense.weight));
        if (spec.bias) {
            tensors_.expect_shape(bias, {spec.stored_rows()});
            dense.bias = finite(bias, vector<S>(tensors_.read_vector<S>(bias).segment(first, spec.shape.rows)));
        }
        return dense;
    }

    std::filesystem::path path_;
    model_config config_;
    subbit::safetensors_reader tensors_;
};

// What a processor runs is compiled once, in model_directory.cpp.
extern template block<float> model_directory::load_block(const subbit::cpu&, index, block_context<float>&) const;
extern template block<float> model_directory::load_block(const subbit::cpu&, index, block_context<float>&,
                                                         subbit::streaming_arena&) const;
extern template row_table model_directory::load_embedding(const subbit::cpu&, row_format) const;
extern template row_table model_directory::load_head(const subbit::cpu&, row_format) const;
extern template outer_layers<float> model_directory::load_outer_layers(row_format) const;
extern template linear_layer<float> model_directory::load_linear(index, const linear_spec&) const;

}  // namespace llama
