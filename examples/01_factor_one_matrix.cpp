// One weight matrix at one bit per weight: rank, factorization, packed layer, product. Checks itself against plain
// loops.
#include <subbit/subbit.hpp>

#include <cmath>
#include <cstdio>

namespace sb = subbit;

/// A matrix like a trained weight: low rank and noise.
sb::matrix<float> make_weight(const sb::cpu& backend, sb::index m, sb::index n) {
    const sb::index inner = n / 8;
    sb::matrix<float> left(m, inner), right(inner, n), W(m, n);
    sb::fill_normal(backend, sb::random_stream(1), left);
    sb::fill_normal(backend, sb::random_stream(2), right);
    sb::fill_normal(backend, sb::random_stream(3), W);
    sb::gemm(backend, left, right, W, 1 / std::sqrt(static_cast<double>(inner)), 0.3);
    return W;
}

/// sum_ij o_i (W - What)_ij^2 i_j over sum_ij o_i W_ij^2 i_j, entry by entry from the packed bits.
double weighted_error(const sb::matrix<float>& W, const sb::vector<float>& i, const sb::vector<float>& o,
                      const sb::low_rank_binary_linear<float>& layer) {
    double wrong = 0, all = 0;
    for (sb::index row = 0; row < W.rows(); ++row)
        for (sb::index col = 0; col < W.cols(); ++col) {
            int agreements = 0;
            for (sb::index k = 0; k < layer.rank(); ++k)
                agreements += layer.U.get(row, k) * layer.V.get(k, col);
            const double approximation = double(layer.s_post[row]) * agreements * double(layer.s_pre[col]);
            const double weight = double(o[row]) * double(i[col]);
            wrong += weight * std::pow(W(row, col) - approximation, 2);
            all += weight * std::pow(W(row, col), 2);
        }
    return wrong / all;
}

/// max |y - y'| over max |y'|, with y' = s_post o (U (V (s_pre o x))) by plain loops.
double product_error(const sb::low_rank_binary_linear<float>& layer, const sb::vector<float>& x,
                     const sb::vector<float>& y) {
    double difference = 0, largest = 0;
    std::vector<double> hidden(static_cast<std::size_t>(layer.rank()));
    for (sb::index k = 0; k < layer.rank(); ++k)
        for (sb::index col = 0; col < layer.cols(); ++col)
            hidden[static_cast<std::size_t>(k)] += layer.V.get(k, col) * double(layer.s_pre[col]) * double(x[col]);
    for (sb::index row = 0; row < layer.rows(); ++row) {
        double sum = 0;
        for (sb::index k = 0; k < layer.rank(); ++k)
            sum += layer.U.get(row, k) * hidden[static_cast<std::size_t>(k)];
        sum *= double(layer.s_post[row]);
        difference = std::max(difference, std::abs(sum - double(y[row])));
        largest = std::max(largest, std::abs(sum));
    }
    return difference / largest;
}

int main() {
    const sb::index m = 384, n = 256;
    sb::cpu backend;
    const sb::matrix<float> W = make_weight(backend, m, n);
    const sb::vector<float> i = sb::vector<float>::LinSpaced(n, 0.5F, 2.0F);  // second moments of the inputs
    const sb::vector<float> o = sb::vector<float>::LinSpaced(m, 2.0F, 0.5F);  // and of the output gradients
    const sb::vector<float> x = sb::vector<float>::LinSpaced(n, -1.0F, 1.0F);
    sb::vector<float> y;

    auto rank = sb::rank_for(sb::bits_per_weight{1.0}, m, n);
    auto fit = sb::lb_admm(backend, W, {.rank = rank, .input = i, .output = o});
    auto layer = fit.pack();     // packed bits and scales
    layer.apply(backend, x, y);  // y = s_post o (U (V (s_pre o x)))

    const double error = weighted_error(W, i, o, layer);
    const double product = product_error(layer, x, y);
    std::printf("%td x %td at rank %td: %.3f bits per weight, error %.4f, product off by %.1e\n", m, n, rank,
                layer.bits_per_weight(), error, product);

    const bool good =
        layer.bits_per_weight() <= 1.0 && error < 0.5 && std::abs(error - fit.error) < 1e-4 && product < 1e-5;
    if (!good) std::fprintf(stderr, "check failed: the solver said %.4f\n", fit.error);
    return good ? 0 : 1;
}
