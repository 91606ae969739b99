#include "model/model_directory.hpp"

#include "model/config_section.hpp"

#include <subbit/io/json.hpp>

namespace llama {

std::set<std::int32_t> model_directory::end_tokens() const {
    std::set<std::int32_t> ends(config_.eos_token_ids.begin(), config_.eos_token_ids.end());
    const auto file = path_ / "generation_config.json";
    if (!std::filesystem::exists(file)) return ends;
    const auto document = subbit::read_json(file);
    const auto more = config_section(document, file.string()).token_ids("eos_token_id", config_.vocab_size);
    ends.insert(more.begin(), more.end());
    return ends;
}

std::set<std::int32_t> model_directory::end_tokens(const tokenizer& words) const {
    auto ends = end_tokens();
    if (words.eos_id()) ends.insert(*words.eos_id());
    return ends;
}

std::vector<std::filesystem::path> model_directory::companions() const {
    std::vector<std::filesystem::path> files;
    for (const auto& entry : std::filesystem::directory_iterator(path_)) {
        const std::string name = entry.path().filename().string();
        for (const char* start :
             {"tokenizer", "generation_config", "special_tokens", "added_tokens", "chat_template", "vocab", "merges"})
            if (entry.is_regular_file() && name.starts_with(start)) files.push_back(entry.path());
    }
    return files;
}

bool model_directory::is_packed(index block) const {
    const auto& linears = config_.block(block).linears;
    return std::any_of(linears.begin(), linears.end(), [&](const linear_spec& linear) {
        return holds_compressed_layer(tensors_, block_prefix(block) + linear.name);
    });
}

bool model_directory::is_packed() const {
    for (index l = 0; l < config_.num_hidden_layers; ++l)
        if (is_packed(l)) return true;
    return false;
}

void model_directory::read_embedding(std::int32_t id, row_format format, std::span<float> values) const {
    require_token(id, config_.vocab_size);
    const std::string& name = config_.embedding_name;
    tensors_.expect_shape(name, {config_.vocab_size, config_.hidden_size});
    row_table one(format, 1, config_.hidden_size);
    tensors_.read_row(name, id, values);
    set_finite_row(name, one, 0, values);
    one.read_embedding(0, config_.embedding_scale, values);
}

void model_directory::prefetch(index block) const {
    if (block >= config_.num_hidden_layers) return;
    for (const auto& spec : config_.block(block).linears) {
        const std::string name = block_prefix(block) + spec.name;
        auto names = subbit::packed_layer_tensors(tensors_, name);
        if (names.empty()) names = {block_prefix(block) + spec.stored_name() + ".weight"};
        for (const auto& tensor : names)
            if (tensors_.contains(tensor)) tensors_.prefetch(tensor);
    }
}

void model_directory::set_finite_row(const std::string& name, row_table& table, index i,
                                     std::span<const float> row) const {
    const float* const values = row.data();
    const index n = std::ssize(row);
    int wrong = 0;
#pragma omp simd reduction(| : wrong)
    for (index c = 0; c < n; ++c)
        wrong |= subbit::is_finite(values[c]) ? 0 : 1;
    if (wrong != 0) fail_not_finite(name);
    table.set_row(i, row);
}

void model_directory::fail_not_finite(const std::string& name) const {
    throw subbit::value_error("tensor \"" + name + "\" (" + subbit::shape_text(tensors_.info(name).shape) +
                              ") has entries that are not finite");
}

void model_directory::require_described(const std::string& prefix, const linear_spec& spec, index rows,
                                        index cols) const {
    const std::string name = prefix + spec.name;
    subbit::require_shape(name.c_str(), rows, cols, spec.shape.rows, spec.shape.cols);
    if (tensors_.contains(name + ".bias") != spec.bias)
        throw subbit::format_error("tensor \"" + name + ".bias\" is " + (spec.bias ? "missing" : "there") +
                                   ", which is not what config.json says of the layer");
}

template block<float> model_directory::load_block(const subbit::cpu&, index, block_context<float>&) const;
template block<float> model_directory::load_block(const subbit::cpu&, index, block_context<float>&,
                                                  subbit::streaming_arena&) const;
template row_table model_directory::load_embedding(const subbit::cpu&, row_format) const;
template row_table model_directory::load_head(const subbit::cpu&, row_format) const;
template outer_layers<float> model_directory::load_outer_layers(row_format) const;
template linear_layer<float> model_directory::load_linear(index, const linear_spec&) const;

}  // namespace llama
