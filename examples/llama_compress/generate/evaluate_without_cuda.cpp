// What takes the place of evaluate_cuda.cu where no CUDA compiler was found.
#include "generate/evaluate_cuda.hpp"
#include "gpu/without_cuda.hpp"

namespace llama {

std::unique_ptr<token_model> running_model_on_cuda(const model_directory&, index, row_format) {
    fail_without_cuda();
}

perplexity_result perplexity_on_cuda(const model_directory&, std::span<const std::vector<std::int32_t>>,
                                     subbit::progress&, bool, const model_rounding&, const subbit::communicator&) {
    fail_without_cuda();
}

}  // namespace llama
