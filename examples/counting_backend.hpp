// A user's backend: the cpu's, which also counts the operations of its dense matrix products. A backend consists of
//   1. a tag that inherits from the tag that it extends,
//   2. a copyable type with that tag,
//   3. an overload do_OPERATION(tag, backend, ...) for each operation that it implements itself.
// Everything else is inherited from the cpu's.
#pragma once

#include <subbit/backend/cpu.hpp>

#include <memory>

namespace counting {

struct counting_tag : subbit::cpu_tag {};

class counting_cpu : public subbit::cpu {
  public:
    using tag = counting_tag;
    using subbit::cpu::cpu;

    /// Multiplications and additions so far, of this backend and all its copies.
    double operations() const { return *operations_; }
    void add(double operations) const { *operations_ += operations; }

  private:
    std::shared_ptr<double> operations_ = std::make_shared<double>(0.0);
};

template <class B, class S>
void do_gemm(counting_tag, const B& b, subbit::matrix_view<const S> A, subbit::matrix_view<const S> X,
             subbit::matrix_view<S> C, S alpha, S beta) {
    b.add(2.0 * static_cast<double>(A.rows) * static_cast<double>(A.cols) * static_cast<double>(X.cols));
    do_gemm(subbit::cpu_tag{}, b, A, X, C, alpha, beta);
}

}  // namespace counting
