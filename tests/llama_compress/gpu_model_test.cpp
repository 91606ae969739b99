// The model's kernels on the emulated GPU against the host's loops, and the whole of `compress` on it.
#include "../support/strided.hpp"
#include "../support/temporary_directory.hpp"
#include "compress/compression.hpp"
#include "compress/trial.hpp"
#include "gpu/attention.hpp"
#include "gpu/gate.hpp"
#include "gpu/norm.hpp"
#include "tiny_block.hpp"
#include "tiny_model.hpp"

#include <subbit/backend/cpu.hpp>
#include <subbit/backend/emulated.hpp>
#include <subbit/backend/reference.hpp>

#include <doctest/doctest.h>

namespace llama {
namespace {

using subbit::emulated;
using subbit::random_stream;
using subbit::span_of;
using subbit::testing::random_matrix;
using subbit::testing::temporary_directory;

const subbit::reference<double> on_cpu;
const emulated on_gpu;

/// The largest difference of what is in a device's memory, whichever device that is.
template <class Owner, class Host>
double largest_difference(const Owner& got, const Host& want, const emulated& b = on_gpu) {
    return (subbit::on_host(b, got) - want).cwiseAbs().maxCoeff();
}

/// The parts of a run and their phases add up, within what lies between them.
void check_phases(const nlohmann::json& seconds) {
    double parts = 0;
    for (const char* part : {"calibration", "blocks", "distillation", "write"})
        parts += seconds.at(part).get<double>();
    CHECK(parts <= seconds.at("total").get<double>());
    for (const auto& [part, phases] : seconds.at("phases").items()) {
        double sum = 0;
        for (const auto& [phase, spent] : phases.items())
            sum += spent.get<double>();
        CHECK(sum == doctest::Approx(seconds.at(part).get<double>()));
    }
    for (const char* phase : {"read", "factorize", "install", "tune", "harden", "measure", "save", "pass on"})
        CHECK(seconds["phases"]["blocks"].at(phase).get<double>() > 0);
    CHECK(seconds["phases"]["distillation"].at("teacher").get<double>() > 0);
}

}  // namespace

TEST_CASE("norms on a GPU, with and without an offset of the weights, for few rows and many narrow ones") {
    struct sizes {
        index rows, cols;
    };
    for (const sizes& shape :
         {sizes{1, 1}, {31, 1}, {1, 15}, {31, 15}, {1, 33}, {31, 33}, {1, 130}, {31, 130}, {999, 16}})
        for (const double offset : {0.0, 1.0}) {
            const index rows = shape.rows, cols = shape.cols;
            CAPTURE(rows);
            CAPTURE(cols);
            const norm_rule rule{1e-2, offset};
            const auto X = random_matrix<double>(rows, cols, 1), dY = random_matrix<double>(rows, cols, 2);
            const vector<double> weight = random_matrix<double>(cols, 1, 3);
            const auto x = subbit::upload(on_gpu, X), dy = subbit::upload(on_gpu, dY);
            const auto w = subbit::upload(on_gpu, weight);
            matrix<double> Y(rows, cols), dX = random_matrix<double>(rows, cols, 4);
            auto y = subbit::allocate<double>(on_gpu, rows, cols), dx = subbit::upload(on_gpu, dX);
            vector<double> inverse, d_weight(cols);
            emulated::vector<double> device_inverse;
            auto device_d_weight = subbit::allocate<double>(on_gpu, cols);
            rms_norm(on_cpu, const_view(X), span_of(weight), rule, subbit::view(Y), inverse);
            rms_norm(on_gpu, const_view(x), subbit::const_span(w), rule, view(y), device_inverse);
            CHECK(largest_difference(y, Y) < 1e-12);
            CHECK(largest_difference(device_inverse, inverse) < 1e-12);
            rms_norm_backward(on_cpu, const_view(X), span_of(weight), rule, inverse, const_view(dY), subbit::view(dX),
                              span_of(d_weight));
            rms_norm_backward(on_gpu, const_view(x), subbit::const_span(w), rule, device_inverse, const_view(dy),
                              view(dx), span_of(device_d_weight));
            CHECK(largest_difference(dx, dX) < 1e-12);
            CHECK(largest_difference(device_d_weight, d_weight) < 1e-11);
        }
}

TEST_CASE("the gate on a GPU") {
    for (const activation kind : {activation::silu, activation::gelu_tanh})
        for (const index d : {1, 15, 33, 130})
            for (const index tokens : {1, 31}) {
                CAPTURE(d);
                const auto G = random_matrix<double>(tokens, d, 1), U = random_matrix<double>(tokens, d, 2);
                matrix<double> dG = random_matrix<double>(tokens, d, 3), dU(tokens, d);
                auto dg = subbit::upload(on_gpu, dG), du = subbit::allocate<double>(on_gpu, tokens, d);
                const auto g = subbit::upload(on_gpu, G), u = subbit::upload(on_gpu, U);
                gated_backward(on_cpu, kind, const_view(G), const_view(U), const_view(dG), subbit::view(dG),
                               subbit::view(dU));
                gated_backward(on_gpu, kind, const_view(g), const_view(u), const_view(dg), view(dg), view(du));
                CHECK(largest_difference(dg, dG) < 1e-12);
                CHECK(largest_difference(du, dU) < 1e-12);
                gated(on_cpu, kind, const_view(G), const_view(U), subbit::view(dG));
                gated(on_gpu, kind, const_view(g), const_view(u), view(dg));
                CHECK(largest_difference(dg, dG) < 1e-12);
            }
}

TEST_CASE("the rotary embedding on a GPU") {
    for (const index head_dim : {2, 4, 34}) {
        const rotary_table<double> table(rotary_rule{}, head_dim, 12);
        const rotary_table<double, emulated> device_table(on_gpu, rotary_rule{}, head_dim, 12);
        for (const double direction : {1.0, -1.0}) {
            matrix<double> X = random_matrix<double>(15, 3 * head_dim, 5);
            auto x = subbit::upload(on_gpu, X);
            rotate(on_cpu, table, subbit::view(X), head_dim, index{5}, index{7}, direction);
            rotate(on_gpu, device_table, view(x), head_dim, index{5}, index{7}, direction);
            CHECK(largest_difference(x, X) < 1e-12);
        }
    }
}

TEST_CASE("attention on a GPU, forward and backward, at odd sizes, its threads in either order") {
    for (const bool falling : {false, true}) {
        const emulated b(subbit::emulated_device({.falling = falling}));
        const attention_shape shapes[] = {
            {1, 1, 1, 1, 1, 4, 0.5},       {2, 15, 15, 4, 2, 6, 0.4},     {1, 33, 33, 3, 3, 33, 0.2},
            {2, 31, 31, 6, 2, 64, 0.1},    {1, 65, 65, 2, 1, 128, 0.1},   {1, 7, 40, 4, 1, 65, 0.1},
            {1, 3, 3, 1, 1, 160, 0.1},     {1, 1, 1, 1, 1, 4, 0.5, 1},    {2, 70, 70, 2, 1, 5, 0.5, 1},
            {2, 15, 15, 4, 2, 6, 0.4, 4},  {1, 131, 131, 2, 1, 7, 1, 33}, {1, 99, 99, 2, 1, 6, 0.7, 32},
            {1, 40, 40, 1, 1, 4, 0.5, 50}, {1, 7, 140, 4, 1, 65, 0.1, 3}, {2, 67, 140, 2, 1, 9, 0.4, 45}};
        for (const auto& s : shapes) {
            CAPTURE(s.queries);
            CAPTURE(s.head_dim);
            CAPTURE(s.span);
            const auto Q = random_matrix<double>(s.windows * s.queries, s.heads * s.head_dim, 6);
            const auto K = random_matrix<double>(s.windows * s.keys, s.kv_heads * s.head_dim, 7);
            const auto V = random_matrix<double>(s.windows * s.keys, s.kv_heads * s.head_dim, 8);
            const auto dO = random_matrix<double>(Q.rows(), Q.cols(), 9);
            const auto q = subbit::upload(b, Q), k = subbit::upload(b, K), v = subbit::upload(b, V),
                       d_o = subbit::upload(b, dO);
            matrix<double> O(Q.rows(), Q.cols()), dQ(Q.rows(), Q.cols()), dK(K.rows(), K.cols()),
                dV(K.rows(), K.cols());
            auto o = subbit::allocate<double>(b, Q.rows(), Q.cols()),
                 dq = subbit::allocate<double>(b, Q.rows(), Q.cols()),
                 dk = subbit::allocate<double>(b, K.rows(), K.cols()),
                 dv = subbit::allocate<double>(b, K.rows(), K.cols());
            attention(on_cpu, s, const_view(Q), const_view(K), const_view(V), subbit::view(O));
            attention(b, s, const_view(q), const_view(k), const_view(v), view(o));
            CHECK(largest_difference(o, O, b) < 1e-12);
            if (s.queries != s.keys) continue;
            attention_backward(on_cpu, s, {const_view(Q), const_view(K), const_view(V), const_view(O)}, const_view(dO),
                               {subbit::view(dQ), subbit::view(dK), subbit::view(dV)});
            attention_backward(b, s, {const_view(q), const_view(k), const_view(v), const_view(o)}, const_view(d_o),
                               {view(dq), view(dk), view(dv)});
            CHECK(largest_difference(dq, dQ, b) < 1e-11);
            CHECK(largest_difference(dk, dK, b) < 1e-11);
            CHECK(largest_difference(dv, dV, b) < 1e-11);
        }
        const auto wide = subbit::allocate<double>(b, 1, 257);
        auto out = subbit::allocate<double>(b, 1, 257);
        CHECK_THROWS_AS(
            attention(b, {1, 1, 1, 1, 1, 257, 1}, const_view(wide), const_view(wide), const_view(wide), view(out)),
            subbit::value_error);
    }
}

TEST_CASE("a block on a GPU: outputs, every gradient, and back to the host") {
    constexpr index window = 17;
    const auto config = testing::small_config();
    block_context<double> context(config, window);
    block_context<double, emulated> device_context(on_gpu, config, window);
    block<double> host = testing::random_block(context, 1);
    block<double, emulated> device(device_context, 0);
    device.weights() = upload(on_gpu, block_weights<double>(host.weights()));

    const subbit::trainable train{.weights = true, .norms = true};
    std::vector<subbit::parameter<double>> parameters, device_parameters;
    host.parameters(on_cpu, "", train, parameters);
    device.parameters(on_gpu, "", train, device_parameters);
    REQUIRE(parameters.size() == device_parameters.size());

    const auto X = random_matrix<double>(2 * window, config.hidden_size, 2);
    const auto dY = random_matrix<double>(2 * window, config.hidden_size, 3);
    const auto x = subbit::upload(on_gpu, X), dy = subbit::upload(on_gpu, dY);
    matrix<double> Y(X.rows(), X.cols()), dX(X.rows(), X.cols());
    auto y = subbit::allocate<double>(on_gpu, X.rows(), X.cols()),
         dx = subbit::allocate<double>(on_gpu, X.rows(), X.cols());
    block_tape<double> tape;
    block_tape<double, emulated> device_tape;
    host.forward(on_cpu, const_view(X), window, subbit::view(Y), tape);
    device.infer(on_gpu, const_view(x), window, view(y), device_tape);
    CHECK(largest_difference(y, Y) < 1e-11);
    device.forward(on_gpu, const_view(x), window, view(y), device_tape);
    CHECK(largest_difference(y, Y) < 1e-11);
    host.backward(on_cpu, train, tape, window, const_view(dY), subbit::view(dX));
    device.backward(on_gpu, train, device_tape, window, const_view(dy), view(dx));
    CHECK(largest_difference(dx, dX) < 1e-10);
    for (std::size_t i = 0; i < parameters.size(); ++i) {
        CAPTURE(parameters[i].name);
        const auto got = subbit::download(on_gpu, std::span<const double>(device_parameters[i].gradient));
        for (std::size_t j = 0; j < parameters[i].gradient.size(); ++j)
            CHECK(std::abs(got(static_cast<index>(j)) - parameters[i].gradient[j]) < 1e-10);
    }
    const auto back = subbit::on_host(on_gpu, std::as_const(device).weights());
    CHECK(back.norms == host.norms);
    for (std::size_t l = 0; l < layer_count; ++l)
        CHECK(back.layers[l].dense().weight == host.layers[l].dense().weight);
}

TEST_CASE("compress on a GPU gives what the processor gives") {
    const temporary_directory folder;
    testing::tiny_shape shape;
    shape.hidden = 32;
    shape.intermediate = 48;
    testing::write_tiny_model(folder / "model", shape);
    compress_job job;
    job.model = folder / "model";
    job.text = job.test_text.emplace(folder.write("text.txt", testing::tiny_text(600)));
    job.test_context = 24;
    job.test_windows = 4;
    job.threads = 1;
    job.options.bits = 2;
    job.options.granularity = 4;
    job.options.windows = 4;
    job.options.window_tokens = 24;
    job.options.iterations = 12;
    job.options.epochs = 2;
    job.options.distill_epochs = 1;
    job.options.distill_latent_rate = 0.003;
    job.options.products = "f32";
    job.options.solves = "exact";  // steps end as well, but elsewhere
    subbit::progress watcher;
    for (const std::string method : {"nanoquant", "batches", "rabit"}) {
        CAPTURE(method);
        if (method == "batches") {  // 4 windows, so that the last step of an epoch has fewer
            job.options.batch = 3;
            job.options.distill_batch = 3;
        }
        if (method == "rabit") {
            job.options.method = method;
            job.options.distill_hidden_weight = 0.5;
            job.options.probe_steps = 8;
        }
        job.out = folder / ("host-" + method);
        const auto want = compress(job, watcher);
        job.out = folder / ("gpu-" + method);
        const auto got = run_compression(job, watcher, on_gpu, on_gpu, subbit::this_process_alone());
        CHECK(got["test"]["perplexity"].get<double>() ==
              doctest::Approx(want["test"]["perplexity"].get<double>()).epsilon(0.01));
        check_phases(want["seconds"]);
        check_phases(got["seconds"]);
        const model_directory host(folder / ("host-" + method)), gpu(job.out);
        block_context<float> context(host.config(), 1);
        for (index l = 0; l < 2; ++l) {
            const auto a = host.load_block<float>(l, context), c = gpu.load_block<float>(l, context);
            for (std::size_t k = 0; k < layer_count; ++k) {
                const auto signs = [&](const block<float>& blk) {
                    return blk.layers[k].visit_compressed([](const auto& layer) { return layer.signs(on_cpu); });
                };
                CHECK(subbit::share_flipped(signs(a), signs(c)) < 0.02);
            }
        }
    }
}

TEST_CASE("a trial of a job's pieces, and the plan that is made of it") {
    const temporary_directory folder;
    testing::tiny_shape shape;
    shape.hidden = 32;
    shape.intermediate = 48;
    testing::write_tiny_model(folder / "model", shape);
    const model_directory model(folder / "model");
    compress_options o;
    o.bits = 2;
    o.granularity = 4;
    o.windows = 6;
    o.window_tokens = 12;
    o.iterations = 10;
    o.epochs = 2;
    o.distill_epochs = 3;
    o.distill_latent_rate = 0.003;
    const auto t = trial<emulated>(on_gpu, model, o, choose_ranks(model.config().block(0), o)).run();
    for (const double seconds :
         {t.read, t.forward, t.calibration, t.install, t.tune.of(1), t.factorize.of(1), t.measure.of(1), t.learn.of(2)})
        CHECK(seconds > 0);

    const trial_seconds round{1, 0.5, 0.25, 2, {3, 0.5}, {1, 0.125}, {0, 0.25}, {0.5, 0.25}};
    const auto seconds_of = [&](const std::string& what, index block) {
        for (const auto& phase : plan_of(round, model.config(), o))
            if (phase.what == what && phase.block == block) return phase.seconds;
        return -1.0;
    };
    const double tokens = 72;
    CHECK(seconds_of("calibrate", -1) == 2 * 2 * (2 + tokens * 0.75));  // two passes through two blocks
    CHECK(seconds_of("factorize", 1) == 2 + (3 + 0.5 * 10) + 2 + tokens * 0.25 + 2 * tokens * 0.5);
    CHECK(seconds_of("tune block", 1) == 1 + 0.125 * 6 * 2);
    CHECK(seconds_of("teacher", -1) == -1);
    CHECK(seconds_of("distill", -1) == 3 * 6 * (0.5 + 2 * 0.25));
    o.order = "layer";
    CHECK(seconds_of("tune layer", 0) == doctest::Approx((2 + 8 + 2 + tokens * 1.25 + 1 + 0.125 * 6 * 2) / 7));
}

}  // namespace llama
