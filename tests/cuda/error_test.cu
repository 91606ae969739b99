// What the cuda backend says when CUDA fails; needs no GPU.
#include <subbit/backend/cuda/error.cuh>

#include "support/throws.hpp"

#include <doctest/doctest.h>
#include <string>
#include <utility>

namespace subbit::testing {

TEST_CASE("every failure of CUDA is an error that says what to do") {
    const std::pair<cudaError_t, std::string> known[] = {
        {cudaErrorNoDevice, "use the cpu backend"},
        {cudaErrorInsufficientDriver, "install a newer one"},
        {cudaErrorMemoryAllocation, "use a smaller model"},
        {cudaErrorNoKernelImageForDevice, "CMAKE_CUDA_ARCHITECTURES"},
        {cudaErrorDevicesUnavailable, "wait for it"},
        {cudaErrorECCUncorrectable, "start the program again"},
        {cudaErrorIllegalAddress, "compute-sanitizer"},
    };
    for (const auto& [code, advice] : known)
        check_throws<cuda_error>([error = code] { cuda_detail::check(error, "doing something"); },
                                 {"cuda: doing something: ", advice});
    CHECK_NOTHROW(cuda_detail::check(cudaSuccess, ""));
    CHECK_NOTHROW(cuda_detail::check(CUBLAS_STATUS_SUCCESS, ""));
    CHECK_NOTHROW(cuda_detail::check(CUSOLVER_STATUS_SUCCESS, ""));
    check_throws<cuda_error>([] { cuda_detail::check(CUBLAS_STATUS_ALLOC_FAILED, "a product"); },
                             {"a product", "use a smaller model"});
    check_throws<cuda_error>([] { cuda_detail::check(CUBLAS_STATUS_EXECUTION_FAILED, "a product"); },
                             {"a product", "failed to launch", "start the program again"});
    check_throws<cuda_error>([] { cuda_detail::check(CUSOLVER_STATUS_ALLOC_FAILED, "a solve"); },
                             {"a solve", "use a smaller model"});
    check_throws<cuda_error>([] { cuda_detail::check(CUSOLVER_STATUS_INTERNAL_ERROR, "a solve"); },
                             {"a solve", "status 7"});
}

}  // namespace subbit::testing
