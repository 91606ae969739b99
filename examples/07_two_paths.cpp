// A residual layer: W as the sum of two sign matrices with scales, two bits per weight, against plain loops.
#include <subbit/subbit.hpp>

#include <algorithm>
#include <cmath>
#include <cstdio>

namespace sb = subbit;

int main() {
    const sb::index m = 192, n = 128, tokens = 5;
    const sb::cpu b;
    sb::matrix<float> W(m, n), X(tokens, n), Y;
    sb::fill_normal(b, sb::random_stream(1), W);
    sb::fill_normal(b, sb::random_stream(2), X);

    const auto one = sb::residual_svid(b, W, {.paths = 1});
    const auto two = sb::residual_svid(b, W, {.paths = 2});
    two.layer.apply(b, X, Y);  // Y = sum over the paths of s_post o (B (s_pre o x)), for each row x of X

    double difference = 0, largest = 0;
    for (sb::index t = 0; t < tokens; ++t)
        for (sb::index i = 0; i < m; ++i) {
            double sum = 0;
            for (const auto& path : two.layer.paths)
                for (sb::index j = 0; j < n; ++j)
                    sum += double(path.s_post[i]) * path.B.get(i, j) * double(path.s_pre[j]) * double(X(t, j));
            difference = std::max(difference, std::abs(sum - double(Y(t, i))));
            largest = std::max(largest, std::abs(sum));
        }

    std::printf("%td x %td: error %.4f with one path, %.4f with two at %.3f bits per weight; product off by %.1e\n", m,
                n, one.error, two.error, two.layer.bits_per_weight(), difference / largest);
    const bool good = two.error < one.error / 2 && two.layer.bits_per_weight() < 2.5 && difference < 1e-5 * largest;
    if (!good)
        std::fprintf(stderr, "check failed: the second path does not halve the error, or the product is wrong\n");
    return good ? 0 : 1;
}
