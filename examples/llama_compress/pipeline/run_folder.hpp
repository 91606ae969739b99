// The folder of an unfinished run: what was computed so far, and the fingerprint that says whose it is. A file is there
// whole or not at all, so a run that was killed at any moment goes on from its last finished file.
#pragma once

#include "../model/block.hpp"
#include "calibration.hpp"

#include <subbit/recon/model_reconstruction.hpp>

#include <filesystem>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

namespace llama {

/// Takes the folder for this process alone, and gives it back at the end; throws io_error when another one has it.
class folder_lock {
  public:
    explicit folder_lock(const std::filesystem::path& folder);
    ~folder_lock();
    folder_lock(const folder_lock&) = delete;
    folder_lock& operator=(const folder_lock&) = delete;

  private:
    std::filesystem::path path_;
    int descriptor_ = -1;
};

/// A 64-bit hash (FNV-1a) of a file's bytes, in hexadecimal.
std::string file_hash(const std::filesystem::path& file);

/// OUT/run and its files.
class run_folder {
  public:
    /// Creates the folder, or continues the one that is there: its fingerprint must be `fingerprint`, or value_error
    /// says which entries differ.
    run_folder(const std::filesystem::path& out, const nlohmann::json& fingerprint);

    bool has_moments() const;
    void save_moments(const std::vector<block_moments<float>>& moments) const;
    std::vector<block_moments<float>> load_moments(index blocks) const;

    bool has_block(index number) const;
    /// Packed layers, norms, and latents where they are given; then the block's report.
    void save_block(index number, block<float>& blk, bool with_latents, const nlohmann::json& report) const;
    /// Replaces the dense layers of `blk` by the packed ones of the file, with latents where it holds them.
    void load_block(index number, block<float>& blk) const;
    nlohmann::json load_report(index number) const;

    bool has_distillation() const;
    /// `probes`: what the report will say of the paths so far.
    void save_distillation(const subbit::distillation_state<float>& state, std::vector<block<float>>& student,
                           const nlohmann::json& probes) const;
    subbit::distillation_state<float> load_distillation(std::vector<block<float>>& student,
                                                        nlohmann::json& probes) const;

    /// Removes the folder and what is in it.
    void remove() const;

  private:
    std::filesystem::path block_file(index number, const char* extension) const;
    std::filesystem::path path_;
};

}  // namespace llama
