// Launches that are recorded once and replayed: a CUDA graph. A replay is one call of the host, and takes the GPU less
// time between kernels than separate launches.
#pragma once

#include <subbit/backend/cuda/error.cuh>
#include <subbit/backend/gpu/device/memory_cache.hpp>

#include <memory>
#include <optional>
#include <type_traits>
#include <utility>

namespace subbit::cuda_detail {

/// An instantiated graph, the stream on which it runs, and the memory that belongs to it. Other memory that its kernels
/// use must outlive it; the device keeps the stream alive.
class graph {
  public:
    /// Records what f asks the stream for. `last_overlaps` is the device's, and as lasting as the stream: the kernel
    /// before a graph, or after it, is not one to overlap with. Throws cuda_error.
    template <class F>
    graph(cudaStream_t stream, bool& last_overlaps, F&& f) : stream_(stream), last_overlaps_(&last_overlaps) {
        last_overlaps = false;
        // Other threads may go on with calls that would disturb a recording of theirs.
        check(cudaStreamBeginCapture(stream, cudaStreamCaptureModeThreadLocal), "recording a graph");
        cudaGraph_t recorded = nullptr;
        try {
            std::forward<F>(f)();
        } catch (...) {
            cudaStreamEndCapture(stream, &recorded);
            if (recorded != nullptr) cudaGraphDestroy(recorded);
            last_overlaps = false;
            cudaGetLastError();  // of the recording that has come to nothing
            throw;
        }
        last_overlaps = false;
        check(cudaStreamEndCapture(stream, &recorded), "recording a graph");
        cudaGraphExec_t executable = nullptr;
        const cudaError_t code = cudaGraphInstantiate(&executable, recorded, 0);
        cudaGraphDestroy(recorded);
        check(code, "making a graph");
        executable_.reset(executable);
    }
    void keep(gpu::recorded_memory memory) { memory_ = std::move(memory); }
    void replay() const {
        *last_overlaps_ = false;
        check(cudaGraphLaunch(executable_.get(), stream_), "running a graph");
    }

  private:
    struct destroy {
        void operator()(cudaGraphExec_t g) const noexcept { cudaGraphExecDestroy(g); }
    };
    cudaStream_t stream_;
    bool* last_overlaps_;
    std::optional<gpu::recorded_memory> memory_;
    std::unique_ptr<std::remove_pointer_t<cudaGraphExec_t>, destroy> executable_;
};

}  // namespace subbit::cuda_detail
