// The cuda backend on a GPU; says skipped where there is none.
#include <subbit/backend/cpu.hpp>
#include <subbit/backend/cuda.cuh>
#include <subbit/backend/jobs/streams.hpp>
#include <subbit/factor/lb_admm.hpp>

#include "cuda/gpu.cuh"
#include "factor/random_matrices.hpp"
#include "gpu/exchanges.hpp"
#include "support/throws.hpp"

#include <doctest/doctest.h>
#include <cstddef>
#include <span>
#include <vector>

namespace subbit::testing {

TEST_CASE("threads of a GPU exchange values") {
    if (no_gpu()) return;
    const cuda b;
    for (const int threads : {32, 96, 256, 1024}) {
        const subbit::index blocks = 3;
        auto counts = allocate<int>(b, blocks * threads);
        b.launch({blocks, threads, static_cast<std::size_t>(threads) * sizeof(int)}, exchanges{span_of(counts).data()});
        check_exchanges(download(b, std::span<const int>(const_span(counts))), threads);
    }
}

TEST_CASE("more shared memory than a launch has without asking") {
    if (no_gpu()) return;
    const cuda b;
    auto counts = allocate<int>(b, 96);
    b.launch({1, 96, std::size_t{100} * 1024}, exchanges{span_of(counts).data()});
    check_exchanges(download(b, std::span<const int>(const_span(counts))), 96);
}

TEST_CASE("more shared memory than a GPU has is an error that says so, and the last") {
    if (no_gpu()) return;
    const cuda b;
    auto counts = allocate<int>(b, 96);
    const auto launch = [&](std::size_t bytes) { b.launch({1, 96, bytes}, exchanges{span_of(counts).data()}); };
    // On an H100: 227 KB, of which the block's reductions take some.
    check_throws<value_error>([&] { launch(std::size_t{227} * 1024); }, {"shared memory", "this GPU has"});
    launch(1024);
    check_exchanges(download(b, std::span<const int>(const_span(counts))), 96);
}

TEST_CASE("a recording that fails leaves nothing behind") {
    if (no_gpu()) return;
    const cuda b;
    auto counts = allocate<int>(b, 96);
    CHECK_THROWS_AS(b.device().record([&] { b.device().synchronize(); }), cuda_error);
    b.launch({1, 96, 96 * sizeof(int)}, exchanges{span_of(counts).data()});
    check_exchanges(download(b, std::span<const int>(const_span(counts))), 96);
}

TEST_CASE("LB-ADMM replays what it would launch, to the bit, and ends as well as on the cpu") {
    if (no_gpu()) return;
    const matrix<float> W = weight_like(3, 301, 205).cast<float>();
    const auto run = [&](const auto& b, admm_iteration iteration, bool watched) {
        lb_admm_options<float> options{.rank = 76, .iterations = 60, .iteration = iteration};
        options.callback_every = 1;
        if (watched) options.callback = [](const admm_status&) {};  // a step that is watched is not recorded
        return lb_admm(b, W, options);
    };
    for (const auto iteration : {admm_iteration(paper_iteration{}), admm_iteration(improved_iteration{})})
        for (const bool tf32 : {false, true}) {
            const cuda b(cuda_device({.tf32 = tf32}));
            const auto replays = run(b, iteration, false), launches = run(b, iteration, true);
            CHECK(replays.U_latent == launches.U_latent);
            CHECK(replays.s_pre == launches.s_pre);
            CHECK(replays.error == doctest::Approx(run(cpu(), iteration, false).error).epsilon(0.02));
        }
}

TEST_CASE("copies are recorded") {
    if (no_gpu()) return;
    check_recorded_copies(cuda());
}

TEST_CASE("a GPU whose memory is asked for too much says so, and goes on") {
    if (no_gpu()) return;
    const cuda b;
    check_throws<cuda_error>([&] { b.scratch<double>(subbit::index{1} << 38); }, {"out of the GPU's memory"});
    CHECK(download(b, upload(b, matrix<float>(matrix<float>::Ones(2, 3)))) == matrix<float>::Ones(2, 3));
}

TEST_CASE("layers side by side on streams are those factored one by one") {
    if (no_gpu()) return;
    const cuda b;
    const matrix<float> W = matrix<float>::Random(65, 48);
    const auto solve = [&](const cuda& stream) { return lb_admm(stream, W, {.rank = 24, .iterations = 10}); };
    std::vector<factorization<float>> fits(5);
    for_each_on_streams(b, std::ssize(fits), 3, [&](const cuda& stream, subbit::index i) {
        fits[static_cast<std::size_t>(i)] = solve(stream);
    });
    for (const auto& fit : fits)
        CHECK(fit.U == solve(b).U);
}

TEST_CASE("matrices go to the GPU and come back") {
    if (no_gpu()) return;
    const cuda b;
    const matrix<float> X = matrix<float>::Random(33, 65);
    auto x = upload(b, X);
    auto y = allocate<float>(b, 65, 33);
    axpby(b, 2, view(x).t(), 0, y);
    CHECK(download(b, view(y).t()) == matrix<float>(2 * X));
}

}  // namespace subbit::testing
