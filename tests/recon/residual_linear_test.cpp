// Residual layers in training: gradients against finite differences, what the signs follow, and how the paths agree.
#include "../support/finite_differences.hpp"
#include "../support/strided.hpp"

#include <subbit/backend/reference.hpp>
#include <subbit/factor/residual_svid.hpp>
#include <subbit/recon/linear_layer.hpp>
#include <subbit/recon/path_diagnostics.hpp>
#include <subbit/recon/sign_flips.hpp>

#include <doctest/doctest.h>
#include <rapidcheck.h>
#include <utility>

namespace subbit::testing {
namespace {

const reference<double> in_double;

/// A layer whose paths follow a weight, its inputs, and a loss that is linear in its outputs.
struct paths_case {
    index tokens = 7, inputs = 37, outputs = 18;
    matrix<double> W = random_matrix<double>(outputs, inputs, 1), X = random_matrix<double>(tokens, inputs, 2),
                   weights = random_matrix<double>(tokens, outputs, 3);
    residual_linear<double> residual;

    explicit paths_case(index paths, path_coupling coupling = path_coupling::coupled) {
        residual.layer = residual_svid(in_double, W, {.paths = paths}).layer;
        residual.layer.bias = random_matrix<double>(outputs, 1, 4);
        residual.follow(in_double, W, coupling);
    }

    /// The loss with the effective weight replaced by any other.
    double loss_of(const matrix<double>& effective) const {
        matrix<double> Y = X * effective.transpose();
        Y.rowwise() += residual.layer.bias.transpose();
        return Y.cwiseProduct(weights).sum();
    }
    double loss() const { return loss_of(residual.layer.dense()); }

    matrix<double> backward(const trainable& train, bool accumulate = false, double start = 0) {
        linear_tape<double> tape;
        linear_workspace<double> work;
        matrix<double> Y(tokens, outputs), dY = weights, dX = matrix<double>::Constant(tokens, inputs, start);
        residual.forward(in_double, const_view(X), view(Y), tape, work);
        CHECK(Y.cwiseProduct(weights).sum() == doctest::Approx(loss()).epsilon(1e-12));
        residual.backward(in_double, train, const_view(X), view(dY), view(dX), accumulate, tape, work);
        return dX;
    }
};

}  // namespace

TEST_CASE("gradients of a residual layer: scales exact, the weight's that of the effective weight") {
    for (const auto coupling : {path_coupling::coupled, path_coupling::independent})
        for (index paths = 1; paths <= max_paths; ++paths) {
            CAPTURE(paths);
            paths_case c(paths, coupling);
            auto& residual = c.residual;
            const auto loss = [&] { return c.loss(); };
            const auto dX = c.backward({.latents = true, .scales = true, .biases = true});
            CHECK(gradient_error(entries(c.X), entries(dX), loss) < 1e-8);
            for (std::size_t p = 0; p < residual.layer.paths.size(); ++p) {
                auto& path = residual.layer.paths[p];
                CHECK(gradient_error(span_of(path.s_post), span_of(std::as_const(residual.d_post[p])), loss) < 1e-6);
                CHECK(gradient_error(span_of(path.s_pre), span_of(std::as_const(residual.d_pre[p])), loss) < 1e-6);
            }
            CHECK(gradient_error(span_of(residual.layer.bias), span_of(std::as_const(residual.d_bias)), loss) < 1e-8);
            matrix<double> effective = residual.layer.dense();
            CHECK(gradient_error(entries(effective), entries(std::as_const(residual.d_weight)),
                                 [&] { return c.loss_of(effective); }) < 1e-8);
        }
}

TEST_CASE("scales have the same gradients whether latents are trained, frozen or gone; input gradients add up") {
    paths_case with(2), frozen(2), gone(2);
    gone.residual.harden(false);
    const auto a = with.backward({.latents = true, .scales = true}, false, 7.0);
    const auto b = frozen.backward({.scales = true});
    const auto c = gone.backward({.latents = true, .scales = true}, true, 7.0);
    CHECK((a - b).cwiseAbs().maxCoeff() < 1e-12);
    CHECK((c.array() - 7.0 - a.array()).abs().maxCoeff() < 1e-12);
    CHECK(gone.residual.d_weight.size() == 0);
    for (std::size_t p = 0; p < 2; ++p) {
        CHECK(with.residual.d_post[p] == frozen.residual.d_post[p]);
        CHECK(with.residual.d_pre[p] == gone.residual.d_pre[p]);
    }
}

TEST_CASE("coupled and independent paths start from the same signs; then each follows its own") {
    paths_case one(3), each(3, path_coupling::independent);
    CHECK((one.residual.latents.size() == 1 && each.residual.latents.size() == 3));
    CHECK(each.residual.latents[0] == one.W);
    each.residual.after_update(in_double);
    CHECK(each.residual.signs(in_double) == one.residual.signs(in_double));

    // A weight that crosses zero turns every path of a coupled layer over, and one path of independent latents.
    one.residual.latents[0](4, 5) *= -1;
    each.residual.latents[0](4, 5) *= -1;
    const auto before = one.residual.signs(in_double);
    one.residual.after_update(in_double);
    each.residual.after_update(in_double);
    for (std::size_t p = 0; p < 3; ++p) {
        CHECK(one.residual.layer.paths[p].B.get(4, 5) == -before[p].get(4, 5));
        CHECK(each.residual.layer.paths[p].B.get(4, 5) == (p == 0 ? -1 : 1) * before[p].get(4, 5));
    }
    const double flipped = share_flipped(before, each.residual.signs(in_double));
    CHECK(flipped == doctest::Approx(1.0 / (3 * 18 * 37)));

    // Scales move a coupled layer's signs too.
    one.residual.layer.paths[0].s_post *= 1.5;
    const auto second = one.residual.layer.paths[1].B;
    one.residual.after_update(in_double);
    CHECK(one.residual.layer.paths[0].B == bit_matrix::pack(one.residual.latents[0]));
    CHECK(!(one.residual.layer.paths[1].B == second));
}

TEST_CASE("what is trainable: one weight, or one latent a path with the same gradient, and all scales") {
    const auto names = [](residual_linear<double>& layer, const trainable& train) {
        std::vector<parameter<double>> list;
        layer.parameters(in_double, "q", train, list);
        std::string text;
        for (const auto& p : list) {
            text += p.name + " ";
            CHECK(p.value.size() == p.gradient.size());
            CHECK((p.kind == parameter_kind::latent) == (p.rows == 18));
        }
        return text;
    };
    paths_case one(2), each(2, path_coupling::independent);
    const trainable all{.latents = true, .scales = true, .biases = true};
    CHECK(names(one.residual, all) == "q.latent0 q.path0.s_post q.path0.s_pre q.path1.s_post q.path1.s_pre q.bias ");
    CHECK(names(each.residual, {.latents = true}) == "q.latent0 q.latent1 ");
    one.residual.harden(true);
    CHECK((one.residual.has_latents() && one.residual.d_post.empty()));
    one.residual.harden(false);
    CHECK((!one.residual.has_latents() && one.residual.d_weight.size() == 0));
    CHECK(names(one.residual, {.weights = true, .latents = true}).empty());
}

TEST_CASE("a margin of one moves a coupled weight onto the value that it stands for") {
    paths_case c(2);
    const auto signs = c.residual.signs(in_double);
    const matrix<double> before = c.residual.latents[0], effective = c.residual.layer.dense();
    c.residual.widen_margin(in_double, 0.25);
    CHECK((c.residual.latents[0] - (0.75 * before + 0.25 * effective)).norm() < 1e-12);
    c.residual.widen_margin(in_double, 1.0);
    CHECK((c.residual.latents[0] - effective).norm() < 1e-12);
    CHECK(share_flipped(signs, c.residual.signs(in_double)) == 0);
}

TEST_CASE("both decompositions of the squared error add up to it") {
    CHECK(rc::check("any outputs", [](std::uint64_t seed) {
        const index tokens = *rc::gen::inRange<index>(1, 9), channels = *rc::gen::inRange<index>(2, 30);
        const auto t = random_matrix<double>(tokens, channels, seed);
        const double share = *rc::gen::element(-1.0, 0.0, 0.3, 1.0);
        const matrix<double> first = share * t + 0.5 * random_matrix<double>(tokens, channels, seed + 1);
        const matrix<double> rest = (t - first) * share + 0.2 * random_matrix<double>(tokens, channels, seed + 2);
        const auto d = compare_paths(in_double, const_view(t), const_view(first), const_view(rest));
        const auto variance = [](const matrix<double>& x) { return (x.array() - x.mean()).square().mean(); };
        const double error = variance(t - first - rest) / variance(t);
        const double terms = 1 + (variance(first) + variance(rest)) / variance(t);  // what the decompositions add up
        RC_ASSERT(std::abs(d.error - error) <= 1e-9 * error);
        RC_ASSERT(std::abs(d.by_correlation - d.error) <= 1e-12 * terms);
        RC_ASSERT(std::abs(d.by_alignment - d.error) <= 1e-12 * terms);
        RC_ASSERT(std::abs(d.correlation) <= 1 + 1e-12);
        RC_ASSERT(std::abs(d.alignment) <= 1 + 1e-12);
    }));
}

TEST_CASE("after the iterative start the second path corrects the first; one path has nothing to correct it") {
    paths_case c(2);
    const auto X = random_matrix<double>(200, c.inputs, 6);
    const auto d = diagnose_paths(in_double, c.residual, const_view(c.W), const_view(X));
    CHECK((d.correlation < -0.2 && d.correlation > -0.6));
    CHECK((d.alignment > 0.5 && d.alignment < 1));
    CHECK((d.error > 0.05 && d.error < 0.2));
    paths_case single(1);
    const auto alone = diagnose_paths(in_double, single.residual, const_view(single.W), const_view(X));
    CHECK((alone.correlation == 0 && alone.alignment == 0));
    CHECK(alone.by_alignment == doctest::Approx(alone.error));
}

}  // namespace subbit::testing
