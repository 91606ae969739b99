// The cpu backend: all threads and the widest SIMD of the machine, chosen at run time.
#pragma once

#include <subbit/backend/cpu/isa.hpp>
#include <subbit/backend/cpu/kernels/simd_loop.hpp>
#include <subbit/backend/cpu/machine.hpp>
#include <subbit/backend/cpu/tag.hpp>
#include <subbit/backend/cpu/thread_pool.hpp>

#include <algorithm>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <utility>

namespace subbit {

struct cpu_options {
    int threads = 0;                       ///< 0: all threads of the machine
    isa instructions = preferred_isa();    ///< at most those of the machine
    precision products = precision::f32;   ///< of float32 matrix products; double is not affected
    std::optional<bf16_method> bf16 = {};  ///< how they are rounded; if not set, by the fastest method
};

/// A processor with shared memory. Results do not depend on the number of threads. Copies share the threads; loops that
/// are started from several threads at once, or inside one another, are correct but not faster.
class cpu {
  public:
    using tag = cpu_tag;
    template <class S>
    using matrix = subbit::matrix<S>;
    template <class S>
    using vector = subbit::vector<S>;

    /// Throws value_error for a negative number of threads, an instruction set or a method that the machine lacks, and
    /// a SUBBIT_ISA in the environment that is unknown.
    explicit cpu(cpu_options options = {})
        : isa_(options.instructions),
          products_(options.products),
          bf16_(options.bf16.value_or(preferred_bf16_method(isa_))) {
        if (options.threads < 0)
            throw value_error("cpu: " + std::to_string(options.threads) + " threads, expected 0 (all) or more");
        if (!has_isa(isa_))
            throw value_error(std::string("cpu: this machine has no ") + isa_name(isa_) + ", at most " +
                              isa_name(detect_isa()));
        if (!has_bf16_method(bf16_, isa_))
            throw value_error(std::string("cpu: no bfloat16 products by ") + bf16_method_name(bf16_) + " with " +
                              isa_name(isa_) + " on this machine");
        const int all = std::max(1, static_cast<int>(std::thread::hardware_concurrency()));
        pool_ = std::make_shared<thread_pool>(options.threads == 0 ? all : options.threads);
    }

    int threads() const { return pool_->threads(); }
    /// Runs the loops of this backend's kernels.
    executor exec() const { return executor(*pool_); }
    isa instructions() const { return isa_; }
    precision products() const { return products_; }
    bf16_method bf16() const { return bf16_; }

    /// A description in one line: "cpu: avx512, 2 threads, bf16 products by matrix_units".
    std::string describe() const {
        return std::string("cpu: ") + isa_name(isa_) + ", " + std::to_string(threads()) +
               (threads() == 1 ? " thread, " : " threads, ") +
               (products_ == precision::bf16 ? std::string("bf16 products by ") + bf16_method_name(bf16_)
                                             : "f32 products");
    }

    /// Calls f(begin, end) for chunks of `grain` that depend on n and grain alone, never on the number of threads.
    template <class F>
    void parallel_for(index n, index grain, F&& f) const {
        exec().for_chunks(n, grain, std::forward<F>(f));
    }

    /// Calls f(), or f(register_size<N>{}), whose loops the compiler vectorizes for the backend's instruction set.
    template <class F>
    void vectorized(F&& f) const {
#if SUBBIT_X86
        if (isa_ == isa::avx512) return cpu_kernels::run_loop(avx512_arch{}, f);
        if (isa_ == isa::avx2) return cpu_kernels::run_loop(avx2_arch{}, f);
#endif
        cpu_kernels::run_loop(portable_arch{}, f);
    }

  private:
    isa isa_;
    precision products_;
    bf16_method bf16_;
    std::shared_ptr<thread_pool> pool_;
};

}  // namespace subbit
