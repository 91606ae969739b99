// The main job, step by step: calibrate, compress block after block, distill, write.
#pragma once

#include "compress/options.hpp"
#include "compress/rank_choice.hpp"

#include "model/evaluation.hpp"

#include <subbit/core/progress.hpp>
#include <subbit/distribute/shares.hpp>

#include <filesystem>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

namespace llama {

/// A job of `compress`.
struct compress_job {
    std::filesystem::path model, text, out;
    compress_options options;
    text_reading reading;                            ///< of both texts
    bool on_cuda = false;                            ///< on the first NVIDIA GPU; else on the processor
    int threads = 0;                                 ///< of this rank; 0: all of the processor
    int ranks = 1;                                   ///< for the estimate
    std::optional<std::filesystem::path> test_text;  ///< its perplexity goes into the report
    index test_context = 512;
    index test_windows = 32;
    bool keep_run = false;                           ///< leaves the run's folder in place at the end
    bool replace = false;                            ///< a finished run of another job in `out` may be replaced
    std::size_t state_bytes = std::size_t{4} << 30;  ///< of hidden states in memory; beyond that they are in a file
};

/// A part of a job that reports its steps under one name.
struct planned_phase {
    std::string what;    ///< as progress::step will call it
    double seconds = 0;  ///< expected
    index block = -1;    ///< the block it belongs to, or -1
};

/// The estimate of a job, before it starts.
struct compress_estimate {
    std::vector<std::string> layers;  ///< the names of a block's linear layers
    std::vector<index> ranks;         ///< of each; zeros with rabit
    index paths = 0;                  ///< of every layer; 0 without rabit
    double bits_per_weight = 0;
    std::size_t file_bytes = 0;
    std::size_t memory_bytes = 0;
    std::size_t disk_bytes = 0;  ///< while running, the result included
    double seconds = 0;
    std::vector<planned_phase> plan;  ///< in order; together `seconds`
    double gflops = 0;                ///< of the matrix products while tuning, measured now
    index calibration_windows = 0, distillation_windows = 0, text_tokens = 0;
    std::vector<std::string> remarks;  ///< what a user may not expect, in whole sentences
};

/// Checks the whole job against the model and text, and estimates its time on this machine: from a short trial product,
/// or on a GPU by timing the job's pieces.
compress_estimate estimate(const compress_job& job);

/// The blocks that the options name, all by default; value_error if the model has no such blocks, or one of them is
/// compressed already.
subbit::unit_range blocks_to_compress(const model_directory& model, const compress_options& options);

/// Throws value_error if a text of so many tokens is too short for the job.
void require_tokens(const compress_job& job, index present);

/// Runs the job, or resumes it, together with the other ranks; returns the report, complete on the rank that leads.
/// Every file of job.out appears by a rename.
nlohmann::json compress(const compress_job& job, subbit::progress& watcher,
                        const subbit::communicator& ranks = subbit::this_process_alone());

}  // namespace llama
