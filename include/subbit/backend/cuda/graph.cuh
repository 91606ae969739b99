// Launches that are recorded once and replayed: a CUDA graph. A replay costs the host one call, and the GPU less time
// between kernels than launches of their own.
#pragma once

#include <subbit/backend/cuda/error.cuh>

#include <memory>
#include <type_traits>
#include <utility>

namespace subbit::cuda_detail {

/// An instantiated graph and the stream that it runs on. Whatever memory its kernels use must outlive it; the stream's
/// device keeps the stream.
class graph {
  public:
    /// Records what f asks the stream for. Throws cuda_error.
    template <class F>
    graph(cudaStream_t stream, F&& f) : stream_(stream) {
        // Other threads may go on with calls that would disturb a recording of theirs.
        check(cudaStreamBeginCapture(stream, cudaStreamCaptureModeThreadLocal), "recording a graph");
        cudaGraph_t recorded = nullptr;
        try {
            std::forward<F>(f)();
        } catch (...) {
            cudaStreamEndCapture(stream, &recorded);
            if (recorded != nullptr) cudaGraphDestroy(recorded);
            cudaGetLastError();  // of the recording that has come to nothing
            throw;
        }
        check(cudaStreamEndCapture(stream, &recorded), "recording a graph");
        cudaGraphExec_t executable = nullptr;
        const cudaError_t code = cudaGraphInstantiate(&executable, recorded, 0);
        cudaGraphDestroy(recorded);
        check(code, "making a graph");
        executable_.reset(executable);
    }
    void replay() const { check(cudaGraphLaunch(executable_.get(), stream_), "running a graph"); }

  private:
    struct destroy {
        void operator()(cudaGraphExec_t g) const noexcept { cudaGraphExecDestroy(g); }
    };
    cudaStream_t stream_;
    std::unique_ptr<std::remove_pointer_t<cudaGraphExec_t>, destroy> executable_;
};

}  // namespace subbit::cuda_detail
