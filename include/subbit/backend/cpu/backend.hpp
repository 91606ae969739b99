// The cpu backend: all threads and the widest SIMD of the machine, chosen at run time.
#pragma once

#include <subbit/backend/cpu/isa.hpp>
#include <subbit/backend/cpu/kernels/simd_loop.hpp>
#include <subbit/backend/cpu/machine.hpp>
#include <subbit/backend/cpu/tag.hpp>
#include <subbit/backend/cpu/thread_pool.hpp>

#include <algorithm>
#include <memory>
#include <string>
#include <thread>
#include <utility>

namespace subbit {

struct cpu_options {
    int threads = 0;                      ///< 0: all threads of the machine
    isa instructions = preferred_isa();   ///< at most those of the machine
    precision products = precision::f32;  ///< of float32 matrix products; double and packed products are not affected
    bool bf16_instructions =
        prefer_bf16_instructions();  ///< if false, or without them: rounded operands, float32 products
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

    /// Throws value_error for a negative number of threads, an instruction set that the machine lacks, and a SUBBIT_ISA
    /// in the environment that is unknown.
    explicit cpu(cpu_options options = {})
        : isa_(options.instructions),
          products_(options.products),
          bf16_instructions_(options.bf16_instructions && isa_ == isa::avx512 && detect_bf16()) {
        if (options.threads < 0)
            throw value_error("cpu: " + std::to_string(options.threads) + " threads, expected 0 (all) or more");
        if (!has_isa(isa_))
            throw value_error(std::string("cpu: this machine has no ") + isa_name(isa_) + ", at most " +
                              isa_name(detect_isa()));
        const int all = std::max(1, static_cast<int>(std::thread::hardware_concurrency()));
        pool_ = std::make_shared<thread_pool>(options.threads == 0 ? all : options.threads);
    }

    int threads() const { return pool_->threads(); }
    /// Runs the loops of this backend's kernels.
    executor exec() const { return executor(*pool_); }
    isa instructions() const { return isa_; }
    precision products() const { return products_; }
    /// True if bfloat16 products use the processor's instruction, and not float32 arithmetic on rounded operands.
    bool bf16_instructions() const { return bf16_instructions_; }

    /// A description in one line: "cpu: avx512 + bf16, 2 threads, bf16 products".
    std::string describe() const {
        return std::string("cpu: ") + isa_name(isa_) + (bf16_instructions_ ? " + bf16, " : ", ") +
               std::to_string(threads()) + (threads() == 1 ? " thread, " : " threads, ") +
               (products_ == precision::bf16 ? "bf16" : "f32") + " products";
    }

    /// Calls f(begin, end) for chunks of `grain` that depend on n and grain alone, never on the number of threads.
    template <class F>
    void parallel_for(index n, index grain, F&& f) const {
        exec().for_chunks(n, grain, std::forward<F>(f));
    }

    /// Calls f(), whose loops the compiler vectorizes for the backend's instruction set.
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
    bool bf16_instructions_;
    std::shared_ptr<thread_pool> pool_;
};

}  // namespace subbit
