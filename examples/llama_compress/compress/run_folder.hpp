// The folder of an unfinished run: what was computed so far, and a fingerprint of the job that it belongs to. A file is
// complete or not there at all, so a run that was killed at any moment resumes from its last finished file.
#pragma once

#include "compress/calibration.hpp"
#include "compress/rank_choice.hpp"
#include "compress/shared_files.hpp"
#include "model/block.hpp"

#include <subbit/io/safetensors.hpp>
#include <subbit/recon/model_reconstruction.hpp>

#include <filesystem>
#include <functional>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

namespace llama {

/// Makes the folder if it is not there, locks it for this process, and unlocks it at the end, when a folder that it
/// made and that is empty goes again. io_error if the folder cannot be made, or another process has locked it.
class folder_lock {
  public:
    explicit folder_lock(const std::filesystem::path& folder);
    ~folder_lock();
    folder_lock(const folder_lock&) = delete;
    folder_lock& operator=(const folder_lock&) = delete;

  private:
    std::filesystem::path path_;
    bool made_ = false;  // the folder itself
    int descriptor_ = -1;
};

/// A 64-bit hash (FNV-1a) of bytes and their number, in hexadecimal.
std::string bytes_hash(std::span<const std::byte> bytes);
/// The same of a file's bytes.
std::string file_hash(const std::filesystem::path& file);

/// The entries in which a job differs from another, as "bits: 1.0 there, 0.5 asked for"; empty where they do not.
std::string differences_of(const nlohmann::json& other, const nlohmann::json& asked, const char* where = "there");

/// OUT/run and its files, which the rank that leads writes. What one rank reads, all read: together they ask for it,
/// and those that do not see the folder are sent the file.
class run_folder {
  public:
    /// Opens the folder. Throws value_error naming the entries that differ unless the fingerprints of all ranks, and of
    /// a run there that has done something, are `fingerprint`.
    run_folder(const std::filesystem::path& out, nlohmann::json fingerprint,
               const subbit::communicator& ranks = subbit::this_process_alone());

    const nlohmann::json& fingerprint() const { return fingerprint_; }

    /// Makes the folder, if it has nothing of a run yet.
    void begin() const;
    /// Removes the folder if it has nothing of a run: one that has done nothing leaves nothing.
    void leave() const;

    /// What `--ranks model` has measured.
    bool has_rank_costs() const;
    void save_rank_costs(const rank_costs& costs) const;
    rank_costs load_rank_costs() const;

    /// The windows that the original has written.
    bool has_sample() const;
    void save_sample(const window_list& windows) const;
    window_list load_sample() const;

    bool has_moments() const;
    void save_moments(const model_config& config, const std::vector<block_moments<float>>& moments) const;
    std::vector<block_moments<float>> load_moments(const model_config& config) const;

    bool has_block(index number) const;
    /// Saves packed layers, norms, and on request latents; then the block's report.
    void save_block(index number, const block_weights<float>& blk, subbit::scale_format scales, bool with_latents,
                    const nlohmann::json& report) const;
    /// The packed layers of the file, with latents if the file has them.
    block_weights<float> load_block(index number, const block_schema& schema) const;
    /// Adds a block's tensors but its latents to the model's file, each read while it is written; for the rank that
    /// leads.
    void add_block(subbit::safetensors_writer& model, index number) const;
    nlohmann::json load_report(index number) const;

    /// The best state of the student so far, by its held-back windows.
    template <class B>
    void save_best(const B& b, std::vector<block<float, memory_of<B>>>& student) const {
        if (!ranks_.leads()) return;
        subbit::safetensors_writer file;
        add_student(b, file, student);
        file.write(best_file());
    }
    template <class B>
    void load_best(const B& b, std::vector<block<float, memory_of<B>>>& student) const {
        ranks_.barrier();  // until it is written
        read_student(b, shared_tensors(best_file(), ranks_).tensors(), student);
    }

    bool has_distillation() const;
    /// `probes`: the measurements of the paths so far, for the report.
    template <class B>
    void save_distillation(const B& b, const subbit::distillation_state<float>& state,
                           std::vector<block<float, memory_of<B>>>& student, const nlohmann::json& probes) const {
        if (!ranks_.leads()) return;
        subbit::safetensors_writer file;
        add_student(b, file, student);
        save_state(file, state, probes);
    }
    template <class B>
    subbit::distillation_state<float> load_distillation(const B& b, std::vector<block<float, memory_of<B>>>& student,
                                                        nlohmann::json& probes) const {
        const shared_tensors shared(distillation_file(), ranks_);
        read_student(b, shared.tensors(), student);
        return load_state(shared.tensors(), probes);
    }

    /// The seconds that the processes of this run have taken so far, in total and by the names of phases.
    struct run_seconds {
        double total = 0;
        subbit::phase_seconds phases;
    };
    void save_seconds(const run_seconds& seconds) const;
    run_seconds load_seconds() const;

    /// Removes the folder and what is in it.
    void remove() const;

  private:
    /// Every number that distillation may have moved, in a fixed order.
    template <class Block, class F>
    static void visit_student(std::vector<Block>& student, F&& f) {
        for (std::size_t l = 0; l < student.size(); ++l) {
            const std::string prefix = block_prefix(static_cast<index>(l));
            student[l].visit(
                [&](const linear_spec& spec, auto& layer) {
                    const std::string name = prefix + spec.name + ".";
                    if (layer.is_dense()) return;  // a block that is not compressed
                    layer.visit_compressed([&](auto& compressed) {
                        compressed.visit_scales(
                            [&](const std::string& part, std::span<float> v) { f(name + part, v); });
                        compressed.visit_latents(
                            [&](const std::string& part, auto& latent) { f(name + part, subbit::entries(latent)); });
                    });
                },
                [&](const norm_spec& spec, auto& weight) { f(prefix + spec.name, span_of(weight)); });
        }
    }
    /// Latents and moments are large: each is copied while it is written, not before.
    template <class B>
    static void add_student(const B& b, subbit::safetensors_writer& file,
                            std::vector<block<float, memory_of<B>>>& student) {
        visit_student(student, [&](const std::string& name, std::span<float> values) {
            add_lazily(file, name, std::ssize(values), [&b, values] {
                const auto host = subbit::download(b, values);
                return std::vector<float>(host.begin(), host.end());
            });
        });
    }
    template <class B>
    static void read_student(const B& b, const subbit::safetensors_reader& file,
                             std::vector<block<float, memory_of<B>>>& student) {
        visit_student(student, [&](const std::string& name, std::span<float> values) {
            std::vector<float> numbers(values.size());
            file.read_into(name, std::span<float>(numbers));
            subbit::upload(b, std::span<const float>(numbers), values);
        });
    }
    static void add_lazily(subbit::safetensors_writer& file, const std::string& name, index size,
                           std::function<std::vector<float>()> values);
    void save_state(subbit::safetensors_writer& file, const subbit::distillation_state<float>& state,
                    const nlohmann::json& probes) const;
    subbit::distillation_state<float> load_state(const subbit::safetensors_reader& file, nlohmann::json& probes) const;

    std::filesystem::path moments_file() const { return path_ / "moments.safetensors"; }
    std::filesystem::path best_file() const { return path_ / "best.safetensors"; }
    std::filesystem::path distillation_file() const { return path_ / "distillation.safetensors"; }
    std::filesystem::path block_file(index number, const char* extension) const;
    /// What a file of the leading rank holds, for all.
    nlohmann::json shared_json(const std::filesystem::path& file) const;
    /// The leading rank's folder has results of a run.
    bool has_results() const { return std::filesystem::exists(moments_file()); }
    std::filesystem::path path_;
    nlohmann::json fingerprint_;
    const subbit::communicator& ranks_;
};

}  // namespace llama
