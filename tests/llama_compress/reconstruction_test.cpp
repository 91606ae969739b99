// Block and model reconstruction on a tiny Llama: what they must lower, and what must not change their bits.
#include "../support/throws.hpp"
#include "model/evaluation.hpp"
#include "tiny_block.hpp"

#include <subbit/backend/cpu.hpp>
#include <subbit/factor/dual_svid.hpp>
#include <subbit/factor/residual_svid.hpp>
#include <subbit/io/packed_layer.hpp>
#include <subbit/recon/block_reconstruction.hpp>
#include <subbit/recon/model_reconstruction.hpp>

#include <doctest/doctest.h>
#include <functional>
#include <memory>

namespace llama {
namespace {

using subbit::cpu;
using subbit::joint_order;
using subbit::layer_by_layer;
using subbit::learning_rate;
using subbit::reconstruction_order;
using subbit::span_of;
using subbit::view;
using subbit::testing::random_matrix;

const std::vector<reconstruction_order> orders{joint_order{},
                                               layer_by_layer{{.epochs = 1, .weights = learning_rate::absolute(1e-4)}}};

constexpr index window = 12, window_count = 5, tokens = window * window_count;

model_config config_of_student() {
    return testing::small_config("llama", {{"hidden_size", 32}, {"head_dim", 8}, {"intermediate_size", 40}});
}

struct stopping_progress : subbit::progress {
    std::size_t left = 1000000;
    void step(std::string_view, std::size_t, std::size_t, double) override { --left; }
    bool cancelled() const override { return left == 0; }
};

bool is_joint(const subbit::block_recipe& recipe) {
    return std::holds_alternative<joint_order>(recipe.order);
}

subbit::block_recipe recipe_of(const reconstruction_order& order) {
    subbit::block_recipe recipe;
    recipe.order = order;
    recipe.tune_binary.epochs = 6;
    recipe.tune_binary.latents = learning_rate::share_of_magnitude(0.02);
    recipe.tune_binary.scales = learning_rate::share_of_magnitude(0.004);
    return recipe;
}

TEST_CASE("data that do not fit each other, and an order that is none, are refused") {
    subbit::matrix<float> X(24, 4), Y(24, 4);
    subbit::vector<float> importance = subbit::vector<float>::Ones(4);
    subbit::block_data<float> data{view(std::as_const(X)), view(std::as_const(Y)), subbit::const_span(importance), 12};
    CHECK_NOTHROW(data.check());
    data.window = 7;
    CHECK_THROWS_AS(data.check(), subbit::shape_error);
    data.window = 12;
    data.targets = data.targets.middle_rows(0, 12);
    CHECK_THROWS_AS(data.check(), subbit::shape_error);
    data.targets = data.inputs;
    data.importance = data.importance.first(3);
    CHECK_THROWS_AS(data.check(), subbit::shape_error);

    CHECK(subbit::checked_layer_order({}, 3) == std::vector<index>{0, 1, 2});
    CHECK(subbit::checked_layer_order({2, 0, 1}, 3) == std::vector<index>{2, 0, 1});
    for (const std::vector<index>& bad : {std::vector<index>{0, 1}, {0, 1, 1}, {0, 1, 3}})
        CHECK_THROWS_AS(subbit::checked_layer_order(bad, 3), subbit::value_error);
}

subbit::binary_linear<float> factorize(const cpu& b, subbit::matrix_view<const float> weight, index rank,
                                       double* error = nullptr) {
    auto f = subbit::dual_svid(b, weight, {.rank = rank});
    if (error) *error = f.error;
    return subbit::trainable_layer(std::move(f));
}

/// Layers of rank 12, and a measure that says whether a report has it.
struct svid_compressor {
    subbit::straight_through estimator = subbit::straight_through::identity;

    subbit::compressed_layer<float> factorize(const cpu& b, index, subbit::matrix_view<const float> weight) const {
        double error = 0;
        auto binary = llama::factorize(b, weight, 12, &error);
        binary.estimator = estimator;
        return {std::move(binary), error};
    }
    double measure(const cpu&, index, const linear_layer<float>&) const { return 0.5; }
    void finish(const cpu& b, index l, linear_layer<float>& layer) const {
        subbit::round_scales(b, layer, config_of_student().block(0).linears[static_cast<std::size_t>(l)].name);
    }
};

/// A random block reconstructed on random activations.
struct reconstruction {
    model_config config = config_of_student();
    block_context<float> context{config, window};
    block<float> blk = testing::random_block(context, 1);
    matrix<float> inputs = random_matrix<float>(tokens, 32, 7), targets{tokens, 32};
    subbit::block_report report;

    reconstruction(const cpu& b, const subbit::block_recipe& recipe, subbit::progress& watcher = subbit::unwatched()) {
        block_tape<float> tape;
        blk.forward(b, const_view(inputs), window, view(targets), tape);
        compress(b, recipe, watcher);
    }
    void compress(const cpu& b, const subbit::block_recipe& recipe, subbit::progress& watcher = subbit::unwatched()) {
        const bool clipped = !is_joint(recipe);
        const svid_compressor compressor{clipped ? subbit::straight_through::clipped
                                                 : subbit::straight_through::identity};
        report =
            subbit::reconstruct_block(b, blk, data(), {.compressor = compressor, .recipe = recipe, .watcher = watcher});
    }
    subbit::block_data<float> data() const { return {const_view(inputs), const_view(targets), {}, window}; }
};

bool same_layer(const subbit::low_rank_binary_linear<float>& a, const subbit::low_rank_binary_linear<float>& b) {
    return a.U == b.U && a.V == b.V && a.s_post == b.s_post && a.s_mid == b.s_mid && a.s_pre == b.s_pre;
}
bool same_block(const block<float>& a, const block<float>& b) {
    bool same = a.norms == b.norms;
    for (index l = 0; l < a.layer_total(); ++l)
        same = same && same_layer(a.layer(l).binary().layer, b.layer(l).binary().layer);
    return same;
}

}  // namespace

TEST_CASE("a block that is compressed already is refused by the layer's name and left as it is") {
    const cpu b({.threads = 1});
    for (const reconstruction_order& order : orders) {
        auto recipe = recipe_of(order);
        recipe.tune_binary.epochs = 0;
        reconstruction run(b, recipe);
        const block<float> first = run.blk;
        subbit::testing::check_throws<subbit::value_error>(
            [&] { run.compress(b, recipe); },
            {std::string("layer ") + config_of_student().block(0).linears[0].name, "compressed already"});
        CHECK(same_block(run.blk, first));
        subbit::testing::check_throws<subbit::value_error>([&] { run.blk.layer(0).dense(); }, {"dense"});
        subbit::testing::check_throws<subbit::value_error>([&] { run.blk.layer(0).residual(); }, {"residual"});
    }
}

TEST_CASE("reconstruction lowers a block's error, rounds its scales, and does not depend on the threads") {
    for (const reconstruction_order& order : orders) {
        CAPTURE(order.index());
        const reconstruction one(cpu({.threads = 1}), recipe_of(order));
        const reconstruction two(cpu({.threads = 2}), recipe_of(order));
        const auto& report = one.report;
        CHECK(same_block(one.blk, two.blk));
        CHECK(report.tuned_error == two.report.tuned_error);
        CHECK(report.tuned_error == subbit::block_error(cpu({.threads = 1}), one.blk, one.data()));
        CHECK(report.factor_error > 0);
        const auto& curve = report.tune_binary_curve;
        if (std::holds_alternative<joint_order>(order)) {
            CHECK(report.tuned_error < 0.95 * report.factor_error);
            CHECK(curve.size() == 6);
            CHECK(curve.back() < curve.front());
            CHECK(report.tune_weights_curve.empty());
        } else {
            CHECK(curve.size() == 6 * layer_count);
            CHECK(report.tune_weights_curve.size() == layer_count);
            CHECK(curve.back() < curve[curve.size() - 6]);
        }
        REQUIRE(report.layers.size() == layer_count);
        for (index l = 0; l < index{layer_count}; ++l) {
            const auto& entry = report.layers[static_cast<std::size_t>(l)];
            const auto& binary = one.blk.layer(l).binary();
            CHECK(entry.name == config_of_student().block(0).linears[static_cast<std::size_t>(l)].name);
            CHECK((entry.rank == 12 && entry.rows == binary.rows() && entry.cols == binary.cols()));
            CHECK((entry.factor_error > 0 && entry.factor_error < 1 && entry.tuned_error == 0.5));
            CHECK((entry.flipped >= 0 && entry.flipped < 0.5));
            auto rounded = binary.layer;
            subbit::round_scales(rounded, "again");
            CHECK(same_layer(rounded, binary.layer));
            CHECK(!binary.has_latents());
        }
    }
}

namespace {

/// Two paths a layer.
struct path_compressor : svid_compressor {
    subbit::path_coupling coupling;

    explicit path_compressor(subbit::path_coupling c) : coupling(c) {}
    subbit::compressed_layer<float> factorize(const cpu& b, index, subbit::matrix_view<const float> weight) const {
        auto f = subbit::residual_svid(b, weight, {.paths = 2});
        subbit::residual_linear<float> residual;
        residual.layer = std::move(f.layer);
        residual.follow(b, subbit::as_eigen(weight), coupling);
        return {std::move(residual), f.error};
    }
};

/// The same block reconstructed as sums of two binary paths.
struct path_reconstruction {
    model_config config = config_of_student();
    block_context<float> context{config, window};
    block<float> blk = testing::random_block(context, 1);
    matrix<float> inputs = random_matrix<float>(tokens, 32, 7), targets{tokens, 32};
    subbit::block_report report;
    std::vector<std::size_t> observed;

    path_reconstruction(int threads, subbit::path_coupling coupling, bool keep_latents = false) {
        const cpu b({.threads = threads});
        block_tape<float> tape;
        blk.forward(b, const_view(inputs), window, view(targets), tape);
        auto recipe = recipe_of(joint_order{});
        recipe.keep_latents = keep_latents;
        const subbit::block_data<float> data{const_view(inputs), const_view(targets), {}, window};
        report = subbit::reconstruct_block(b, blk, data,
                                           {.compressor = path_compressor(coupling),
                                            .recipe = recipe,
                                            .after_epoch = [&](std::size_t epochs) { observed.push_back(epochs); }});
    }
};

}  // namespace

TEST_CASE("residual paths: reconstruction lowers the error, is watched, and does not depend on the threads") {
    for (const auto coupling : {subbit::path_coupling::coupled, subbit::path_coupling::independent}) {
        const path_reconstruction one(1, coupling), two(2, coupling), kept(1, coupling, true);
        CHECK(one.report.tuned_error == two.report.tuned_error);
        CHECK(one.report.tuned_error < 0.95 * one.report.factor_error);
        CHECK(one.observed == std::vector<std::size_t>{0, 1, 2, 3, 4, 5, 6});
        double flipped = 0;
        for (index l = 0; l < index{layer_count}; ++l) {
            const auto& residual = one.blk.layer(l).residual();
            const subbit::reference<float> host;
            CHECK(residual.signs(host) == two.blk.layer(l).residual().signs(host));
            CHECK((!residual.has_latents() && kept.blk.layer(l).residual().has_latents()));
            const auto& entry = one.report.layers[static_cast<std::size_t>(l)];
            CHECK((entry.paths == 2 && entry.rank == 0 && entry.factor_error < 0.2));
            flipped += entry.flipped;
        }
        CHECK(flipped > 0);
    }
}

TEST_CASE("latents that are kept agree with the bits") {
    auto recipe = recipe_of(joint_order{});
    recipe.keep_latents = true;
    const reconstruction r(cpu({.threads = 1}), recipe);
    double flipped = 0;
    for (index l = 0; l < index{layer_count}; ++l) {
        const auto& binary = r.blk.layer(l).binary();
        CHECK(subbit::bit_matrix::pack(binary.U_latent) == binary.layer.U);
        CHECK(subbit::bit_matrix::pack(binary.V_latent) == binary.layer.V);
        flipped += r.report.layers[static_cast<std::size_t>(l)].flipped;
    }
    CHECK(flipped > 0);
}

TEST_CASE("a phase without epochs, or with batches of several windows") {
    auto recipe = recipe_of(joint_order{});
    recipe.tune_binary.epochs = 0;
    const reconstruction untuned(cpu({.threads = 1}), recipe);
    CHECK(untuned.report.tuned_error == doctest::Approx(untuned.report.factor_error).epsilon(1e-3));
    recipe.tune_binary.epochs = 6;
    recipe.tune_binary.batch_windows = 2;
    const reconstruction batches(cpu({.threads = 1}), recipe);
    CHECK(batches.report.tuned_error < 0.95 * batches.report.factor_error);
}

TEST_CASE("work that is asked to stop throws cancelled_error") {
    for (const reconstruction_order& order : orders)
        for (const std::size_t steps : {std::size_t{1}, std::size_t{9}}) {
            stopping_progress watcher;
            watcher.left = steps;
            CHECK_THROWS_AS(reconstruction(cpu({.threads = 1}), recipe_of(order), watcher), subbit::cancelled_error);
        }
}

namespace {

/// Two compressed blocks between a random embedding and a random head.
struct student {
    using scalar = float;
    using block_type = block<float>;
    matrix<float> embedding = random_matrix<float>(31, 32, 21), head = random_matrix<float>(31, 32, 22);
    std::vector<block<float>> blocks;

    index block_total() const { return std::ssize(blocks); }
    block<float>& block_at(index l) { return blocks[static_cast<std::size_t>(l)]; }
    index hidden_size() const { return 32; }
    void embed(const cpu&, std::span<const std::int32_t> ids, subbit::matrix_view<float> X) const {
        for (std::size_t t = 0; t < ids.size(); ++t)
            subbit::as_eigen(X).row(static_cast<index>(t)) = embedding.row(ids[t]);
    }
    void distillation_loss(const cpu& b, subbit::matrix_view<const float> teacher,
                           subbit::matrix_view<const float> hidden, subbit::matrix_view<float> d_hidden,
                           std::span<double> total) const {
        const double weight = 1.0 / static_cast<double>(hidden.rows);
        total[0] += weight * subbit::forward_kl(b, teacher, hidden, const_view(head), weight, d_hidden);
    }
};

/// The hidden states of two blocks, all windows one after the other.
struct held_teacher {
    std::vector<matrix<float>> all;
    index window = 0;
    std::vector<index> begun;  // every window, in turn

    void begin(index w) {
        window = w;
        begun.push_back(w);
    }
    subbit::matrix_view<const float> states_after(index l) const {
        return const_view(all[static_cast<std::size_t>(2 * window + l)]);
    }
};

/// What a distillation starts from; a new one for each run.
struct distillation {
    using state = subbit::distillation_state<float>;
    cpu b;
    model_config config = config_of_student();
    block_context<float> context{config, window};
    student model;
    std::vector<std::vector<std::int32_t>> windows;
    held_teacher teacher;
    subbit::distillation_recipe recipe;
    std::size_t parts = 1;

    explicit distillation(int threads = 1, bool latents = false) : b({.threads = threads}) {
        const subbit::random_stream stream(3);
        model.head *= 0.2F;
        std::vector<block<float>> original;
        for (std::uint64_t l = 0; l < 2; ++l)
            original.push_back(testing::random_block(context, l + 1));
        block_tape<float> tape;
        for (index w = 0; w < window_count; ++w) {
            windows.emplace_back();
            for (index t = 0; t < window; ++t)
                windows.back().push_back(
                    static_cast<std::int32_t>(stream.below(static_cast<std::uint64_t>(w * window + t), 31)));
            matrix<float> X(window, 32), Y(window, 32);
            model.embed(b, windows.back(), view(X));
            for (const auto& blk : original) {
                blk.forward(b, const_view(X), window, view(Y), tape);
                X.swap(Y);
                teacher.all.push_back(X);  // of every window, after each block
            }
        }
        for (auto& blk : original)
            for (auto& layer : blk.layers) {
                auto binary = factorize(b, const_view(layer.dense().weight), 12);
                if (!latents) binary.harden(false);
                layer = std::move(binary);
            }
        model.blocks = std::move(original);
        recipe.phase.epochs = 6;
        recipe.phase.scales = learning_rate::share_of_magnitude(0.01);
        if (latents) recipe.phase.latents = learning_rate::share_of_magnitude(0.01);
        recipe.checkpoint_steps = 7;
    }

    state run(state from = {}, std::function<void(const state&)> checkpoint = {},
              subbit::progress& watcher = subbit::unwatched()) {
        return subbit::distill(
            b, model, subbit::distillation_data{windows, teacher, parts},
            {.recipe = recipe, .state = std::move(from), .checkpoint = checkpoint, .watcher = watcher});
    }
    bool same_bits(const distillation& other) const {
        return same_block(model.blocks[0], other.model.blocks[0]) && same_block(model.blocks[1], other.model.blocks[1]);
    }
};

/// Runs one that is cancelled after so many steps, and gives another the layers of its last checkpoint, whose state it
/// returns.
distillation::state stop_after(std::size_t steps, distillation& stopped, distillation& resumed) {
    distillation::state saved;
    stopping_progress watcher;
    watcher.left = steps;
    const auto checkpoint = [&](const distillation::state& now) {
        saved = now;
        for (std::size_t l = 0; l < 2; ++l)
            resumed.model.blocks[l].layers = stopped.model.blocks[l].layers;
    };
    CHECK_THROWS_AS(stopped.run({}, checkpoint, watcher), subbit::cancelled_error);
    return saved;
}

}  // namespace

TEST_CASE("distillation lowers the divergence, whatever the threads and the memory for activations") {
    distillation one, two(2), thrifty, half;
    thrifty.recipe.tape_bytes = 0;
    half.recipe.tape_bytes = 60000;
    const distillation start;
    const auto state = one.run();
    CHECK(state.steps_done == 6 * window_count);
    REQUIRE(state.curve.size() == 6);
    CHECK(state.curve.back() < 0.95 * state.curve.front());
    CHECK(two.run().curve == state.curve);
    CHECK(thrifty.run().curve == state.curve);
    CHECK(half.run().curve == state.curve);
    CHECK(!one.same_bits(start));
    CHECK(one.same_bits(two));
    CHECK(one.same_bits(thrifty));
    CHECK(one.same_bits(half));
    CHECK(one.model.blocks[0].layers[0].binary().layer.U == start.model.blocks[0].layers[0].binary().layer.U);
    const auto again = one.run(state);
    CHECK(again.steps_done == state.steps_done);
    CHECK(one.same_bits(two));
}

TEST_CASE("a distillation that is stopped goes on from its checkpoint to the same bits") {
    for (const bool latents : {false, true}) {
        distillation whole(1, latents), parts(1, latents);
        const auto expected = whole.run();
        distillation resumed(1, latents);
        const auto saved = stop_after(17, parts, resumed);
        CHECK(saved.steps_done == 14);
        const auto end = resumed.run(saved);
        CHECK(end.curve == expected.curve);
        CHECK(resumed.same_bits(whole));
    }
}

TEST_CASE("a distillation of several parts sees each window once, and resumes in the middle of a part") {
    distillation whole, stopped, resumed, uneven;
    uneven.parts = 2;  // five windows
    CHECK_THROWS_AS(uneven.run(), subbit::value_error);
    for (distillation* d : {&whole, &stopped, &resumed}) {
        d->windows.pop_back();
        d->parts = 2;
        d->recipe.phase.epochs = 2;
        d->recipe.checkpoint_steps = 3;
    }
    const auto expected = whole.run();
    CHECK(expected.steps_done == window_count - 1);
    CHECK(expected.curve.size() == 2);
    auto seen = whole.teacher.begun;
    REQUIRE(seen.size() == window_count - 1);
    CHECK(std::max(seen[0], seen[1]) < 2);  // the first part, then the second
    std::sort(seen.begin(), seen.end());
    CHECK(seen == std::vector<index>{0, 1, 2, 3});

    const auto saved = stop_after(3, stopped, resumed);
    CHECK(resumed.run(saved).curve == expected.curve);
    CHECK(resumed.same_bits(whole));
}

TEST_CASE("latents that move in distillation take their bits along") {
    distillation moved(1, true);
    moved.recipe.latent_margin = 0;  // or so few steps would flip nothing
    const distillation start(1, true);
    const auto state = moved.run();
    CHECK(state.curve.back() < state.curve.front());
    subbit::index different = 0;
    for (std::size_t l = 0; l < 2; ++l)
        for (std::size_t k = 0; k < layer_count; ++k) {
            const auto& now = moved.model.blocks[l].layers[k].binary();
            CHECK(subbit::bit_matrix::pack(now.U_latent) == now.layer.U);
            CHECK(subbit::bit_matrix::pack(now.V_latent) == now.layer.V);
            different += subbit::count_differences(now.layer.U, start.model.blocks[l].layers[k].binary().layer.U);
        }
    CHECK(different > 0);
}

TEST_CASE("the margin keeps latents at the very edge from flipping in the first steps") {
    const auto flips = [](double margin) {
        distillation run(1, true);
        const distillation start(1, true);
        for (auto& blk : run.model.blocks)
            for (auto& layer : blk.layers) {
                auto& latent = layer.binary().U_latent;
                for (index i = 0; i < latent.size(); i += 2)
                    latent.data()[i] *= 1e-6F;
            }
        run.recipe.phase.epochs = 1;
        run.recipe.latent_margin = margin;
        run.run();
        index different = 0;
        for (std::size_t l = 0; l < 2; ++l)
            for (std::size_t k = 0; k < layer_count; ++k)
                different += subbit::count_differences(run.model.blocks[l].layers[k].binary().layer.U,
                                                       start.model.blocks[l].layers[k].binary().layer.U);
        return different;
    };
    CHECK(flips(0) > 100);
    CHECK(flips(0.12) == 0);
}

TEST_CASE("gathered windows and hidden states: fewer steps, a lower divergence, the same bits for any threads") {
    const auto gathered = [](int threads, double hidden_weight) {
        auto run = std::make_unique<distillation>(threads, true);
        run->recipe.phase.batch_windows = 2;
        run->recipe.phase.epochs = 10;
        run->recipe.hidden_weight = hidden_weight;
        return run;
    };
    for (const double hidden_weight : {0.0, 0.5}) {
        auto one = gathered(1, hidden_weight), two = gathered(2, hidden_weight);
        const auto state = one->run();
        CHECK(state.steps_done == 10 * 3);  // the last step of an epoch takes the window that is left
        CHECK(state.curve.size() == 10);
        CHECK(state.curve.back() < state.curve.front());
        CHECK(two->run().curve == state.curve);
        CHECK(one->same_bits(*two));
    }
}

TEST_CASE("a wider margin changes no sign") {
    std::vector<float> latent{-2, -0.0F, 0, 1e-30F, 3};
    const auto before = latent;
    subbit::widen_margin(subbit::reference<float>(), std::span(latent), 1.0);  // their mean magnitude is one
    CHECK(latent == std::vector<float>{-3, 1, 1, 1, 4});
    for (std::size_t i = 0; i < latent.size(); ++i)
        CHECK(subbit::sign(latent[i]) == subbit::sign(before[i]));
}

}  // namespace llama
