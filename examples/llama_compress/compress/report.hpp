// What a run writes: report.json, a picture of it, and the compressed model.
#pragma once

#include "compress/compress.hpp"

#include "model/model_directory.hpp"

#include <subbit/recon/block_reconstruction.hpp>

#include <functional>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

namespace llama {

/// One block's part of the report.
nlohmann::json to_json(const subbit::block_report& report);

/// Seconds in the report's form: "total", the sum of each part, and in "phases" the phases of each part. The names of
/// `phases` are "part: phase", or "part".
nlohmann::json report_seconds(double total, const subbit::phase_seconds& phases);

/// The last part of a path as text that is UTF-8, whatever the file system has.
std::string file_name_of(const std::filesystem::path& path);

/// The whole report: settings, per-layer rows, loss curves, bits, seconds.
nlohmann::json make_report(const compress_job& job, const model_directory& model,
                           const std::vector<nlohmann::json>& blocks, const std::vector<double>& distillation_curve,
                           const nlohmann::json& seconds);

/// Writes config, tokenizer and tensors: of the blocks `compressed` what `add_block` adds, all others as they are.
/// Returns the bytes of model.safetensors.
std::size_t write_model(const std::filesystem::path& out, const model_directory& original,
                        subbit::unit_range compressed,
                        const std::function<void(subbit::safetensors_writer&, index)>& add_block);

/// Adds a block's compressed layers and its norms to a model's file.
void add_block_tensors(subbit::safetensors_writer& file, index number, const block_weights<float>& blk,
                       subbit::scale_format scales);

/// Writes report.svg and report.json.
void write_report(const std::filesystem::path& out, const nlohmann::json& report);

/// The picture of a report: error per layer and stage, and loss curves (SVG).
std::string draw_report(const nlohmann::json& report);

}  // namespace llama
