// The main job on an NVIDIA GPU. Where the program was built without CUDA, each throws device_error and says so.
#pragma once

#include "compress/compress.hpp"

namespace llama {

/// compress() on a GPU, each rank of a machine on one of its own; device_error where there is none, or it fails.
nlohmann::json compress_on_cuda(const compress_job& job, subbit::progress& watcher, const subbit::communicator& ranks);

/// measure_rate() of the first GPU; device_error likewise.
double measure_rate_on_cuda(const compress_options& options);

/// The expected seconds of every phase of a job on the first GPU, by a trial of its pieces; device_error likewise.
std::vector<planned_phase> plan_on_cuda(const compress_job& job, const std::vector<index>& ranks);

}  // namespace llama
