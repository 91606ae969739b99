// Compiled with -march=native -DEigen=EigenNative (bench/CMakeLists.txt).
#include "eigen_native.hpp"

#include <Eigen/Core>

namespace subbit::bench {

using row_major = Eigen::Matrix<float, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;

int eigen_use_threads(int threads) {
    Eigen::setNbThreads(threads);
    return Eigen::nbThreads();
}

void eigen_gemm(const float* A, const float* X, float* C, long m, long k, long n) {
    Eigen::Map<row_major>(C, m, n).noalias() =
        Eigen::Map<const row_major>(A, m, k) * Eigen::Map<const row_major>(X, k, n);
}

void eigen_gemv(const float* W, const float* x, float* y, long m, long n) {
    Eigen::Map<Eigen::VectorXf>(y, m).noalias() =
        Eigen::Map<const row_major>(W, m, n) * Eigen::Map<const Eigen::VectorXf>(x, n);
}

}  // namespace subbit::bench
