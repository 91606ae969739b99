// How fast this machine multiplies, for the estimate of a job's time.
#pragma once

#include <subbit/backend/ops/dense.hpp>
#include <subbit/backend/ops/memory.hpp>

#include <algorithm>
#include <chrono>

namespace llama {

/// Floating-point operations a second in products of a block's sizes: the best of several short trials, since a
/// processor that was idle is slow at first.
template <class B>
double measure_rate(const B& b) {
    using clock = std::chrono::steady_clock;
    constexpr subbit::index tokens = 256, inner = 576, outer = 1536;
    const auto A = subbit::upload(b, subbit::matrix<float>(subbit::matrix<float>::Constant(tokens, inner, 0.5F)));
    const auto X = subbit::upload(b, subbit::matrix<float>(subbit::matrix<float>::Ones(inner, outer)));
    auto C = subbit::allocate<float>(b, tokens, outer);
    const auto multiply = [&] {
        subbit::gemm(b, A, X, C);
        if constexpr (requires { b.synchronize(); }) b.synchronize();
    };
    multiply();  // starts the threads
    double best = 0;
    for (int trial = 0; trial < 10; ++trial) {
        const auto start = clock::now();
        double operations = 0, seconds = 0;
        while (seconds < 0.03) {
            multiply();
            operations += 2.0 * tokens * inner * outer;
            seconds = std::chrono::duration<double>(clock::now() - start).count();
        }
        best = std::max(best, operations / seconds);
    }
    return best;
}

}  // namespace llama
