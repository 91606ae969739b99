// Block reconstruction on a tiny Llama: what it must lower, and what must not change its bits.
#include "../support/throws.hpp"
#include "tiny_student.hpp"

#include <subbit/factor/residual_svid.hpp>
#include <subbit/recon/block_reconstruction.hpp>

#include <doctest/doctest.h>
#include <algorithm>
#include <functional>

namespace llama {
namespace {

using namespace testing;
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

/// Layers of rank 12, and a measure that says whether a report has it.
struct svid_compressor {
    subbit::straight_through estimator = subbit::straight_through::identity;

    subbit::compressed_layer<float> factorize(const cpu& b, index, subbit::matrix_view<const float> weight) const {
        double error = 0;
        auto binary = testing::factorize(b, weight, 12, &error);
        binary.estimator = estimator;
        return {std::move(binary), error};
    }
    double measure(const cpu&, index, const linear_layer<float>&) const { return 0.5; }
    void finish(const cpu& b, index l, linear_layer<float>& layer) const {
        subbit::round_scales(b, layer, config_of_student().block(0).linears[static_cast<std::size_t>(l)].name);
    }
};

/// A random block, random activations, and what it makes of them.
struct random_task {
    model_config config = config_of_student();
    block_context<float> context{config, student_window};
    block<float> blk = testing::random_block(context, 1);
    matrix<float> inputs = random_matrix<float>(student_tokens, 32, 7), targets{student_tokens, 32};
    subbit::block_report report;

    explicit random_task(const cpu& b) {
        block_tape<float> tape;
        blk.forward(b, const_view(inputs), student_window, view(targets), tape);
    }
    subbit::block_data<float> data() const { return {const_view(inputs), const_view(targets), {}, student_window}; }
};

/// It reconstructed.
struct reconstruction : random_task {
    reconstruction(const cpu& b, const subbit::block_recipe& recipe, subbit::progress& watcher = subbit::unwatched())
        : random_task(b) {
        compress(b, recipe, watcher);
    }
    void compress(const cpu& b, const subbit::block_recipe& recipe, subbit::progress& watcher = subbit::unwatched()) {
        const bool clipped = !is_joint(recipe);
        const svid_compressor compressor{clipped ? subbit::straight_through::clipped
                                                 : subbit::straight_through::identity};
        report =
            subbit::reconstruct_block(b, blk, data(), {.compressor = compressor, .recipe = recipe, .watcher = watcher});
    }
};

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
        const auto& curve = report.tune_binary.epochs;
        if (std::holds_alternative<joint_order>(order)) {
            CHECK(report.tuned_error < 0.95 * report.factor_error);
            CHECK(curve.size() == 6);
            CHECK(curve.back() < curve.front());
            CHECK(report.tune_weights.epochs.empty());
        } else {
            CHECK(curve.size() == 6 * layer_count);
            CHECK(report.tune_weights.epochs.size() == layer_count);
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
struct path_reconstruction : random_task {
    std::vector<std::size_t> observed;

    path_reconstruction(const cpu& b, subbit::path_coupling coupling, bool keep_latents = false) : random_task(b) {
        auto recipe = recipe_of(joint_order{});
        recipe.keep_latents = keep_latents;
        report = subbit::reconstruct_block(b, blk, data(),
                                           {.compressor = path_compressor(coupling),
                                            .recipe = recipe,
                                            .after_epoch = [&](std::size_t epochs) { observed.push_back(epochs); }});
    }
};

}  // namespace

TEST_CASE("residual paths: reconstruction lowers the error, is watched, and does not depend on the threads") {
    for (const auto coupling : {subbit::path_coupling::coupled, subbit::path_coupling::independent}) {
        const path_reconstruction one(cpu({.threads = 1}), coupling), two(cpu({.threads = 2}), coupling),
            kept(cpu({.threads = 1}), coupling, true);
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

TEST_CASE("layers that are factorized ahead make the same block; too few, or a turn for each layer, are refused") {
    const cpu b({.threads = 2});
    const auto recipe = recipe_of(joint_order{});
    const reconstruction expected(b, recipe);
    random_task task(b);
    const svid_compressor compressor;
    const subbit::block_to_factorize<cpu, float> job{
        compressor, task.config.block(0).shapes(),
        [&](const cpu&, index l) { return task.blk.layer(l).dense().weight; }};
    auto factorized = std::move(subbit::factorize_blocks<cpu, float>(b, {&job, 1}, {}).front());
    const auto reconstruct = [&](const subbit::block_recipe& how) {
        return subbit::reconstruct_block(b, task.blk, task.data(),
                                         {.compressor = compressor, .recipe = how, .factorized = &factorized});
    };
    subbit::testing::check_throws<subbit::value_error>([&] { reconstruct(recipe_of(orders[1])); }, {"joint order"});
    const auto report = reconstruct(recipe);
    CHECK(same_block(task.blk, expected.blk));
    CHECK(report.layers.back().factor_error == expected.report.layers.back().factor_error);

    const random_task again(b);
    task.blk = again.blk;
    subbit::testing::check_throws<subbit::shape_error>([&] { reconstruct(recipe); }, {"factorized layers", "0", "7"});
    CHECK(task.blk.layer(0).is_dense());
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

/// A factorized block that still has its latents, tuned with two of its windows held back.
struct judged_tuning {
    const cpu b{{.threads = 2}};
    reconstruction run;
    subbit::tuning_curves curves;

    static subbit::block_recipe untuned() {
        auto recipe = recipe_of(joint_order{});
        recipe.tune_binary.epochs = 0;
        recipe.keep_latents = true;
        return recipe;
    }
    /// `rate`: of the latents and scales; `shift` is added to the targets of the windows that are held back.
    explicit judged_tuning(double rate, float shift = 0) : run(b, untuned()) {
        run.targets.bottomRows(2 * student_window).array() += shift;
        auto phase = recipe_of(joint_order{}).tune_binary;
        phase.latents = phase.scales = learning_rate::share_of_magnitude(rate);
        curves = subbit::tune_block(b, run.blk, data(), {.phase = phase});
    }
    subbit::block_data<float> data() const {
        auto all = run.data();
        all.held_back = 2;
        return all;
    }
};

}  // namespace

TEST_CASE("a tuning ends with what was best on the windows that are held back") {
    for (const double rate : {0.01, 1.0}) {
        CAPTURE(rate);
        const judged_tuning tuned(rate);
        const auto& errors = tuned.curves.held_back;
        REQUIRE(tuned.curves.epochs.size() == 6);
        REQUIRE(errors.size() == 7);
        const double least = *std::min_element(errors.begin(), errors.end());
        CHECK(subbit::block_error(tuned.b, tuned.run.blk, tuned.data().judging()) == least);
        CHECK((rate < 1 ? least < errors.front() : least < errors.back()));
    }
}

TEST_CASE("a tuning does not learn from the windows that are held back, of which some must be left") {
    CHECK(judged_tuning(0.01).curves.epochs == judged_tuning(0.01, 5).curves.epochs);
    auto data = judged_tuning(0.01).data();
    data.held_back = student_windows;
    subbit::testing::check_throws<subbit::value_error>([&] { data.check(); }, {"5 of 5 windows are held back"});
}

}  // namespace llama
