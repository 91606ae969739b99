// What a project that uses subbit writes; it ends with 0 where the layer answers.
#include <subbit/subbit.hpp>

#include <cmath>

namespace sb = subbit;

int main() {
    const sb::index m = 64, n = 48;
    sb::cpu backend;
    sb::matrix<float> W(m, n);
    sb::fill_normal(backend, sb::random_stream(1), W);
    const sb::vector<float> i = sb::vector<float>::Ones(n), o = sb::vector<float>::Ones(m), x = W.row(0);
    sb::vector<float> y;

    auto rank = sb::rank_for(sb::bits_per_weight{1.0}, m, n);
    auto fit = sb::lb_admm(backend, W, {.rank = rank, .input = i, .output = o});
    auto layer = fit.pack();
    layer.apply(backend, x, y);

    return y.size() == m && std::isfinite(y.norm()) && y[0] > 0 ? 0 : 1;
}
