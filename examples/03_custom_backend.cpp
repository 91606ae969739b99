// A solver on a backend that the library does not know (counting_backend.hpp): it computes the same bits as on the cpu,
// and counts its work.
#include "counting_backend.hpp"

#include <subbit/subbit.hpp>

#include <cstdio>

namespace sb = subbit;

static_assert(sb::backend<counting::counting_cpu> && sb::host_backend<counting::counting_cpu>);

int main() {
    const sb::index m = 192, n = 128, rank = 64;
    const int iterations = 50;
    const sb::cpu plain;
    const counting::counting_cpu backend;
    sb::matrix<float> W(m, n);
    sb::fill_normal(backend, sb::random_stream(11), W);

    const auto ours = sb::lb_admm(backend, W, {.rank = rank, .iterations = iterations}).pack();
    const auto theirs = sb::lb_admm(plain, W, {.rank = rank, .iterations = iterations}).pack();

    // Each iteration multiplies the weight by one factor and its transpose by the other; what refines the result
    // afterwards is another quarter of that.
    const double least = iterations * 2 * (2.0 * static_cast<double>(m * n * rank));
    std::printf("%.1f million operations in products, the iterations need %.1f\n", backend.operations() / 1e6,
                least / 1e6);

    const bool same = ours.U == theirs.U && ours.V == theirs.V;
    const bool counted = backend.operations() >= least && backend.operations() < 1.4 * least;
    if (!same) std::fprintf(stderr, "check failed: the bits are not those of the cpu backend\n");
    if (!counted) std::fprintf(stderr, "check failed: the count is not that of the algorithm\n");
    return same && counted ? 0 : 1;
}
