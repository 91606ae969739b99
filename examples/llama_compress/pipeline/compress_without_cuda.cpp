// What takes the place of compress_cuda.cu where no CUDA compiler was found.
#include "compress_cuda.hpp"

#include <subbit/core/error.hpp>

namespace llama {

namespace {

[[noreturn]] void fail() {
    throw subbit::device_error(
        "--backend cuda: this program was built without CUDA; build it where nvcc is found (cmake -D "
        "SUBBIT_WITH_CUDA=ON), or run it with --backend cpu");
}

}  // namespace

nlohmann::json compress_on_cuda(const compress_job&, subbit::progress&) {
    fail();
}

double measure_rate_on_cuda(const compress_options&) {
    fail();
}

}  // namespace llama
