// One training step of the linear layers of a SmolLM2 block: dense, two coupled paths, two independent ones. And what a
// step does to each entry of a matrix, beside a sum of two matrices: a loop that a compiler did not vectorize shows.
#include "bench_support.hpp"

#include <subbit/factor/residual_svid.hpp>
#include <subbit/recon/tuning.hpp>

namespace subbit::bench {
namespace {

struct shape {
    index m, n;
};

constexpr shape shapes[] = {{576, 576}, {192, 576}, {192, 576}, {576, 576}, {1536, 576}, {1536, 576}, {576, 1536}};

enum class kind { dense, coupled, independent };

linear_layer<float> layer_of(const cpu& b, const shape& s, kind what, std::uint64_t seed) {
    auto W = random_matrix<float>(s.m, s.n, seed);
    if (what == kind::dense) {
        dense_linear<float> dense;
        dense.weight = std::move(W);
        return dense;
    }
    residual_linear<float> residual;
    residual.layer = residual_svid(b, W, {.paths = 2, .rounds = 2}).layer;
    residual.follow(b, std::move(W), what == kind::coupled ? path_coupling::coupled : path_coupling::independent);
    return residual;
}

void add_step(const std::string& name, kind what, matrix_optimizer matrices, index tokens, int threads) {
    add(
        "step/" + name + "/tokens:" + std::to_string(tokens) + "/threads:" + std::to_string(threads),
        [=](benchmark::State& state) {
            const cpu b(cpu_options{.threads = threads, .products = precision::bf16});
            std::vector<linear_layer<float>> layers;
            std::vector<parameter<float>> parameters;
            std::vector<matrix<float>> X, Y, dX;
            std::uint64_t seed = 0;
            for (const auto& s : shapes) {
                layers.push_back(layer_of(b, s, what, ++seed));
                X.push_back(random_matrix<float>(tokens, s.n, 100 + seed));
                Y.push_back(random_matrix<float>(tokens, s.m, 200 + seed));
                dX.emplace_back(tokens, s.n);
            }
            const trainable train{.weights = true, .latents = true, .scales = true};
            for (auto& layer : layers)
                layer.parameters(b, "", train, parameters);
            phase_options options;
            options.matrices = matrices;
            options.weights = options.latents = options.scales = learning_rate::share_of_magnitude(1e-4);
            tuner<float> tune(b, std::move(parameters), options, 1000000);
            std::vector<linear_tape<float>> tapes(layers.size());
            linear_workspace<float> work;
            for (auto _ : state) {
                for (std::size_t l = 0; l < layers.size(); ++l)
                    layers[l].forward(b, const_view(X[l]), view(Y[l]), tapes[l], work);
                for (std::size_t l = 0; l < layers.size(); ++l)
                    layers[l].backward(b, train, const_view(X[l]), view(Y[l]), view(dX[l]), false, tapes[l], work);
                tune.step(b);
                for (auto& layer : layers)
                    layer.after_update(b);
            }
            double bytes = 0;
            for (const auto& moments : tune.moments(b))
                bytes += 4.0 * static_cast<double>(moments.first.size() + moments.second.size());
            state.counters["state_bytes"] = bytes;
        },
        2);  // by the clock: what a user waits for
}

/// What loops over the entries of matrices of 1536 x 576 read and write.
struct loop_operands {
    matrix<float> X = random_matrix<float>(1536, 576, 1), Y = random_matrix<float>(1536, 576, 2);
    bit_matrix bits = bit_matrix(1536, 576);
    adamw<float> optimizer;
    std::vector<binary_path<float>> paths;
};

/// Times f(b, operands), which goes through the matrices once, on one thread.
template <class F>
void add_loop(const std::string& name, F f, index paths = 0) {
    add("loop/" + name, [=](benchmark::State& state) {
        const cpu b({.threads = 1});
        loop_operands operands;
        if (paths > 0) operands.paths = residual_svid(b, operands.X, {.paths = paths, .rounds = 1}).layer.paths;
        for (auto _ : state)
            f(b, operands);
        report_rate(state, "entries", product_of(1536, 576));
    });
}

void add_loops() {
    add_loop("sum", [](const cpu& b, loop_operands& o) { axpby(b, 0.5, o.X, 0.5, o.Y); });
    add_loop("squared_distance",
             [](const cpu& b, loop_operands& o) { benchmark::DoNotOptimize(squared_distance(b, o.X, o.Y)); });
    add_loop("largest", [](const cpu& b, loop_operands& o) {
        const float* const x = o.X.data();
        vectorized(b, [&] { benchmark::DoNotOptimize(largest_of(o.X.size(), [=](index i) { return x[i]; })); });
    });
    add_loop("take_bits", [](const cpu& b, loop_operands& o) { take_bits(b, o.X, o.bits); });
    add_loop("adamw", [](const cpu& b, loop_operands& o) {
        const parameter<float> weight{"W", parameter_kind::weight, entries(o.Y), entries(o.X)};
        const double rate = 1e-4;
        o.optimizer.step(b, std::span(&weight, 1), std::span(&rate, 1));
    });
    for (const index paths : {1, 2, 3, 4})
        add_loop(
            "expand_paths:" + std::to_string(paths),
            [](const cpu& b, loop_operands& o) { expand_paths(b, std::span<const binary_path<float>>(o.paths), o.Y); },
            paths);
}

}  // namespace
}  // namespace subbit::bench

int main(int argc, char** argv) {
    using namespace subbit::bench;
    using subbit::matrix_optimizer;
    add_loops();
    for (const int threads : {1, 2})
        for (const subbit::index tokens : {512, 2048}) {
            add_step("dense", kind::dense, matrix_optimizer::adamw, tokens, threads);
            add_step("coupled", kind::coupled, matrix_optimizer::adamw, tokens, threads);
            add_step("independent", kind::independent, matrix_optimizer::adamw, tokens, threads);
            add_step("dense_muon", kind::dense, matrix_optimizer::muon, tokens, threads);
            add_step("coupled_muon", kind::coupled, matrix_optimizer::muon, tokens, threads);
        }
    benchmark::Initialize(&argc, argv);
    benchmark::RunSpecifiedBenchmarks();
    return 0;
}
