// A GPU on the host: the same kernels, whose blocks of fibers run one after the other; dense products and solves by
// Eigen.
#pragma once

#include <subbit/backend/emulated/block.hpp>
#include <subbit/backend/emulated/graph.hpp>
#include <subbit/backend/emulated/memory.hpp>
#include <subbit/backend/gpu/device/memory_cache.hpp>
#include <subbit/backend/gpu/device/operand.hpp>
#include <subbit/backend/gpu/device/owners.hpp>

#include <Eigen/Cholesky>
#include <Eigen/Eigenvalues>
#include <algorithm>
#include <cstddef>
#include <cstring>
#include <functional>
#include <memory>
#include <new>
#include <string>
#include <utility>
#include <vector>

namespace subbit {

struct emulated_options {
    std::size_t memory_bytes = std::size_t{1} << 34;  ///< reserved addresses; only memory that is used is allocated
    bool falling = false;  ///< threads and blocks run in falling order: an error of a missing sync() that one order
                           ///< hides, the other shows
    int multiprocessors = 132;  ///< those of an H100, so that the same kernels are chosen
    bool warpgroups = true;     ///< has_warpgroup_products(); false: the kernels of older GPUs
};

/// The device of gpu_backend without a GPU: for tests of kernels, not for speed. Copies share the memory.
class emulated_device {
  public:
    explicit emulated_device(emulated_options options = {})
        : falling_(options.falling),
          warpgroups_(options.warpgroups),
          multiprocessors_(options.multiprocessors),
          memory_(std::make_shared<emulation::memory>(options.memory_bytes)),
          cache_(std::make_shared<gpu::memory_cache>()),
          recorder_(std::make_shared<emulation::recorder>()),
          singular_(std::make_shared<int>(0)) {}

    explicit emulated_device(gpu::no_device) {}

    std::string describe() const { return "emulated: kernels as fibers on one thread"; }
    /// A stream of the same memory; here work is done when a call returns, on every stream.
    emulated_device another_stream(std::size_t /*i*/) const {
        emulated_device other = *this;
        other.cache_ = std::make_shared<gpu::memory_cache>();
        other.recorder_ = std::make_shared<emulation::recorder>();
        other.singular_ = std::make_shared<int>(0);
        return other;
    }
    /// Waits for all work. Throws value_error if a matrix of a solve since the last call was singular.
    void synchronize() const { gpu::require_regular(*singular_); }
    int* singular() const { return singular_.get(); }
    int multiprocessors() const { return multiprocessors_; }
    bool has_warpgroup_products() const { return warpgroups_; }

    /// New memory is filled with NaN.
    void* allocate(std::size_t bytes) const {
        void* const kept = cache_->take(bytes);
        if (kept == nullptr) return memory_->allocate(gpu::memory_cache::rounded(bytes));
        if (!cache_->recording()) memory_->spoil(kept, bytes);
        return kept;
    }
    void deallocate(void* p, std::size_t bytes) const noexcept {
        if (!cache_->give(p, bytes)) memory_->deallocate(static_cast<std::byte*>(p), gpu::memory_cache::rounded(bytes));
    }
    bool owns(const void* p) const { return memory_->contains(p); }

    void copy_to_device(void* to, const void* from, std::size_t bytes) const {
        recorder_->require_idle("a copy from the host");
        copy(to, from, bytes);
    }
    void copy_to_host(void* to, const void* from, std::size_t bytes) const {
        recorder_->require_idle("a copy to the host");
        copy(to, from, bytes);
        synchronize();
    }
    void copy_on_device(void* to, const void* from, std::size_t bytes) const {
        if (!recorder_->keeps([=, self = *this] { self.copy(to, from, bytes); })) copy(to, from, bytes);
    }
    void clear(void* p, std::size_t bytes) const {
        if (recorder_->keeps([=, self = *this] { self.clear(p, bytes); })) return;
        const emulation::memory::access open(*memory_);
        if (bytes > 0) std::memset(p, 0, bytes);
    }

    void* allocate_host(std::size_t bytes) const {
        recorder_->require_idle("an allocation");
        return ::operator new(bytes);
    }
    void deallocate_host(void* p) const noexcept { ::operator delete(p); }
    void send(void* to, const void* from, std::size_t bytes) const {
        if (recorder_->keeps([=, self = *this] { self.send(to, from, bytes); })) return;
        copy(to, from, bytes);
    }
    void fetch(void* to, const void* from, std::size_t bytes) const { send(to, from, bytes); }

    /// Throws value_error for a shape that a GPU would refuse.
    template <class Kernel>
    void launch(const gpu::launch_shape& shape, const Kernel& kernel) const {
        gpu::require_launchable<Kernel>(shape);
        if (recorder_->keeps([self = *this, shape, kernel] { self.launch(shape, kernel); })) return;
        thread_local emulation::fiber_group fibers;
        const emulation::memory::access open(*memory_);
        emulation::block_state state(fibers, shape);
        for (index number = 0; number < shape.blocks; ++number) {
            state.begin();
            fibers.run(shape.threads, [&](int thread) {
                emulation::block block(state, falling_ ? shape.blocks - 1 - number : number,
                                       falling_ ? shape.threads - 1 - thread : thread);
                kernel(block);
            });
            state.require_done();
            if (gpu::overlaps<Kernel> && state.waited != shape.threads)
                throw error("emulated device: a kernel that overlaps, of " + std::to_string(shape.threads) +
                            " threads, in which " + std::to_string(state.waited) + " wait for the one before it");
        }
    }

    /// Records the work of f without doing it: launches, dense products, operations within the device's memory, sends
    /// and fetches. Throws error if f allocates more memory than it had before, makes other copies, or solves.
    template <class F>
    emulation::graph record(F&& f) const {
        std::vector<std::function<void()>> launches;
        auto memory = gpu::record_memory(cache_, [&] { launches = recorder_->record(std::forward<F>(f)); });
        return {std::move(launches), std::move(memory)};
    }

    /// C = alpha A X + beta C; C is not transposed.
    template <class S>
    void gemm(gpu::operand<const S> A, gpu::operand<const S> X, gpu::operand<S> C, S alpha, S beta,
              gpu::product_precision precision) const {
        require_blas(A), require_blas(X), require_blas(C);
        if (recorder_->keeps([=, self = *this] { self.gemm(A, X, C, alpha, beta, precision); })) return;
        const emulation::memory::access open(*memory_);
        const matrix<S> product = as_eigen(A.view()) * as_eigen(X.view());
        auto c = as_eigen(C.view());
        if (beta == S(0))
            c = alpha * product;
        else
            c = alpha * product + beta * c;
    }

    /// The lower Cholesky factor of A (n,n), stored by columns, in its lower triangle; *info = 0, or not positive
    /// definite.
    template <class S>
    void cholesky(index n, S* A, int* info) const {
        recorder_->require_idle("a solve");
        const emulation::memory::access open(*memory_);
        const matrix_view<S> a(A, n, n, 1, n);
        const Eigen::LLT<matrix<S>> factored(as_eigen(a));
        *info = factored.info() == Eigen::Success ? 0 : 1;
        as_eigen(a).template triangularView<Eigen::Lower>() = factored.matrixLLT();
    }
    /// B (n,columns), by columns, <- A^-1 B with the factor of A that cholesky() left.
    template <class S>
    void cholesky_solve(index n, index columns, const S* A, S* B) const {
        recorder_->require_idle("a solve");
        const emulation::memory::access open(*memory_);
        const matrix<S> factor = as_eigen(matrix_view<const S>(A, n, n, 1, n));
        auto b = as_eigen(matrix_view<S>(B, n, columns, 1, n));
        factor.template triangularView<Eigen::Lower>().solveInPlace(b);
        factor.transpose().template triangularView<Eigen::Upper>().solveInPlace(b);
    }
    /// Symmetric A (n,n) <- its eigenvectors as columns, in order of rising eigenvalues; *info = 0 if that converged.
    void eigenvectors(index n, double* A, int* info) const {
        recorder_->require_idle("a solve");
        const emulation::memory::access open(*memory_);
        auto a = as_eigen(matrix_view<double>(A, n, n, 1, n));
        const Eigen::SelfAdjointEigenSolver<matrix<double>> solver(matrix<double>{a});
        *info = solver.info() == Eigen::Success ? 0 : 1;
        if (*info == 0) a = solver.eigenvectors();
    }

  private:
    /// Checks what cuBLAS requires of an operand.
    template <class T>
    static void require_blas(gpu::operand<T> X) {
        const index stored_rows = X.transposed ? X.cols : X.rows;
        if (X.leading < std::max<index>(stored_rows, 1))
            throw error("emulated device: an operand of " + shape_text(X.rows, X.cols) +
                        " with a leading dimension of " + std::to_string(X.leading));
    }

    void copy(void* to, const void* from, std::size_t bytes) const {
        const emulation::memory::access open(*memory_);
        if (bytes > 0) std::memcpy(to, from, bytes);
    }

    bool falling_ = false, warpgroups_ = true;
    int multiprocessors_ = 0;
    std::shared_ptr<emulation::memory> memory_;
    std::shared_ptr<gpu::memory_cache> cache_;  // of this stream
    std::shared_ptr<emulation::recorder> recorder_;
    std::shared_ptr<int> singular_;
};

}  // namespace subbit
