#include "compress/compress_cuda.hpp"

#include "compress/compression.hpp"
#include "compress/rate.hpp"
#include "compress/trial.hpp"
#include "gpu/attention.hpp"
#include "gpu/gate.hpp"
#include "gpu/gpu_of_rank.cuh"
#include "gpu/norm.hpp"

#include <subbit/backend/cuda.cuh>

namespace llama {

namespace {

/// bf16 products of the options are TF32 products here: both round to fewer bits and accumulate in float32.
subbit::cuda backend_of(const compress_options& options,
                        const subbit::communicator& ranks = subbit::this_process_alone()) {
    subbit::cuda_options device;
    device.tf32 = bf16_products(options);
    device.device = gpu_of(ranks);
    return subbit::cuda(subbit::cuda_device(device));
}

}  // namespace

nlohmann::json compress_on_cuda(const compress_job& job, subbit::progress& watcher, const subbit::communicator& ranks) {
    return run_compression(job, watcher, backend_of(job.options, ranks),
                           subbit::cuda(subbit::cuda_device({.device = gpu_of(ranks)})), ranks);
}

double measure_rate_on_cuda(const compress_options& options) {
    return measure_rate(backend_of(options));
}

std::vector<planned_phase> plan_on_cuda(const compress_job& job, const std::vector<index>& ranks) {
    const subbit::cuda b = backend_of(job.options);
    const model_directory model(job.model);
    return plan_of(trial<subbit::cuda>(b, model, job.options, ranks).run(), model.config(), job.options);
}

}  // namespace llama
