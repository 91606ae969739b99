#include "model/model_directory.hpp"
#include "program/commands.hpp"
#include "program/console.hpp"

#include <fmt/format.h>
#include <memory>

namespace llama {

namespace {

/// The storage of one linear layer.
struct layer_row {
    index block = 0;
    std::string name;
    layer_shape shape{};
    index rank = 0;      // of a low-rank layer
    index paths = 0;     // of a residual layer
    double bits = 0;     // signs and scales, or the dense elements
    std::string stored;  // "signs, 2 scales" or the dense type
};

layer_row row_of(const model_directory& model, index block, const linear_spec& layer) {
    layer_row row{block, layer.name, layer.shape, 0, 0, 0, {}};
    const std::string name = block_prefix(block) + row.name;
    const double weights = static_cast<double>(row.shape.rows) * static_cast<double>(row.shape.cols);
    if (subbit::holds_packed_layer(model.tensors(), name)) {
        const auto packed = subbit::read_packed_layer<float>(model.tensors(), name);
        row.rank = packed.rank();
        row.bits = packed.storage_bits(subbit::stored_scales(model.tensors(), name));
        row.stored = packed.s_mid.size() != 0 ? "signs, 3 scales" : "signs, 2 scales";
    } else if (subbit::holds_residual_layer(model.tensors(), name)) {
        const auto residual = subbit::read_residual_layer<float>(model.tensors(), name);
        row.paths = residual.path_count();
        row.bits = residual.storage_bits(subbit::stored_scales(model.tensors(), name));
        row.stored = fmt::format("{} sign matri{}", row.paths, row.paths == 1 ? "x" : "ces");
    } else {
        const std::string weight = block_prefix(block) + layer.stored_name() + ".weight";
        model.tensors().expect_shape(weight, {layer.stored_rows(), row.shape.cols});
        const auto type = model.tensors().info(weight).type;
        row.bits = 8.0 * static_cast<double>(subbit::size_of(type)) * weights;
        row.stored = subbit::name_of(type);
    }
    return row;
}

/// A whole model's sizes.
struct model_sizes {
    std::vector<layer_row> layers;
    double block_weights = 0, block_bits = 0;
    double parameters = 0;        // of the original, blocks and all
    std::size_t file_bytes = 0;   // of the tensors' files
    std::size_t dense_bytes = 0;  // the original in BF16
};

model_sizes measure(const model_directory& model) {
    model_sizes s;
    double others = 0;
    for (index b = 0; b < model.config().num_hidden_layers; ++b) {
        for (const auto& linear : model.config().block(b).linears) {
            s.layers.push_back(row_of(model, b, linear));
            const auto& row = s.layers.back();
            s.block_weights += static_cast<double>(row.shape.rows) * static_cast<double>(row.shape.cols);
            s.block_bits += row.bits;
            if (linear.bias) others += static_cast<double>(row.shape.rows);
        }
        for (const auto& norm : model.config().block(b).norms)
            others += static_cast<double>(norm.size);
    }
    const double width = static_cast<double>(model.config().hidden_size);
    others += width + width * static_cast<double>(model.config().vocab_size) *
                          (model.config().tie_word_embeddings ? 1 : 2);  // final norm, embedding, head
    s.parameters = s.block_weights + others;
    s.dense_bytes = static_cast<std::size_t>(2 * s.parameters);
    for (const auto& entry : std::filesystem::directory_iterator(model.path()))
        if (entry.is_regular_file() && entry.path().extension() == ".safetensors") s.file_bytes += entry.file_size();
    return s;
}

void print_json(const model_sizes& s) {
    nlohmann::json layers = nlohmann::json::array();
    for (const auto& row : s.layers)
        layers.push_back({{"block", row.block},
                          {"name", row.name},
                          {"rows", row.shape.rows},
                          {"cols", row.shape.cols},
                          {"rank", row.rank},
                          {"paths", row.paths},
                          {"stored", row.stored},
                          {"bits_per_weight",
                           row.bits / (static_cast<double>(row.shape.rows) * static_cast<double>(row.shape.cols))}});
    fmt::print("{}\n", nlohmann::json{{"layers", layers},
                                      {"block_weights", s.block_weights},
                                      {"bits_per_weight", s.block_bits / s.block_weights},
                                      {"parameters", s.parameters},
                                      {"bits_per_parameter", 8.0 * static_cast<double>(s.file_bytes) / s.parameters},
                                      {"file_bytes", s.file_bytes},
                                      {"dense_bf16_bytes", s.dense_bytes}}
                           .dump(2));
}

void print_table(const model_sizes& s) {
    fmt::print("{:>5}  {:<18} {:>13} {:>6} {:>7}  {}\n", "block", "layer", "shape", "rank", "bpw", "stored");
    for (const auto& row : s.layers)
        fmt::print("{:>5}  {:<18} {:>13} {:>6} {:>7.3f}  {}\n", row.block, row.name,
                   subbit::shape_text(row.shape.rows, row.shape.cols), row.rank > 0 ? std::to_string(row.rank) : "-",
                   row.bits / (static_cast<double>(row.shape.rows) * static_cast<double>(row.shape.cols)), row.stored);
    fmt::print("\nblocks: {:.1f} M weights at {:.3f} bits\n", s.block_weights / 1e6, s.block_bits / s.block_weights);
    fmt::print("model:  {:.1f} M parameters, {} on disk ({:.2f} bits each), {} in dense BF16: {:.1f} times as much\n",
               s.parameters / 1e6, bytes_text(s.file_bytes), 8.0 * static_cast<double>(s.file_bytes) / s.parameters,
               bytes_text(s.dense_bytes), static_cast<double>(s.dense_bytes) / static_cast<double>(s.file_bytes));
}

}  // namespace

void add_inspect(CLI::App& app) {
    struct inspect_command {
        std::filesystem::path model;
        bool json = false;
    };
    auto command = std::make_shared<inspect_command>();
    auto* c = app.add_subcommand("inspect", "Shapes, ranks and bits of a model, and its size");
    c->add_option("DIR", command->model, "Model directory")->required();
    c->add_flag("--json", command->json, "Print JSON");
    c->callback([command] {
        const auto sizes = measure(model_directory(command->model));
        command->json ? print_json(sizes) : print_table(sizes);
    });
}

}  // namespace llama
