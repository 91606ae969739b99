// Threads: OpenMP over chunks whose boundaries never depend on the number of threads.
#pragma once

#include <subbit/core/matrix.hpp>

#include <algorithm>
#include <atomic>
#include <exception>
#include <type_traits>

#if defined(_OPENMP)
#include <omp.h>
#endif

namespace subbit {

/// The number of threads that OpenMP would use; 1 without it.
inline int hardware_threads() {
#if defined(_OPENMP)
    return omp_get_max_threads();
#else
    return 1;
#endif
}

/// Calls f(begin, end) once for each chunk [c*grain, min(n, (c+1)*grain)), shared out among `threads` threads.
///
/// Serial when there is one chunk, one thread, or a parallel region around the call. The first exception that f throws
/// is thrown again here, after all threads have stopped.
template <class F>
void parallel_chunks([[maybe_unused]] int threads, index n, index grain, F&& f) {
    grain = std::max<index>(grain, 1);
    const index chunks = (n + grain - 1) / grain;
#if defined(_OPENMP)
    if (threads > 1 && chunks > 1 && !omp_in_parallel()) {
        std::exception_ptr failure;
        std::atomic<bool> failed = false;
#pragma omp parallel for schedule(dynamic, 1) num_threads(static_cast <int>(std::min <index>(threads, chunks)))
        for (index c = 0; c < chunks; ++c) {
            if (failed.load(std::memory_order_relaxed)) continue;
            try {
                f(c * grain, std::min(n, (c + 1) * grain));
            } catch (...) {
                if (!failed.exchange(true)) failure = std::current_exception();
            }
        }
        if (failure) std::rethrow_exception(failure);
        return;
    }
#endif
    for (index c = 0; c < chunks; ++c)
        f(c * grain, std::min(n, (c + 1) * grain));
}

}  // namespace subbit
