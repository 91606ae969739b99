// Eigen's own product, compiled for this machine: what a caller gets who builds with -march=native. It lives in a
// translation unit of its own, under a namespace of its own, so that no symbol of it meets the ones of the other flags.
#pragma once

namespace subbit::bench {

/// Sets how many threads Eigen's products use (OpenMP) and returns how many they will: 1 where it was built without.
int eigen_use_threads(int threads);

/// C (m,n) = A (m,k) X (k,n), all row-major and contiguous.
void eigen_gemm(const float* A, const float* X, float* C, long m, long k, long n);

/// y (m) = W (m,n) x (n).
void eigen_gemv(const float* W, const float* x, float* y, long m, long n);

}  // namespace subbit::bench
