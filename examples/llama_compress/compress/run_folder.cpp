#include "compress/run_folder.hpp"

#include "model/stored_layer.hpp"

#include <subbit/io/atomic_file.hpp>
#include <subbit/io/json.hpp>
#include <subbit/io/mapped_file.hpp>

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>
#include <memory>

namespace llama {

namespace fs = std::filesystem;
using subbit::dtype;
using subbit::safetensors_reader;
using subbit::safetensors_writer;
using subbit::span_of;

folder_lock::folder_lock(const fs::path& folder) : path_(folder / ".lock") {
    std::error_code failure;
    made_ = fs::create_directories(folder, failure);
    if (failure) throw subbit::io_error(folder.string() + ": cannot be created: " + failure.message());
    while (true) {
        descriptor_ = ::open(path_.c_str(), O_CREAT | O_RDWR | O_CLOEXEC, 0644);
        if (descriptor_ < 0) throw subbit::io_error(folder.string() + ": cannot be written to");
        if (::flock(descriptor_, LOCK_EX | LOCK_NB) != 0) {
            ::close(descriptor_);
            throw subbit::io_error(folder.string() + ": another run is writing here");
        }
        // A run that ends removes its file: a lock on a file that no longer has its name excludes nobody.
        struct stat locked {
        }, named{};
        if (::fstat(descriptor_, &locked) == 0 && ::stat(path_.c_str(), &named) == 0 && locked.st_ino == named.st_ino)
            break;
        ::close(descriptor_);
    }
    // Files that a killed run left half-written; no other process is writing here now.
    for (const auto& entry : fs::directory_iterator(folder))
        if (entry.path().filename().string().find(".tmp-") != std::string::npos) fs::remove(entry.path());
}

folder_lock::~folder_lock() {
    ::unlink(path_.c_str());
    ::close(descriptor_);
    if (made_) ::rmdir(path_.parent_path().c_str());  // which fails where there are files
}

std::string bytes_hash(std::span<const std::byte> bytes) {
    std::uint64_t hash = 0xcbf29ce484222325U;
    // Eight bytes a step, since models are large. The hash detects accidental changes, not malicious ones.
    std::size_t i = 0;
    for (; i + 8 <= bytes.size(); i += 8) {
        std::uint64_t word;
        std::memcpy(&word, bytes.data() + i, 8);
        hash = (hash ^ word) * 0x100000001b3U;
        hash ^= hash >> 29;
    }
    for (; i < bytes.size(); ++i)
        hash = (hash ^ static_cast<std::uint64_t>(bytes[i])) * 0x100000001b3U;
    return fmt::format("{:016x}-{}", hash, bytes.size());
}

std::string file_hash(const fs::path& file) {
    return bytes_hash(subbit::mapped_file(file).bytes());
}

std::string differences_of(const nlohmann::json& other, const nlohmann::json& asked, const char* where) {
    std::string text;
    for (const auto& [key, value] : asked.items())
        if (!other.contains(key) || other[key] != value)
            text += fmt::format("{}{}: {} {}, {} asked for", text.empty() ? "" : "; ", key,
                                other.contains(key) ? other[key].dump() : "nothing", where, value.dump());
    return text;
}

namespace {

/// value_error on a rank whose job, or program, is not that of the rank that leads.
void require_one_job(nlohmann::json fingerprint, const subbit::communicator& ranks) {
    if (ranks.is_alone()) return;
    fingerprint["program"] = file_hash("/proc/self/exe");
    std::string of_lead = fingerprint.dump();
    broadcast_all(ranks, of_lead, 0);
    const auto differs = differences_of(nlohmann::json::parse(of_lead), fingerprint, "on rank 0");
    if (!differs.empty())
        throw subbit::value_error(fmt::format("rank {} has another job than rank 0 ({})", ranks.rank(), differs));
    ranks.barrier();  // before anything is written
}

}  // namespace

run_folder::run_folder(const fs::path& out, nlohmann::json fingerprint, const subbit::communicator& ranks)
    : path_(out / "run"), fingerprint_(std::move(fingerprint)), ranks_(ranks) {
    require_one_job(fingerprint_, ranks);
    if (!ranks.leads() || !has_results()) return;
    const auto differs = differences_of(subbit::read_json(path_ / "run.json"), fingerprint_);
    if (!differs.empty()) throw subbit::value_error(path_.string() + " belongs to another run (" + differs + ")");
}

void run_folder::begin() const {
    if (!ranks_.leads() || has_results()) return;
    std::error_code failure;
    fs::remove_all(path_, failure);  // what a run left that was killed before it had anything, or while it ended
    fs::create_directories(path_, failure);
    if (failure) throw subbit::io_error(path_.string() + ": cannot be created: " + failure.message());
    subbit::write_file_atomically(path_ / "run.json", fingerprint_.dump(2) + "\n");
}

void run_folder::leave() const {
    if (!has_results()) remove();
}

namespace {

void add_vector(safetensors_writer& file, const std::string& name, std::span<const float> values) {
    file.add(name, {std::ssize(values)}, values);
}

/// Calls f(name, moments) for the moments of every layer's inputs and output gradients.
template <class Moments, class F>
void visit_moments(const model_config& config, Moments& moments, F&& f) {
    for (std::size_t l = 0; l < moments.size(); ++l) {
        const auto number = static_cast<index>(l);
        for (const auto& linear : config.block(number).linears) {
            auto& [input, output] = moments[l][linear.id];
            f(block_prefix(number) + linear.name + ".input", input);
            f(block_prefix(number) + linear.name + ".output", output);
        }
    }
}

}  // namespace

bool run_folder::has_moments() const {
    return agreed(ranks_, [&] { return has_results(); });
}

void run_folder::save_moments(const model_config& config, const std::vector<block_moments<float>>& moments) const {
    if (!ranks_.leads()) return;
    safetensors_writer file;
    visit_moments(config, moments,
                  [&](const std::string& name, const auto& values) { add_vector(file, name, span_of(values)); });
    file.write(moments_file());
}

std::vector<block_moments<float>> run_folder::load_moments(const model_config& config) const {
    const shared_tensors file(moments_file(), ranks_);
    std::vector<block_moments<float>> moments(config.blocks.size());
    visit_moments(config, moments,
                  [&](const std::string& name, auto& values) { values = file.tensors().read_vector<float>(name); });
    return moments;
}

bool run_folder::has_rank_costs() const {
    return agreed(ranks_, [&] { return fs::exists(path_ / "rank_costs.json"); });
}

void run_folder::save_rank_costs(const rank_costs& costs) const {
    if (ranks_.leads()) subbit::write_file_atomically(path_ / "rank_costs.json", to_json(costs).dump(2) + "\n");
}

rank_costs run_folder::load_rank_costs() const {
    return rank_costs_from(shared_json(path_ / "rank_costs.json"));
}

bool run_folder::has_sample() const {
    return agreed(ranks_, [&] { return fs::exists(path_ / "sample.json"); });
}

void run_folder::save_sample(const window_list& windows) const {
    if (ranks_.leads()) subbit::write_file_atomically(path_ / "sample.json", nlohmann::json(windows).dump() + "\n");
}

window_list run_folder::load_sample() const {
    return shared_json(path_ / "sample.json").get<window_list>();
}

fs::path run_folder::block_file(index number, const char* extension) const {
    return path_ / fmt::format("block-{:04}.{}", number, extension);
}

bool run_folder::has_block(index number) const {
    return agreed(ranks_, [&] { return fs::exists(block_file(number, "json")); });
}

void run_folder::save_block(index number, const block_weights<float>& blk, subbit::scale_format scales,
                            bool with_latents, const nlohmann::json& report) const {
    if (!ranks_.leads()) return;
    safetensors_writer file;
    blk.visit(
        [&](const linear_spec& spec, const linear_layer<float>& layer) {
            add_compressed_layer(file, spec.name, layer, scales);
            if (!with_latents) return;
            layer.visit_compressed([&](const auto& compressed) {
                compressed.visit_latents([&](const std::string& name, const matrix<float>& latent) {
                    file.add(spec.name + "." + name, view(latent), dtype::f32);
                });
            });
        },
        [&](const norm_spec& spec, const vector<float>& weight) { add_vector(file, spec.name, span_of(weight)); });
    file.write(block_file(number, "safetensors"));
    // The report comes last: it is what says that the block is finished.
    subbit::write_file_atomically(block_file(number, "json"), report.dump(2) + "\n");
}

namespace {

void read_latents(const safetensors_reader& file, const std::string& layer, subbit::binary_linear<float>& binary) {
    if (!file.contains(layer + ".U_latent")) return;
    binary.U_latent = file.read_matrix<float>(layer + ".U_latent");
    binary.V_latent = file.read_matrix<float>(layer + ".V_latent");
}

void read_latents(const safetensors_reader& file, const std::string& layer, subbit::residual_linear<float>& residual) {
    for (int p = 0; file.contains(fmt::format("{}.latent{}", layer, p)); ++p)
        residual.latents.push_back(file.read_matrix<float>(fmt::format("{}.latent{}", layer, p)));
}

block_weights<float> read_block(const safetensors_reader& file, const block_schema& schema) {
    block_weights<float> blk{&schema};
    blk.visit(
        [&](const linear_spec& spec, linear_layer<float>& layer) {
            layer = read_compressed_layer<float>(file, spec.name);
            layer.visit_compressed([&](auto& compressed) { read_latents(file, spec.name, compressed); });
        },
        [&](const norm_spec& spec, vector<float>& weight) { weight = file.read_vector<float>(spec.name); });
    return blk;
}

}  // namespace

block_weights<float> run_folder::load_block(index number, const block_schema& schema) const {
    return read_block(shared_tensors(block_file(number, "safetensors"), ranks_).tensors(), schema);
}

void run_folder::add_block(safetensors_writer& model, index number) const {
    const auto file = std::make_shared<const safetensors_reader>(block_file(number, "safetensors"));
    const std::string prefix = block_prefix(number);
    for (const auto& [key, value] : file->metadata()) {
        if (key == subbit::packed_format_key)
            subbit::set_packed_version(model, value);
        else
            model.metadata(prefix + key, value);
    }
    for (const auto& name : file->names()) {
        if (name.find("_latent") != std::string::npos || name.find(".latent") != std::string::npos) continue;
        const auto& tensor = file->info(name);
        model.add_lazily(prefix + name, tensor.type, tensor.shape, [file, &tensor] {
            std::vector<std::byte> bytes(tensor.bytes.begin(), tensor.bytes.end());
            file->release();
            return bytes;
        });
    }
}

nlohmann::json run_folder::shared_json(const fs::path& file) const {
    std::string text = ranks_.leads() ? subbit::read_json(file).dump() : "";
    broadcast_all(ranks_, text, 0);
    return nlohmann::json::parse(text);
}

nlohmann::json run_folder::load_report(index number) const {
    return shared_json(block_file(number, "json"));
}

bool run_folder::has_distillation() const {
    return agreed(ranks_, [&] { return fs::exists(distillation_file()); });
}

void run_folder::add_lazily(safetensors_writer& file, const std::string& name, index size,
                            std::function<std::vector<float>()> values) {
    if (size == 0) return;
    file.add_lazily(name, dtype::f32, {size}, [values = std::move(values)] {
        const std::vector<float> numbers = values();
        const auto bytes = std::as_bytes(std::span(numbers));
        return std::vector<std::byte>(bytes.begin(), bytes.end());
    });
}

void run_folder::save_state(safetensors_writer& file, const subbit::distillation_state<float>& state,
                            const nlohmann::json& probes) const {
    const auto add = [&](const std::string& name, const std::vector<float>& values) {
        add_lazily(file, name, std::ssize(values), [&values] { return values; });
    };
    for (std::size_t i = 0; i < state.moments.size(); ++i) {
        add(fmt::format("moments.{}.first", i), state.moments[i].first);
        add(fmt::format("moments.{}.second", i), state.moments[i].second);
    }
    const nlohmann::json numbers = {{"steps_done", state.steps_done}, {"epoch_loss", state.epoch_loss},
                                    {"curve", state.curve},           {"held_back", state.held_back},
                                    {"peak_rates", state.peak_rates}, {"probes", probes}};
    file.metadata("state", numbers.dump());
    file.write(distillation_file());
}

subbit::distillation_state<float> run_folder::load_state(const safetensors_reader& file, nlohmann::json& probes) const {
    const auto numbers = subbit::parse_json(file.metadata().at("state"), path_.string());
    subbit::distillation_state<float> state;
    state.steps_done = numbers.at("steps_done");
    state.epoch_loss = numbers.at("epoch_loss");
    state.curve = numbers.at("curve").get<std::vector<double>>();
    state.held_back = numbers.at("held_back").get<std::vector<double>>();
    state.peak_rates = numbers.at("peak_rates").get<std::vector<double>>();
    probes = numbers.at("probes");
    const auto moment = [&](const std::string& name) {
        if (!file.contains(name)) return std::vector<float>();
        const auto values = file.read_vector<float>(name);
        return std::vector<float>(values.begin(), values.end());
    };
    for (std::size_t i = 0; file.contains(fmt::format("moments.{}.first", i)); ++i)
        state.moments.push_back(
            {moment(fmt::format("moments.{}.first", i)), moment(fmt::format("moments.{}.second", i))});
    return state;
}

void run_folder::save_seconds(const run_seconds& seconds) const {
    if (!ranks_.leads() || !has_results()) return;
    subbit::write_file_atomically(path_ / "seconds.json",
                                  nlohmann::json{{"total", seconds.total}, {"phases", seconds.phases}}.dump(2) + "\n");
}

run_folder::run_seconds run_folder::load_seconds() const {
    const fs::path file = path_ / "seconds.json";
    if (!ranks_.leads() || !fs::exists(file)) return {};
    const auto numbers = subbit::read_json(file);
    return {numbers.at("total").get<double>(), numbers.at("phases").get<subbit::phase_seconds>()};
}

void run_folder::remove() const {
    if (!ranks_.leads()) return;
    std::error_code ignored;              // what is left behind is only space
    fs::remove(moments_file(), ignored);  // first: a run that is killed now leaves a folder without results
    fs::remove_all(path_, ignored);
}

}  // namespace llama
