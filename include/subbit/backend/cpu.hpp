// The cpu backend: all threads, the widest SIMD that the machine has, chosen at run time.
#pragma once

#include <subbit/backend/byte_operations.hpp>
#include <subbit/backend/cpu/byte_product.hpp>
#include <subbit/backend/cpu/gemm.hpp>
#include <subbit/backend/cpu/gemm_kernel_x86.hpp>
#include <subbit/backend/cpu/gemm_pack_x86.hpp>
#include <subbit/backend/cpu/isa.hpp>
#include <subbit/backend/cpu/packed_kernel_int8.hpp>
#include <subbit/backend/cpu/packed_kernel_x86.hpp>
#include <subbit/backend/cpu/packed_layers.hpp>
#include <subbit/backend/cpu/simd_loop.hpp>
#include <subbit/backend/cpu/spd.hpp>
#include <subbit/backend/cpu/tag.hpp>
#include <subbit/backend/cpu/thread_pool.hpp>
#include <subbit/backend/layer_operations.hpp>
#include <subbit/backend/reference.hpp>

#include <algorithm>
#include <concepts>
#include <memory>
#include <string>
#include <thread>
#include <utility>

namespace subbit {

struct cpu_options {
    int threads = 0;                      ///< 0: as many as the machine has
    isa instructions = preferred_isa();   ///< at most what the machine has
    precision products = precision::f32;  ///< of float32 matrix products; double and packed products are not affected
    bool bf16_instructions = prefer_bf16_instructions();  ///< else, or without them: rounded operands, float32 products
};

/// A processor with shared memory. Results do not depend on the number of threads. Copies share the threads; loops that
/// are started from several threads at once, or from within one another, are correct but do not run faster.
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
        if (isa_ > detect_isa())
            throw value_error(std::string("cpu: this machine has no ") + isa_name(isa_) + ", at most " +
                              isa_name(detect_isa()));
        const int all = std::max(1, static_cast<int>(std::thread::hardware_concurrency()));
        pool_ = std::make_shared<thread_pool>(options.threads == 0 ? all : options.threads);
    }

    int threads() const { return pool_->threads(); }
    /// Where this backend's kernels run their loops.
    executor exec() const { return executor(*pool_); }
    isa instructions() const { return isa_; }
    precision products() const { return products_; }
    /// True where bfloat16 products run as instructions rather than as rounded float32.
    bool bf16_instructions() const { return bf16_instructions_; }

    /// One line for people: "cpu: avx512 + bf16, 2 threads, bf16 products".
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
        if (isa_ == isa::avx512) return run_loop(avx512_arch{}, f);
        if (isa_ == isa::avx2) return run_loop(avx2_arch{}, f);
#endif
        run_loop(portable_arch{}, f);
    }

  private:
    isa isa_;
    precision products_;
    bool bf16_instructions_;
    std::shared_ptr<thread_pool> pool_;
};

/// Calls f(arch) with the tag of the backend's instruction set.
template <class B, class F>
decltype(auto) with_arch([[maybe_unused]] const B& b, F&& f) {
#if SUBBIT_X86
    if (b.instructions() == isa::avx512) return f(avx512_arch{});
    if (b.instructions() == isa::avx2) return f(avx2_arch{});
#endif
    return f(portable_arch{});
}

/// Calls f(arch, products) with the tags of the backend's instruction set and of its products of S.
template <class S, class B, class F>
void with_products(const B& b, F&& f) {
    if constexpr (std::same_as<S, float>) {
        if (b.products() == precision::bf16) {
#if SUBBIT_X86
            if (b.bf16_instructions()) return f(avx512_arch{}, bf16_products{});
#endif
            return with_arch(b, [&](auto arch) { f(arch, rounded_products{}); });
        }
    }
    with_arch(b, [&](auto arch) { f(arch, plain_products<S>{}); });
}

template <class B, std::floating_point S>
void do_gemm(cpu_tag, const B& b, matrix_view<const S> A, matrix_view<const S> X, matrix_view<S> C, S alpha, S beta) {
    with_products<S>(
        b, [&](auto arch, auto products) { dense_gemm<decltype(products)>(arch, b.exec(), A, X, C, alpha, beta); });
}

/// Calls f(arch, kernel) with the kernel of products of packed signs with vectors of S.
template <class S, class B, class F>
void with_packed_kernel(const B& b, [[maybe_unused]] packed_precision wanted, F&& f) {
#if SUBBIT_X86
    if constexpr (std::same_as<S, float>)
        if (wanted == packed_precision::int8) {
            if (b.instructions() == isa::avx512 && detect_byte_tables())
                return f(avx512_arch{}, int8_kernel<avx512_arch>{});
            if (b.instructions() != isa::portable) return f(avx2_arch{}, int8_kernel<avx2_arch>{});
        }
#endif
    with_arch(b, [&](auto arch) { f(arch, packed_kernel<decltype(arch), S>{}); });
}

/// Products with signs are sums in S, whatever the backend's precision: packed, they are faster than rounded products.
template <class B, std::floating_point S>
void do_gemm(cpu_tag, const B& b, matrix_view<const S> A, transposed_bit_view X, matrix_view<S> C, S alpha, S beta) {
    with_packed_kernel<S>(b, packed_precision::exact, [&](auto arch, auto kernel) {
        packed_gemm<decltype(kernel)>(arch, b.exec(), A, X.t(), false, C, alpha, beta);
    });
}

template <class B, std::floating_point S>
void do_gemm(cpu_tag, const B& b, matrix_view<const S> A, bit_view X, matrix_view<S> C, S alpha, S beta) {
    with_packed_kernel<S>(b, packed_precision::exact, [&](auto arch, auto kernel) {
        packed_gemm<decltype(kernel)>(arch, b.exec(), A, X, true, C, alpha, beta);
    });
}

template <class B, std::floating_point S>
void do_apply_layers(cpu_tag, const B& b, std::span<const layer_output<S>> layers, matrix_view<const S> X,
                     apply_options options) {
    with_packed_kernel<S>(b, options.precision,
                          [&](auto arch, auto kernel) { packed_layers<decltype(kernel)>(arch, b.exec(), layers, X); });
}

template <class B>
void do_byte_products(cpu_tag, const B& b, matrix_view<const std::int8_t> W, std::span<const std::int16_t> x,
                      std::span<std::int32_t> y) {
    with_arch(b, [&](auto arch) { byte_product(arch, b.exec(), W, x.data(), y.data()); });
}

template <class B, std::floating_point S>
void do_apply_layer(cpu_tag, const B& b, const residual_binary_linear<S>& layer, matrix_view<const S> X,
                    matrix_view<S> Y) {
    with_packed_kernel<S>(b, packed_precision::exact,
                          [&](auto arch, auto kernel) { packed_paths<decltype(kernel)>(arch, b.exec(), layer, X, Y); });
}

/// Always in full precision: what a Gram matrix loses, the solve with it multiplies.
template <class B, std::floating_point S>
void do_gram(cpu_tag, const B& b, matrix_view<const S> X, matrix_view<S> G) {
    with_arch(b, [&](auto arch) { blocked_gram<plain_products<S>>(arch, b.exec(), X, G); });
}

template <class B, std::floating_point S>
void do_spd_solve(cpu_tag, const B& b, matrix_view<S> G, matrix_view<S> R) {
    struct kept;
    const matrix_view<S> original(thread_scratch<kept>().template reserve<S>(G.size()), G.rows, G.cols);
    do_axpby(cpu_tag{}, b, S(1), matrix_view<const S>(G), S(0), original);
    const bool solved = with_arch(b, [&](auto arch) {
        cholesky_solver<decltype(arch), S> solver(b.exec(), G);
        if (solver.positive()) solver.solve_right(R);
        return solver.positive();
    });
    if (solved) return;
    as_eigen(G) = as_eigen(original);
    do_spd_solve(reference_tag{}, b, G, R);
}

}  // namespace subbit

// The rest of the operations are overloads on cpu_tag too.
#include <subbit/backend/cpu/factor_steps.hpp>
#include <subbit/backend/cpu/path_steps.hpp>
#if defined(SUBBIT_COMPILED)
#include <subbit/backend/instances.hpp>
#endif
