// What the kernels need to know of a backend.
#pragma once

#include <subbit/backend/cpu/isa.hpp>
#include <subbit/backend/cpu/thread_pool.hpp>

namespace subbit {

/// The element type of the cpu backend's dense float32 products.
enum class precision {
    f32,  ///< IEEE single precision
    bf16  ///< operands rounded to bfloat16 (nearest, ties to even), float32 accumulation
};

namespace cpu_kernels {

/// What decides on the kernels of a backend, and where they run.
class machine {
  public:
    template <class B>
    explicit machine(const B& b)
        : exec_(b.exec()),
          instructions_(b.instructions()),
          products_(b.products()),
          bf16_instructions_(b.bf16_instructions()) {}

    executor exec() const { return exec_; }
    isa instructions() const { return instructions_; }
    precision products() const { return products_; }
    bool bf16_instructions() const { return bf16_instructions_; }

  private:
    executor exec_;
    isa instructions_;
    precision products_;
    bool bf16_instructions_;
};

}  // namespace cpu_kernels

}  // namespace subbit
