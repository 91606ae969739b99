// What the kernels need to know of a backend.
#pragma once

#include <subbit/backend/cpu/isa.hpp>
#include <subbit/backend/cpu/matrix_units.hpp>
#include <subbit/backend/cpu/processor.hpp>
#include <subbit/backend/cpu/thread_pool.hpp>

namespace subbit {

/// The element type of the cpu backend's dense float32 products.
enum class precision {
    f32,  ///< IEEE single precision
    bf16  ///< operands rounded to bfloat16 (nearest, ties to even), float32 accumulation
};

/// How products of numbers rounded to bfloat16 are computed.
enum class bf16_method {
    rounding,     ///< the operands are rounded, the arithmetic is float32's
    instruction,  ///< AVX512_BF16
    matrix_units  ///< AMX; products with packed signs use them too
};

inline constexpr bf16_method all_bf16_methods[] = {bf16_method::rounding, bf16_method::instruction,
                                                   bf16_method::matrix_units};

constexpr const char* bf16_method_name(bf16_method m) {
    constexpr const char* names[] = {"rounding", "instruction", "matrix_units"};
    return names[static_cast<int>(m)];
}

/// True if this machine has the method with the kernels of that instruction set.
inline bool has_bf16_method(bf16_method m, isa instructions) {
    if (m == bf16_method::rounding) return true;
    return instructions == isa::avx512 && (m == bf16_method::instruction ? detect_bf16() : detect_matrix_units());
}

/// The fastest method of this machine. Of the instruction AMD's processors run two a cycle; Intel's run one, which is
/// slower than float32 multiply-adds on rounded operands (docs/numerics.md has the figures).
inline bf16_method preferred_bf16_method(isa instructions) {
    if (has_bf16_method(bf16_method::matrix_units, instructions)) return bf16_method::matrix_units;
#if SUBBIT_X86
    if (has_bf16_method(bf16_method::instruction, instructions) && is_amd()) return bf16_method::instruction;
#endif
    return bf16_method::rounding;
}

namespace cpu_kernels {

/// What decides on the kernels of a backend, and where they run.
class machine {
  public:
    template <class B>
    explicit machine(const B& b)
        : exec_(b.exec()), instructions_(b.instructions()), products_(b.products()), bf16_(b.bf16()) {}

    executor exec() const { return exec_; }
    isa instructions() const { return instructions_; }
    precision products() const { return products_; }
    bf16_method bf16() const { return bf16_; }

  private:
    executor exec_;
    isa instructions_;
    precision products_;
    bf16_method bf16_;
};

}  // namespace cpu_kernels

}  // namespace subbit
