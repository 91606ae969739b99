#include "model/model_directory.hpp"
#include "program/commands.hpp"
#include "program/console.hpp"

#include <fmt/format.h>
#include <unistd.h>
#include <memory>

namespace llama {

namespace {

namespace fs = std::filesystem;
using subbit::dtype;

/// A directory that gets its name when it is complete; without commit() nothing is left.
class new_directory {
  public:
    explicit new_directory(const fs::path& path)
        : path_((path / "").parent_path()), temporary_(path_.string() + fmt::format(".tmp-{}", ::getpid())) {
        if (fs::exists(path_) && !(fs::is_directory(path_) && fs::is_empty(path_)))
            throw subbit::io_error(path_.string() + " is there already, expected a new or empty directory");
        if (path_.has_parent_path()) fs::create_directories(path_.parent_path());
        fs::create_directory(temporary_);
    }
    new_directory(const new_directory&) = delete;
    new_directory& operator=(const new_directory&) = delete;
    ~new_directory() {
        std::error_code ignored;
        if (!committed_) fs::remove_all(temporary_, ignored);
    }

    const fs::path& path() const { return temporary_; }
    void commit() {
        fs::rename(temporary_, path_);
        committed_ = true;
    }

  private:
    fs::path path_, temporary_;
    bool committed_ = false;
};

/// What a compressed layer stands for, without its bias.
matrix<float> expanded(const subbit::cpu& b, const subbit::low_rank_binary_linear<float>& layer) {
    matrix<float> left = layer.U.unpack<float>(), weight(layer.rows(), layer.cols());
    if (layer.has_mid()) left = left * layer.s_mid.asDiagonal();
    subbit::gemm(b, left, layer.V.unpack<float>(), weight);
    return layer.s_post.asDiagonal() * weight * layer.s_pre.asDiagonal();
}
matrix<float> expanded(const subbit::cpu&, const subbit::residual_binary_linear<float>& layer) {
    return layer.dense();
}

/// A linear layer of a block as a dense weight, (outputs, inputs).
matrix<float> dense_weight(const subbit::cpu& b, const model_directory& model, index block, const linear_spec& spec) {
    auto layer = model.load_linear<float>(block, spec);
    if (layer.is_dense()) return std::move(layer.dense().weight);
    return layer.visit_compressed([&](const auto& compressed) { return expanded(b, compressed.layer); });
}

/// Its bias, or an empty one.
vector<float> bias_of(const subbit::cpu&, const model_directory& model, index block, const linear_spec& spec) {
    auto layer = model.load_linear<float>(block, spec);
    if (layer.is_dense()) return std::move(layer.dense().bias);
    return layer.visit_compressed([](const auto& compressed) { return compressed.layer.bias; });
}

/// The layers of a block that share the tensor of `first`: it alone, but for fused ones.
std::vector<linear_spec> layers_of_tensor(const block_schema& block, const linear_spec& first) {
    std::vector<linear_spec> all;
    std::copy_if(block.linears.begin(), block.linears.end(), std::back_inserter(all),
                 [&](const linear_spec& spec) { return spec.stored_name() == first.stored_name(); });
    return all;
}

/// Where the weights are expanded, and how far their writing is.
struct export_steps {
    const subbit::cpu& backend;
    subbit::progress& watcher;
    std::size_t done = 0, total = 0;
};

std::vector<std::byte> bf16_of(std::span<const float> numbers) {
    return subbit::encode_floats<float>(dtype::bf16, numbers);
}

/// Adds the dense tensors of a block's linear layers as the original has them; `steps` counts the weights and, while
/// the file is written, those that are made.
void add_layers(subbit::safetensors_writer& file, const model_directory& model, index block,
                const std::shared_ptr<export_steps>& steps) {
    for (const auto& spec : model.config().block(block).linears) {
        const auto parts = layers_of_tensor(model.config().block(block), spec);
        if (parts.front().id != spec.id) continue;
        // What part_of(model, block, layer) gives for each of the layers, one below the other.
        const auto rows_of = [&model, block, parts, steps](auto part_of) {
            std::vector<float> numbers;
            for (const auto& part : parts) {
                const auto rows = part_of(steps->backend, model, block, part);
                numbers.insert(numbers.end(), rows.data(), rows.data() + rows.size());
            }
            return bf16_of(numbers);
        };
        const std::string name = block_prefix(block) + spec.stored_name();
        ++steps->total;
        file.add_lazily(name + ".weight", dtype::bf16, {spec.stored_rows(), spec.shape.cols}, [rows_of, steps] {
            report_step(steps->watcher, "export", ++steps->done, steps->total, -1);
            return rows_of(dense_weight);
        });
        if (spec.bias)
            file.add_lazily(name + ".bias", dtype::bf16, {spec.stored_rows()}, [rows_of] { return rows_of(bias_of); });
    }
}

/// All tensors, made one at a time while the file is written; buffers that are no floats keep their type.
subbit::safetensors_writer dense_tensors(const subbit::cpu& backend, const model_directory& model,
                                         subbit::progress& watcher) {
    subbit::safetensors_writer file;
    file.metadata("format", "pt");
    const auto& tensors = model.tensors();
    const auto copy = [&](const std::string& name) {
        const auto& t = tensors.info(name);
        if (!subbit::is_floating(t.type) || is_harmless_buffer(name))
            return file.add_lazily(name, t.type, t.shape,
                                   [&t] { return std::vector<std::byte>(t.bytes.begin(), t.bytes.end()); });
        file.add_lazily(name, dtype::bf16, t.shape, [&tensors, &t, name] {
            std::vector<float> values(t.bytes.size() / static_cast<std::size_t>(subbit::size_of(t.type)));
            tensors.read_into(name, std::span<float>(values));
            return bf16_of(values);
        });
    };
    for (const auto& name : carried_tensors(model.config(), tensors, {0, model.config().num_hidden_layers}))
        copy(name);
    const auto steps = std::make_shared<export_steps>(backend, watcher);
    for (index l = 0; l < model.config().num_hidden_layers; ++l) {
        add_layers(file, model, l, steps);
        for (const auto& norm : model.config().block(l).norms)
            copy(block_prefix(l) + norm.name);
    }
    return file;
}

/// config.json with the new element type, and the other files unchanged.
void copy_companions(const model_directory& model, const fs::path& out) {
    auto config = model.config().original;
    config["torch_dtype"] = "bfloat16";
    if (config.contains("dtype")) config["dtype"] = "bfloat16";  // its newer name
    subbit::write_file_atomically(out / "config.json", config.dump(2) + "\n");
    for (const auto& from : model.companions())
        fs::copy_file(from, out / from.filename());
}

void export_model(const fs::path& from, const fs::path& to, const subbit::cpu& backend) {
    const model_directory model(from);
    new_directory out(to);
    catch_interrupts();
    {
        console_progress progress({{"export", 1, -1}});
        copy_companions(model, out.path());
        dense_tensors(backend, model, progress).write(out.path() / "model.safetensors");
    }
    const auto size = fs::file_size(out.path() / "model.safetensors");
    out.commit();
    fmt::print("wrote {}: {} of BF16\n", to.string(), bytes_text(size));
}

}  // namespace

void add_export(CLI::App& app) {
    struct export_command {
        fs::path model, out;
        machine_options machine;
    };
    auto command = std::make_shared<export_command>();
    auto* c = app.add_subcommand("export", "Write a compressed model as an ordinary dense model in BF16");
    c->add_option("DIR", command->model, "Model directory")->required();
    c->add_option("--out", command->out, "New directory")->required()->type_name("DENSE");
    command->machine.add_to(*c);
    c->callback([command] { export_model(command->model, command->out, command->machine.make()); });
}

}  // namespace llama
