#include "compress/report.hpp"

#include "tokenizer/utf8.hpp"

#include <subbit/io/atomic_file.hpp>
#include <subbit/io/mapped_file.hpp>
#include <subbit/version.hpp>

namespace llama {

namespace fs = std::filesystem;
using nlohmann::json;

json to_json(const subbit::block_report& r) {
    json layers = json::array();
    for (const auto& l : r.layers)
        layers.push_back({{"name", l.name},
                          {"rows", l.rows},
                          {"cols", l.cols},
                          {"rank", l.rank},
                          {"paths", l.paths},
                          {"bits_per_weight", l.bits_per_weight},
                          {"error_after_factorization", l.factor_error},
                          {"error_after_tuning", l.tuned_error},
                          {"signs_flipped", l.flipped},
                          {"seconds", l.seconds}});
    return {{"layers", layers},
            {"block_error_after_factorization", r.factor_error},
            {"block_error_after_tuning", r.tuned_error},
            {"weight_tuning_curve", r.tune_weights.epochs},
            {"binary_tuning_curve", r.tune_binary.epochs},
            {"binary_tuning_held_back", r.tune_binary.held_back},
            {"seconds", r.seconds},
            {"phases", r.phases}};
}

json report_seconds(double total, const subbit::phase_seconds& phases) {
    json seconds = {{"total", total}, {"phases", json::object()}};
    for (const auto& [name, value] : phases) {
        const auto colon = name.find(": ");
        const std::string part = name.substr(0, colon);
        const double before = seconds.value(part, 0.0);
        seconds[part] = before + value;
        if (colon != std::string::npos) seconds["phases"][part][name.substr(colon + 2)] = value;
    }
    return seconds;
}

json make_report(const compress_job& job, const model_directory& model, const std::vector<json>& blocks,
                 const std::vector<double>& distillation_curve, const json& seconds) {
    json settings = {{"recipe", job.options.recipe}};
    compress_options::visit(job.options,
                            [&](const char* name, const auto& value, const char*) { settings[name] = value; });
    double bits = 0, weights = 0;
    for (const auto& b : blocks)
        for (const auto& l : b["layers"]) {
            const double n = l["rows"].get<double>() * l["cols"].get<double>();
            weights += n;
            bits += n * l["bits_per_weight"].get<double>();
        }
    return {{"program", "llama_compress"},
            {"model", file_name_of(fs::weakly_canonical(model.path()))},
            {"text", file_name_of(job.text)},
            {"settings", settings},
            {"totals",
             {{"bits_per_weight_asked", job.options.bits},
              {"bits_per_weight", weights > 0 ? bits / weights : 0.0},
              {"factorized_weights", weights},
              {"factorized_bytes", bits / 8}}},
            {"seconds", seconds},
            {"distillation_curve", distillation_curve},
            {"blocks", blocks}};
}

std::string file_name_of(const fs::path& path) {
    return valid_utf8(path.filename().string());
}

void add_block_tensors(subbit::safetensors_writer& file, index number, const block_weights<float>& blk,
                       subbit::scale_format scales) {
    const std::string prefix = block_prefix(number);
    blk.visit([&](const linear_spec& spec,
                  const linear_layer<float>& layer) { add_compressed_layer(file, prefix + spec.name, layer, scales); },
              [&](const norm_spec& spec, const vector<float>& weight) {
                  file.add(prefix + spec.name, {weight.size()}, subbit::span_of(weight));
              });
}

namespace {

void copy_atomically(const fs::path& from, const fs::path& to) {
    const subbit::mapped_file file(from);
    subbit::atomic_file copy(to);
    copy.write(file.bytes());
    copy.commit();
}

}  // namespace

std::size_t write_model(const fs::path& out, const model_directory& original, subbit::unit_range compressed,
                        const std::function<void(subbit::safetensors_writer&, index)>& add_block) {
    subbit::safetensors_writer file;
    for (const auto& [key, value] : original.tensors().metadata())
        file.metadata(key, value);
    file.metadata("format", "subbit");
    // Tensors that are not factorized keep their type and bytes; norms are written again, since they may have been
    // tuned.
    for (const auto& name : carried_tensors(original.config(), original.tensors(), compressed)) {
        const auto& tensor = original.tensors().info(name);
        file.add_lazily(name, tensor.type, tensor.shape, [&original, &tensor] {
            std::vector<std::byte> bytes(tensor.bytes.begin(), tensor.bytes.end());
            original.tensors().release();
            return bytes;
        });
    }
    for (index l = compressed.first; l < compressed.last; ++l)
        add_block(file, l);
    copy_atomically(original.path() / "config.json", out / "config.json");
    for (const auto& from : original.companions())
        copy_atomically(from, out / from.filename());
    file.write(out / "model.safetensors");
    return fs::file_size(out / "model.safetensors");
}

void write_report(const fs::path& out, const json& report) {
    subbit::write_file_atomically(out / "report.svg", draw_report(report));
    subbit::write_file_atomically(out / "report.json", report.dump(2) + "\n");
}

}  // namespace llama
