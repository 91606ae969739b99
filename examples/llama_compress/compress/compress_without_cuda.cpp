// What takes the place of compress_cuda.cu where no CUDA compiler was found.
#include "compress/compress_cuda.hpp"

#include "gpu/without_cuda.hpp"

namespace llama {

nlohmann::json compress_on_cuda(const compress_job&, subbit::progress&, const subbit::communicator&) {
    fail_without_cuda();
}

double measure_rate_on_cuda(const compress_options&) {
    fail_without_cuda();
}

std::vector<planned_phase> plan_on_cuda(const compress_job&, const std::vector<index>&) {
    fail_without_cuda();
}

}  // namespace llama
