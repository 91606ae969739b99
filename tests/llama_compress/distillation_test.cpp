// Distillation of a tiny Llama: what it must lower, and what must not change its bits.
#include "tiny_student.hpp"

#include <subbit/recon/model_reconstruction.hpp>
#include <subbit/recon/sign_flips.hpp>

#include <doctest/doctest.h>
#include <algorithm>
#include <functional>
#include <memory>

namespace llama {
namespace {

using namespace testing;
using subbit::cpu;
using subbit::learning_rate;
using subbit::view;
using subbit::testing::random_matrix;

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
                           subbit::matrix_view<const float> hidden, const subbit::hard_labels& labels,
                           subbit::matrix_view<float> d_hidden, std::span<double> total) const {
        const double weight = 1.0 / static_cast<double>(hidden.rows);
        std::vector<double> losses(static_cast<std::size_t>(hidden.rows));
        subbit::forward_kl(b, teacher, hidden, const_view(head), weight, d_hidden, losses, labels);
        subbit::add_to_total(b, std::span<const double>(losses), weight, total);
    }
};

/// The hidden states of two blocks, all windows one after the other.
struct held_teacher {
    std::vector<matrix<float>> all;
    index present = 0;
    std::vector<index> begun;  // every window, in turn

    void begin(index w) {
        present = w;
        begun.push_back(w);
    }
    subbit::matrix_view<const float> states_after(index l) const {
        return const_view(all[static_cast<std::size_t>(2 * present + l)]);
    }
};

/// What a distillation starts from; a new one for each run.
struct distillation {
    using state = subbit::distillation_state<float>;
    cpu b;
    model_config config = config_of_student();
    block_context<float> context{config, student_window};
    student model;
    std::vector<std::vector<std::int32_t>> windows;
    held_teacher teacher;
    subbit::distillation_recipe recipe;
    std::size_t parts = 1, held_back = 0;
    subbit::best_student best;

    explicit distillation(int threads = 1, bool latents = false) : b({.threads = threads}) {
        const subbit::random_stream stream(3);
        model.head *= 0.2F;
        std::vector<block<float>> original;
        for (std::uint64_t l = 0; l < 2; ++l)
            original.push_back(testing::random_block(context, l + 1));
        block_tape<float> tape;
        for (index w = 0; w < student_windows; ++w) {
            windows.emplace_back();
            for (index t = 0; t < student_window; ++t)
                windows.back().push_back(
                    static_cast<std::int32_t>(stream.below(static_cast<std::uint64_t>(w * student_window + t), 31)));
            matrix<float> X(student_window, 32), Y(student_window, 32);
            model.embed(b, windows.back(), view(X));
            for (const auto& blk : original) {
                blk.forward(b, const_view(X), student_window, view(Y), tape);
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
            b, model, subbit::distillation_data{windows, teacher, parts, held_back},
            {.recipe = recipe, .state = std::move(from), .checkpoint = checkpoint, .best = best, .watcher = watcher});
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
    CHECK(state.steps_done == 6 * student_windows);
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

TEST_CASE("hard labels make the text itself likelier, on the windows that judge as on those that teach") {
    distillation labels, plain;
    for (auto* run : {&labels, &plain}) {
        run->windows.back() = run->windows.front();  // the same text judges
        run->held_back = 1;
    }
    labels.recipe.label_share = 1;
    const auto with = labels.run(), without = plain.run();
    // Words are nearly equally likely to the teacher.
    CHECK(with.curve.front() == doctest::Approx(std::log(31.0)).epsilon(0.2));
    CHECK(with.curve.back() < 0.99 * with.curve.front());
    CHECK(with.held_back.back() < 0.99 * with.held_back.front());
    CHECK(without.held_back.front() < 0.5 * with.held_back.front());
    CHECK(!labels.same_bits(plain));
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
    CHECK(expected.steps_done == student_windows - 1);
    CHECK(expected.curve.size() == 2);
    auto seen = whole.teacher.begun;
    REQUIRE(seen.size() == student_windows - 1);
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

namespace {

/// One whose last window judges it, at a rate of the scales; its best state goes to `best` if that is given.
std::unique_ptr<distillation> judged(double rate, std::vector<block<float>>* best = nullptr) {
    auto run = std::make_unique<distillation>();
    run->held_back = 1;
    run->recipe.phase.scales = learning_rate::share_of_magnitude(rate);
    auto& blocks = run->model.blocks;
    if (best)
        run->best = {[&blocks, best](std::size_t) { *best = blocks; },
                     [&blocks, best](std::size_t) { blocks = *best; }};
    return run;
}

}  // namespace

TEST_CASE("a distillation ends with what was best on the windows that are held back") {
    for (const double rate : {0.01, 0.1, 3.0}) {
        CAPTURE(rate);
        auto run = judged(rate);
        const auto state = run->run();
        CHECK(state.steps_done == 6 * (student_windows - 1));
        REQUIRE(state.held_back.size() == 7);
        const auto least = std::min_element(state.held_back.begin(), state.held_back.end());
        CHECK((rate < 1 ? *least < state.held_back.front() : least == state.held_back.begin()));
        if (rate > 1) CHECK(run->same_bits(distillation()));

        // The loss of what came out is the lowest: one more epoch that moves nothing to speak of measures it first.
        run->recipe.phase.epochs = 1;
        run->recipe.phase.scales = learning_rate::share_of_magnitude(1e-9);
        CHECK(run->run().held_back.front() == *least);

        std::vector<block<float>> kept;
        auto elsewhere = judged(rate, &kept);
        CHECK(elsewhere->run().held_back == state.held_back);
        auto again = judged(rate);
        again->run();
        CHECK(elsewhere->same_bits(*again));
    }
}

TEST_CASE("a distillation that is judged resumes with its best state") {
    for (const double rate : {0.1, 3.0}) {
        std::vector<block<float>> kept;
        auto whole = judged(rate), stopped = judged(rate, &kept), resumed = judged(rate, &kept);
        const auto expected = whole->run();
        const auto saved = stop_after(17, *stopped, *resumed);
        CHECK(saved.held_back.size() == 4);  // the start and three epochs of four steps
        CHECK(resumed->run(saved).held_back == expected.held_back);
        CHECK(resumed->same_bits(*whole));
    }
}

}  // namespace llama
