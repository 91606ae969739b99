// Errors of CUDA's libraries, as typed errors whose messages say what to do.
#pragma once

#include <subbit/core/error.hpp>

#include <cublas_v2.h>
#include <cuda_runtime.h>
#include <cusolverDn.h>
#include <string>

namespace subbit {

/// A CUDA call that failed; `code` is CUDA's own.
struct cuda_error : device_error {
    cuda_error(const std::string& message, cudaError_t c) : device_error(message), code(c) {}
    cudaError_t code;
};

namespace cuda_detail {

/// What the user can do about an error.
inline const char* advice(cudaError_t code) {
    switch (code) {
        case cudaErrorNoDevice:
        case cudaErrorInvalidDevice:
            return "no such GPU: see nvidia-smi and CUDA_VISIBLE_DEVICES, or use the cpu backend";
        case cudaErrorInsufficientDriver:
        case cudaErrorSystemDriverMismatch:
        case cudaErrorCompatNotSupportedOnDevice:
            return "there is no NVIDIA driver, or one older than this program's CUDA: install a newer one, or use the "
                   "cpu backend";
        case cudaErrorMemoryAllocation:
            return "out of the GPU's memory: use a smaller model, fewer windows or fewer layers at once, or end other "
                   "programs "
                   "that use it";
        case cudaErrorNoKernelImageForDevice:
        case cudaErrorUnsupportedPtxVersion:
            return "this program has no code for this GPU: build it with CMAKE_CUDA_ARCHITECTURES of its architecture";
        case cudaErrorDevicesUnavailable:
            return "the GPU is in use by another program that wants it alone: wait for it, or choose another";
        case cudaErrorECCUncorrectable:
        case cudaErrorDeviceUninitialized:
        case cudaErrorUnknown:
        case cudaErrorSystemNotReady:
            return "the GPU is lost: start the program again, and if that does not help, the machine";
        default:
            return "a kernel failed: the program must be started again; compute-sanitizer says which";
    }
}

inline void check(cudaError_t code, const char* what) {
    if (code == cudaSuccess) return;
    cudaGetLastError();  // the error is taken: what can go on, may
    throw cuda_error(std::string("cuda: ") + what + ": " + cudaGetErrorString(code) + "; " + advice(code), code);
}

inline void check(cublasStatus_t status, const char* what) {
    if (status == CUBLAS_STATUS_SUCCESS) return;
    if (status == CUBLAS_STATUS_ALLOC_FAILED) check(cudaErrorMemoryAllocation, what);
    throw cuda_error(
        std::string("cuda: ") + what + ": " + cublasGetStatusString(status) + "; " + advice(cudaErrorUnknown),
        cudaErrorUnknown);
}

inline void check(cusolverStatus_t status, const char* what) {
    if (status == CUSOLVER_STATUS_SUCCESS) return;
    if (status == CUSOLVER_STATUS_ALLOC_FAILED) check(cudaErrorMemoryAllocation, what);
    throw cuda_error(std::string("cuda: ") + what + ": cusolver status " + std::to_string(static_cast<int>(status)) +
                         "; " + advice(cudaErrorUnknown),
                     cudaErrorUnknown);
}

}  // namespace cuda_detail

}  // namespace subbit
