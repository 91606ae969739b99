// One binary layer tuned to match a dense one: AdamW moves latents, whose signs are the bits, by the straight-through
// estimator. These are the steps of tune_block, for a single layer.
#include <subbit/subbit.hpp>

#include <cmath>
#include <cstdio>

namespace sb = subbit;

int main() {
    const sb::index m = 96, n = 128, tokens = 512;
    const int steps = 60;
    const sb::cpu b;
    sb::matrix<float> W(m, n), few(tokens, 24), mix(24, n), X(tokens, n), target(tokens, m);
    std::uint64_t seed = 0;
    for (auto* matrix : {&W, &few, &mix, &X})
        sb::fill_normal(b, sb::random_stream(++seed), *matrix);
    sb::gemm(b, few, mix, X, 0.2, 0.3);  // the inputs' channels are correlated, which the solver does not know
    sb::gemm(b, X, sb::view(W).t(), target);

    const auto rank = sb::rank_for(sb::bits_per_weight{1.0}, m, n);
    sb::linear_layer<float> layer = sb::trainable_layer(sb::lb_admm(b, W, {.rank = rank}));
    const auto first_bits = layer.binary().layer.U;

    // A relative rate is a share of the parameter's mean magnitude; a rate of zero freezes that kind of parameter.
    const sb::phase_options phase{.latents = sb::learning_rate::share_of_magnitude(0.02),
                                  .scales = sb::learning_rate::share_of_magnitude(0.002)};
    std::vector<sb::parameter<float>> parameters;
    layer.parameters(b, "layer", phase.what(), parameters);
    sb::tuner<float> tuner(b, parameters, phase, steps);

    sb::matrix<float> Y(tokens, m), dY(tokens, m);
    sb::linear_tape<float> tape;
    sb::linear_workspace<float> work;
    const auto forward = [&] {  // the error ||Y - target||^2 / ||target||^2; dY becomes the gradient of its numerator
        double loss = 0;
        layer.forward(b, sb::const_view(X), sb::view(Y), tape, work);
        sb::weighted_squared_error(b, sb::const_view(Y), sb::const_view(target), {}, sb::view(dY), {&loss, 1});
        return loss / sb::weighted_square(b, sb::const_view(target), {});
    };

    const double before = forward();
    for (int step = 0; step < steps; ++step) {
        forward();
        layer.backward(b, phase.what(), sb::const_view(X), sb::view(dY), {}, false, tape, work);
        tuner.step(b);
        layer.after_update(b);  // the bits are the signs of the latents again
    }
    layer.binary().harden(false);  // drops gradients and latents; the rest is what would be stored
    const double after = forward();

    const auto flipped = sb::count_differences(first_bits, layer.binary().layer.U);
    std::printf("%td x %td at rank %td: error %.4f factorized, %.4f after %d steps; %td of %td signs of U flipped\n", m,
                n, rank, before, after, steps, flipped, m * rank);
    const bool good = after < 0.95 * before && flipped > 0;
    if (!good) std::fprintf(stderr, "check failed: tuning did not lower the error by a twentieth\n");
    return good ? 0 : 1;
}
