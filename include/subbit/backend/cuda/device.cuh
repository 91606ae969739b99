// A GPU by CUDA: a stream, its handles of cuBLAS and cuSOLVER, and the calls that gpu_backend needs (gpu/backend.hpp).
#pragma once

#include <subbit/backend/cuda/block.cuh>
#include <subbit/backend/cuda/error.cuh>
#include <subbit/backend/cuda/graph.cuh>
#include <subbit/backend/cuda/kernel_code.cuh>
#include <subbit/backend/gpu/device/memory_cache.hpp>
#include <subbit/backend/gpu/device/operand.hpp>
#include <subbit/backend/gpu/device/owners.hpp>

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

namespace subbit {

namespace cuda_detail {

/// Whether the environment turns on the kernels of sm_90a: SUBBIT_WARPGROUPS=1.
inline bool warpgroups_asked() {
    const char* const asked = std::getenv("SUBBIT_WARPGROUPS");
    return asked != nullptr && std::string_view(asked) == "1";
}

}  // namespace cuda_detail

struct cuda_options {
    int device = 0;     ///< the GPU's number in CUDA
    bool tf32 = false;  ///< products of float, except exact Gram matrices, may round their operands to TF32
    /// Packed products by instructions that only sm_90a has, warpgroup products and bulk copies. Off by default, since
    /// no GPU has run them yet (docs/gpu.md).
    bool warpgroups = cuda_detail::warpgroups_asked();
};

/// How many GPUs this process can use; 0 also if there is no driver.
inline int cuda_device_count() {
    int count = 0;
    if (cudaGetDeviceCount(&count) != cudaSuccess) {
        cudaGetLastError();
        return 0;
    }
    return count;
}

/// One stream of one GPU. Every error of CUDA is thrown as a cuda_error.
class cuda_device {
  public:
    explicit cuda_device(cuda_options options = {}) : state_(std::make_shared<state>(options)) {}
    explicit cuda_device(gpu::no_device) {}

    cudaStream_t stream() const {
        state_->last_overlaps = false;  // who asks does something else with it than launch()
        return state_->stream;
    }
    cublasHandle_t blas() const {
        state_->select();
        state_->last_overlaps = false;
        return state_->blas;
    }
    /// A description in one line: "cuda: NVIDIA H100 80GB HBM3 (sm_90), tf32 products".
    std::string describe() const {
        cudaDeviceProp p = {};
        cuda_detail::check(cudaGetDeviceProperties(&p, state_->options.device), "cudaGetDeviceProperties");
        return std::string("cuda: ") + p.name + " (sm_" + std::to_string(p.major) + std::to_string(p.minor) + "), " +
               (state_->options.tf32 ? "tf32" : "f32") + " products";
    }
    cuda_device another_stream(std::size_t i) const {
        const std::lock_guard lock(state_->others_mutex);
        auto& others = state_->others;
        while (others.size() <= i)
            others.push_back(std::make_shared<state>(state_->options));
        cuda_device other{gpu::no_device{}};
        other.state_ = others[i];
        return other;
    }
    /// Waits for all work. Throws cuda_error, and value_error if a matrix of a solve since the last call was singular.
    void synchronize() const {
        cuda_detail::check(cudaStreamSynchronize(stream()), "waiting for the GPU");
        gpu::require_regular(*singular());
    }
    int* singular() const { return state_->singular; }
    int multiprocessors() const { return state_->multiprocessors; }
    bool has_warpgroup_products() const { return state_->has_warpgroup_products; }

    void* allocate(std::size_t bytes) const {
        if (void* const kept = state_->memory->take(bytes)) return kept;
        state_->select();
        const std::size_t size = gpu::memory_cache::rounded(bytes);
        void* p = nullptr;
        cudaError_t code = cudaMallocAsync(&p, size, stream());
        if (code == cudaErrorMemoryAllocation) {  // what is kept may be in pieces of other sizes
            cudaGetLastError();
            state_->release_memory();
            code = cudaMallocAsync(&p, size, stream());
        }
        cuda_detail::check(code, ("allocating " + std::to_string(bytes) + " bytes").c_str());
        return p;
    }
    /// A lost device is reported by the next call that can throw; other errors are cleared, so that later calls do not
    /// report them.
    void deallocate(void* p, std::size_t bytes) const noexcept {
        if (!state_->memory->give(p, bytes) && cudaFreeAsync(p, state_->stream) != cudaSuccess) cudaGetLastError();
    }
    bool owns(const void* p) const {
        cudaPointerAttributes attributes = {};
        cuda_detail::check(cudaPointerGetAttributes(&attributes, p), "cudaPointerGetAttributes");
        return attributes.type == cudaMemoryTypeDevice || attributes.type == cudaMemoryTypeManaged;
    }

    /// `from` may be changed when this returns. If the GPU reads the host's memory itself, CUDA does not guarantee
    /// that, since it makes no intermediate copy.
    void copy_to_device(void* to, const void* from, std::size_t bytes) const {
        if (state_->memory->recording()) throw error("a copy from the host while launches are recorded");
        copy(to, from, bytes, cudaMemcpyHostToDevice, "copying to the device");
        if (state_->reads_host_memory) cuda_detail::check(cudaStreamSynchronize(stream()), "copying to the device");
    }
    void copy_on_device(void* to, const void* from, std::size_t bytes) const {
        copy(to, from, bytes, cudaMemcpyDeviceToDevice, "copying on the device");
    }
    void copy_to_host(void* to, const void* from, std::size_t bytes) const {
        copy(to, from, bytes, cudaMemcpyDeviceToHost, "copying to the host");
        synchronize();
    }
    void clear(void* p, std::size_t bytes) const {
        if (bytes > 0) cuda_detail::check(cudaMemsetAsync(p, 0, bytes, stream()), "cudaMemsetAsync");
    }

    void* allocate_host(std::size_t bytes) const {
        void* p = nullptr;
        state_->select();
        cuda_detail::check(cudaHostAlloc(&p, bytes, cudaHostAllocDefault),
                           ("allocating " + std::to_string(bytes) + " bytes of the host's memory").c_str());
        return p;
    }
    void deallocate_host(void* p) const noexcept {
        if (cudaFreeHost(p) != cudaSuccess) cudaGetLastError();
    }
    void send(void* to, const void* from, std::size_t bytes) const {
        copy(to, from, bytes, cudaMemcpyHostToDevice, "sending to the device");
    }
    void fetch(void* to, const void* from, std::size_t bytes) const {
        copy(to, from, bytes, cudaMemcpyDeviceToHost, "fetching from the device");
    }

    /// Throws value_error for a shape that a GPU would refuse.
    template <class Kernel>
    void launch(const gpu::launch_shape& shape, const Kernel& kernel) const {
        gpu::require_launchable<Kernel>(shape);
        state_->select();
        const cuda_detail::kernel_code code = cuda_detail::code_of<Kernel>(state_->options.device);
        if (shape.shared_bytes > code.most_shared)
            throw value_error("launch with " + std::to_string(shape.shared_bytes) +
                              " bytes of shared memory: this GPU has " + std::to_string(code.most_shared));
        cudaLaunchAttribute overlap = {};
        overlap.id = cudaLaunchAttributeProgrammaticStreamSerialization;
        overlap.val.programmaticStreamSerializationAllowed = 1;
        cudaLaunchConfig_t launch = {};
        launch.gridDim = dim3(static_cast<unsigned>(shape.blocks));
        launch.blockDim = dim3(static_cast<unsigned>(shape.threads));
        launch.dynamicSmemBytes = shape.shared_bytes;
        launch.stream = state_->stream;
        launch.attrs = &overlap;
        launch.numAttrs = code.overlaps && state_->last_overlaps ? 1 : 0;
        state_->last_overlaps = code.overlaps;
        cuda_detail::check(cudaLaunchKernelEx(&launch, cuda_detail::run_kernel<Kernel>, kernel), "launching a kernel");
    }

    /// Records the work of f without doing it: launches, dense products, operations within the device's memory, sends
    /// and fetches. f must not wait for the device, make other copies, or allocate more memory than it has freed
    /// before.
    template <class F>
    cuda_detail::graph record(F&& f) const {
        std::optional<cuda_detail::graph> graph;
        auto memory = gpu::record_memory(state_->memory,
                                         [&] { graph.emplace(stream(), state_->last_overlaps, std::forward<F>(f)); });
        graph->keep(std::move(memory));
        return std::move(*graph);
    }

    /// C = alpha A X + beta C; C is not transposed.
    template <class S>
    void gemm(gpu::operand<const S> A, gpu::operand<const S> X, gpu::operand<S> C, S alpha, S beta,
              gpu::product_precision precision) const {
        constexpr auto type = std::is_same_v<S, float> ? CUDA_R_32F : CUDA_R_64F;
        const auto plain = std::is_same_v<S, float> ? CUBLAS_COMPUTE_32F : CUBLAS_COMPUTE_64F;
        const bool tf32 = std::is_same_v<S, float> && state_->options.tf32 && precision == gpu::product_precision::fast;
        const auto turn = [](bool transposed) { return transposed ? CUBLAS_OP_T : CUBLAS_OP_N; };
        cuda_detail::check(
            cublasGemmEx_64(blas(), turn(A.transposed), turn(X.transposed), C.rows, C.cols, A.cols, &alpha, A.data,
                            type, A.leading, X.data, type, X.leading, &beta, C.data, type, C.leading,
                            tf32 ? CUBLAS_COMPUTE_32F_FAST_TF32 : plain, CUBLAS_GEMM_DEFAULT),
            "cublasGemmEx");
    }

    /// The lower Cholesky factor of A (n,n), stored by columns, in its lower triangle; *info = 0, or not positive
    /// definite.
    template <class S>
    void cholesky(index n, S* A, int* info) const {
        constexpr auto type = std::is_same_v<S, float> ? CUDA_R_32F : CUDA_R_64F;
        std::size_t on_device = 0, on_host = 0;
        const auto solver = solver_of_thread();
        const auto parameters = state_->parameters;
        cuda_detail::check(cusolverDnXpotrf_bufferSize(solver, parameters, CUBLAS_FILL_MODE_LOWER, n, type, A, n, type,
                                                       &on_device, &on_host),
                           "cusolverDnXpotrf_bufferSize");
        workspace work(*this, on_device, on_host);
        cuda_detail::check(cusolverDnXpotrf(solver, parameters, CUBLAS_FILL_MODE_LOWER, n, type, A, n, type,
                                            work.device(), on_device, work.host(), on_host, info),
                           "cusolverDnXpotrf");
    }
    /// B (n,columns), by columns, <- A^-1 B with the factor of A that cholesky() left. Two triangular solves of cuBLAS,
    /// which need neither workspace nor info.
    template <class S>
    void cholesky_solve(index n, index columns, const S* A, S* B) const {
        const S one = 1;
        for (const auto turn : {CUBLAS_OP_N, CUBLAS_OP_T}) {
            if constexpr (std::is_same_v<S, float>)
                cuda_detail::check(cublasStrsm_64(blas(), CUBLAS_SIDE_LEFT, CUBLAS_FILL_MODE_LOWER, turn,
                                                  CUBLAS_DIAG_NON_UNIT, n, columns, &one, A, n, B, n),
                                   "cublasStrsm");
            else
                cuda_detail::check(cublasDtrsm_64(blas(), CUBLAS_SIDE_LEFT, CUBLAS_FILL_MODE_LOWER, turn,
                                                  CUBLAS_DIAG_NON_UNIT, n, columns, &one, A, n, B, n),
                                   "cublasDtrsm");
        }
    }
    /// Symmetric A (n,n) <- its eigenvectors as columns, in order of rising eigenvalues; *info = 0 if that converged.
    void eigenvectors(index n, double* A, int* info) const {
        std::size_t on_device = 0, on_host = 0;
        gpu::buffer<cuda_device, double> values(*this, n);
        const auto solver = solver_of_thread();
        const auto parameters = state_->parameters;
        double* const W = values.data();
        cuda_detail::check(
            cusolverDnXsyevd_bufferSize(solver, parameters, CUSOLVER_EIG_MODE_VECTOR, CUBLAS_FILL_MODE_LOWER, n,
                                        CUDA_R_64F, A, n, CUDA_R_64F, W, CUDA_R_64F, &on_device, &on_host),
            "cusolverDnXsyevd_bufferSize");
        workspace work(*this, on_device, on_host);
        cuda_detail::check(
            cusolverDnXsyevd(solver, parameters, CUSOLVER_EIG_MODE_VECTOR, CUBLAS_FILL_MODE_LOWER, n, CUDA_R_64F, A, n,
                             CUDA_R_64F, W, CUDA_R_64F, work.device(), on_device, work.host(), on_host, info),
            "cusolverDnXsyevd");
    }

  private:
    struct state {
        state() = default;
        explicit state(cuda_options o) : state() {  // what has been made is unmade where the rest throws
            options = o;
            int count = 0;
            cuda_detail::check(cudaGetDeviceCount(&count), "looking for a GPU");
            if (options.device < 0 || options.device >= count)
                cuda_detail::check(
                    cudaErrorInvalidDevice,
                    ("device " + std::to_string(options.device) + " of " + std::to_string(count)).c_str());
            select();
            keep_freed_memory();
            cuda_detail::check(
                cudaDeviceGetAttribute(&reads_host_memory, cudaDevAttrPageableMemoryAccess, options.device),
                "asking a GPU how it reads the host's memory");
            cuda_detail::check(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking), "cudaStreamCreate");
            cuda_detail::check(cudaHostAlloc(&singular, sizeof(int), cudaHostAllocDefault), "cudaHostAlloc");
            find_features();
            *singular = 0;
            cuda_detail::check(cublasCreate(&blas), "cublasCreate");
            cuda_detail::check(cublasSetStream(blas, stream), "cublasSetStream");
            // Without memory of the caller's, products that are recorded would ask for some.
            cuda_detail::check(cudaMallocAsync(&blas_memory, blas_bytes, stream), "allocating memory for cuBLAS");
            cuda_detail::check(cublasSetWorkspace(blas, blas_memory, blas_bytes), "cublasSetWorkspace");
            cuda_detail::check(cusolverDnCreate(&solver), "cusolverDnCreate");
            cuda_detail::check(cusolverDnSetStream(solver, stream), "cusolverDnSetStream");
            cuda_detail::check(cusolverDnCreateParams(&parameters), "cusolverDnCreateParams");
        }
        state(const state&) = delete;
        state& operator=(const state&) = delete;
        ~state() { release(); }

        /// CUDA's current device belongs to a thread, and a thread may use several.
        void select() const { cuda_detail::check(cudaSetDevice(options.device), "cudaSetDevice"); }

        /// The pool gives memory back to the driver at every synchronization unless told to keep it.
        void keep_freed_memory() const {
            cudaMemPool_t pool = nullptr;
            cuda_detail::check(cudaDeviceGetDefaultMemPool(&pool, options.device), "cudaDeviceGetDefaultMemPool");
            std::uint64_t all = UINT64_MAX;
            cuda_detail::check(cudaMemPoolSetAttribute(pool, cudaMemPoolAttrReleaseThreshold, &all),
                               "cudaMemPoolSetAttribute");
        }

        /// The program may have code for this GPU with all that it can, or for older ones: the code itself says so.
        void find_features() {
            cuda_detail::check(cudaDeviceGetAttribute(&multiprocessors, cudaDevAttrMultiProcessorCount, options.device),
                               "asking a GPU for its multiprocessors");
            cuda_detail::report_warpgroups<<<1, 1, 0, stream>>>(singular);
            cuda_detail::check(cudaGetLastError(), "launching a kernel");
            cuda_detail::check(cudaStreamSynchronize(stream), "waiting for the GPU");
            has_warpgroup_products = options.warpgroups && *singular != 0;
        }

        /// Gives the memory that is kept back to the driver.
        void release_memory() noexcept {
            for (const auto& block : memory->release())
                cudaFreeAsync(block.data, stream);
            cudaStreamSynchronize(stream);
        }

        void release() noexcept {
            cudaSetDevice(options.device);  // whichever thread it is that ends
            if (stream != nullptr) release_memory();
            if (stream != nullptr) cudaStreamSynchronize(stream);
            if (parameters != nullptr) cusolverDnDestroyParams(parameters);
            if (solver != nullptr) cusolverDnDestroy(solver);
            if (blas != nullptr) cublasDestroy(blas);
            if (singular != nullptr) cudaFreeHost(singular);
            if (blas_memory != nullptr) cudaFreeAsync(blas_memory, stream);
            if (stream != nullptr) cudaStreamDestroy(stream);
        }

        cuda_options options;
        int reads_host_memory = 0;  // pageable memory, without a copy
        int multiprocessors = 0;
        bool has_warpgroup_products = false;
        bool last_overlaps = false;  // the stream's last work is a kernel that gpu::overlaps, in code that can
        cudaStream_t stream = nullptr;
        int* singular = nullptr;
        std::shared_ptr<gpu::memory_cache> memory = std::make_shared<gpu::memory_cache>();
        static constexpr std::size_t blas_bytes = std::size_t{32} << 20;  // what NVIDIA advises for sm_90
        void* blas_memory = nullptr;
        cublasHandle_t blas = nullptr;
        cusolverDnHandle_t solver = nullptr;
        cusolverDnParams_t parameters = nullptr;
        std::mutex others_mutex;
        std::vector<std::shared_ptr<state>> others;  // streams beside this one: making one takes many milliseconds
    };

    /// Memory that a call of cuSOLVER works in. The host's part must outlive the call's work on the GPU.
    class workspace {
      public:
        workspace(const cuda_device& d, std::size_t on_device, std::size_t on_host)
            : owner_(d), device_(on_device > 0 ? d.allocate(on_device) : nullptr), bytes_(on_device), host_(on_host) {}
        workspace(const workspace&) = delete;
        workspace& operator=(const workspace&) = delete;
        ~workspace() {
            if (!host_.empty()) cudaStreamSynchronize(owner_.stream());
            if (device_ != nullptr) owner_.deallocate(device_, bytes_);
        }
        void* device() { return device_; }
        void* host() { return host_.data(); }

      private:
        const cuda_device& owner_;
        void* device_;
        std::size_t bytes_;
        std::vector<std::byte> host_;
    };

    cusolverDnHandle_t solver_of_thread() const {
        state_->select();
        state_->last_overlaps = false;
        return state_->solver;
    }
    void copy(void* to, const void* from, std::size_t bytes, cudaMemcpyKind kind, const char* what) const {
        if (bytes > 0) cuda_detail::check(cudaMemcpyAsync(to, from, bytes, kind, stream()), what);
    }

    std::shared_ptr<state> state_;
};

}  // namespace subbit
