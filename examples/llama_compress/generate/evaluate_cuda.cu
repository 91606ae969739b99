#include "generate/evaluate_cuda.hpp"

#include "generate/gpu_running_model.hpp"
#include "gpu/attention.hpp"
#include "gpu/gate.hpp"
#include "gpu/gpu_of_rank.cuh"
#include "gpu/norm.hpp"

#include <subbit/backend/cuda.cuh>

namespace llama {

std::unique_ptr<token_model> running_model_on_cuda(const model_directory& directory, index capacity, row_format head) {
    return std::make_unique<gpu_running_model<subbit::cuda_device>>(subbit::cuda(), directory, capacity, head);
}

perplexity_result perplexity_on_cuda(const model_directory& directory,
                                     std::span<const std::vector<std::int32_t>> windows, subbit::progress& watcher,
                                     bool tf32, const model_rounding& rounding, const subbit::communicator& ranks) {
    subbit::cuda_options options;
    options.tf32 = tf32;
    options.device = gpu_of(ranks);
    return perplexity<float>(subbit::cuda(subbit::cuda_device(options)), directory, windows, watcher, rounding, ranks);
}

}  // namespace llama
