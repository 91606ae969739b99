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

/// A directory that gets its name when all of it is there; without commit() nothing is left.
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

/// All tensors, made one at a time while the file is written.
subbit::safetensors_writer dense_tensors(const model_directory& model, subbit::progress& watcher) {
    subbit::safetensors_writer file;
    file.metadata("format", "pt");
    const auto& tensors = model.tensors();
    const auto copy = [&](const std::string& name) {
        file.add_lazily(name, dtype::bf16, tensors.info(name).shape, [&tensors, name] {
            const auto& t = tensors.info(name);
            std::vector<float> values(t.bytes.size() / static_cast<std::size_t>(subbit::size_of(t.type)));
            tensors.read_into(name, std::span<float>(values));
            return subbit::encode_floats<float>(dtype::bf16, values);
        });
    };
    for (const auto& name : tensors.names())
        if (!name.starts_with("model.layers.")) copy(name);
    for (index b = 0; b < model.config().num_hidden_layers; ++b) {
        const std::string prefix = block_prefix(b);
        for (std::size_t k = 0; k < layer_count; ++k) {
            const std::string name = prefix + layer_names[k];
            const bool last = k + 1 == layer_count;
            if (!holds_compressed_layer(tensors, name)) {
                copy(name + ".weight");
            } else {
                const auto shape = shape_of(model.config(), k);
                file.add_lazily(name + ".weight", dtype::bf16, {shape.rows, shape.cols}, [&, name, last, b] {
                    const auto weight =
                        read_compressed_layer<float>(tensors, name).visit_compressed([](const auto& compressed) {
                            return compressed.layer.dense();
                        });
                    if (last)
                        report_step(watcher, "export", static_cast<std::size_t>(b + 1),
                                    static_cast<std::size_t>(model.config().num_hidden_layers), -1);
                    return subbit::encode_floats<float>(dtype::bf16,
                                                        {weight.data(), static_cast<std::size_t>(weight.size())});
                });
            }
            if (tensors.contains(name + ".bias")) copy(name + ".bias");
        }
        copy(prefix + "input_layernorm.weight");
        copy(prefix + "post_attention_layernorm.weight");
    }
    return file;
}

/// config.json for the new element type, and the companions as they are.
void copy_companions(const model_directory& model, const fs::path& out) {
    auto config = model.config().original;
    config["torch_dtype"] = "bfloat16";
    if (config.contains("dtype")) config["dtype"] = "bfloat16";  // its newer name
    subbit::write_file_atomically(out / "config.json", config.dump(2) + "\n");
    for (const auto& from : model.companions())
        fs::copy_file(from, out / from.filename());
}

void export_model(const fs::path& from, const fs::path& to) {
    const model_directory model(from);
    new_directory out(to);
    catch_interrupts();
    {
        console_progress progress({{"export", 1, -1}});
        copy_companions(model, out.path());
        dense_tensors(model, progress).write(out.path() / "model.safetensors");
    }
    const auto size = fs::file_size(out.path() / "model.safetensors");
    out.commit();
    fmt::print("wrote {}: {} of BF16\n", to.string(), bytes_text(size));
}

}  // namespace

void add_export(CLI::App& app) {
    struct export_command {
        fs::path model, out;
    };
    auto command = std::make_shared<export_command>();
    auto* c = app.add_subcommand("export", "Write a compressed model as an ordinary dense BF16 directory");
    c->add_option("DIR", command->model, "Model directory")->required();
    c->add_option("--out", command->out, "New directory")->required()->type_name("DENSE");
    c->callback([command] { export_model(command->model, command->out); });
}

}  // namespace llama
