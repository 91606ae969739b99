// Linear layers: forward against their matrices, backward against finite differences.
#include "../support/finite_differences.hpp"
#include "../support/strided.hpp"

#include <subbit/recon/linear_layer.hpp>

#include <doctest/doctest.h>
#include <utility>

namespace subbit::testing {
namespace {

const reference<double> exact;

/// A layer, its inputs, and a loss that is linear in its outputs.
struct layer_case {
    index tokens = 9, inputs = 37, outputs = 18, rank = 5;
    bool three_scales;
    matrix<double> U = random_matrix<double>(outputs, rank, 1), V = random_matrix<double>(rank, inputs, 2);
    matrix<double> X = random_matrix<double>(tokens, inputs, 3), weights = random_matrix<double>(tokens, outputs, 4);
    binary_linear<double> binary;

    explicit layer_case(bool three, bool latents = true) : three_scales(three) {
        binary.layer.U = bit_matrix::pack(U);
        binary.layer.V = bit_matrix::pack(V);
        binary.layer.s_post = random_matrix<double>(outputs, 1, 5);
        binary.layer.s_pre = random_matrix<double>(inputs, 1, 6);
        if (three) binary.layer.s_mid = random_matrix<double>(rank, 1, 7);
        binary.layer.bias = random_matrix<double>(outputs, 1, 8);
        if (latents) {
            binary.U_latent = U;
            binary.V_latent = V;
        }
    }

    /// The loss of the layer with the sign matrices replaced by any real ones.
    double loss_of(const matrix<double>& left, const matrix<double>& right) const {
        const auto& l = binary.layer;
        matrix<double> hidden = X * l.s_pre.asDiagonal() * right.transpose();
        if (three_scales) hidden = hidden * l.s_mid.asDiagonal();
        matrix<double> Y = hidden * left.transpose() * l.s_post.asDiagonal();
        Y.rowwise() += l.bias.transpose();
        return Y.cwiseProduct(weights).sum();
    }
    double loss() const { return loss_of(binary.layer.U.unpack<double>(), binary.layer.V.unpack<double>()); }

    matrix<double> backward(const trainable& train, bool accumulate = false, double start = 0) {
        linear_tape<double> tape;
        linear_workspace<double> work;
        matrix<double> Y(tokens, outputs), dY = weights, dX = matrix<double>::Constant(tokens, inputs, start);
        binary.forward(exact, const_view(X), view(Y), tape, work);
        CHECK(Y.cwiseProduct(weights).sum() == doctest::Approx(loss()).epsilon(1e-12));
        binary.backward(exact, train, const_view(X), view(dY), view(dX), accumulate, tape, work);
        return dX;
    }
};

double vector_error(vector<double>& x, const vector<double>& gradient, const layer_case& c) {
    return gradient_error(span_of(x), span_of(gradient), [&] { return c.loss(); });
}

}  // namespace

TEST_CASE("gradients of a binary layer") {
    for (const bool three : {false, true}) {
        layer_case c(three);
        auto& binary = c.binary;
        const auto dX = c.backward({.latents = true, .scales = true, .biases = true});
        CHECK(gradient_error(entries(c.X), entries(dX), [&] { return c.loss(); }) < 1e-8);
        CHECK(vector_error(binary.layer.s_post, binary.d_post, c) < 1e-8);
        CHECK(vector_error(binary.layer.s_pre, binary.d_pre, c) < 1e-8);
        CHECK(vector_error(binary.layer.s_mid, binary.d_mid, c) < 1e-8);
        CHECK(vector_error(binary.layer.bias, binary.d_bias, c) < 1e-8);
        matrix<double> left = binary.layer.U.unpack<double>(), right = binary.layer.V.unpack<double>();
        CHECK(gradient_error(entries(left), entries(binary.d_U), [&] { return c.loss_of(left, right); }) < 1e-8);
        CHECK(gradient_error(entries(right), entries(binary.d_V), [&] { return c.loss_of(left, right); }) < 1e-8);
    }
}

TEST_CASE("scales have the same gradients whether latents are trained, frozen or gone") {
    for (const bool three : {false, true}) {
        layer_case with(three), frozen(three), gone(three, false);
        const auto a = with.backward({.latents = true, .scales = true});
        const auto b = frozen.backward({.scales = true});
        gone.binary.estimator = straight_through::clipped;
        const auto c =
            gone.backward({.latents = true, .scales = true});  // as a finished layer beside one that is tuned
        for (const layer_case* other : {&frozen, &gone}) {
            CHECK((with.binary.d_post - other->binary.d_post).cwiseAbs().maxCoeff() < 1e-12);
            CHECK((with.binary.d_mid - other->binary.d_mid).norm() < 1e-12);
            CHECK((with.binary.d_pre - other->binary.d_pre).cwiseAbs().maxCoeff() < 1e-12);
        }
        CHECK((a - b).cwiseAbs().maxCoeff() < 1e-12);
        CHECK((a - c).cwiseAbs().maxCoeff() < 1e-12);
        CHECK(gone.binary.d_U.size() == 0);
    }
}

TEST_CASE("input gradients are written or added, and a second pass starts anew") {
    layer_case c(true);
    const auto written = c.backward({.latents = true, .scales = true, .biases = true}, false, 7.0);
    const auto d_U = c.binary.d_U;
    const auto d_post = c.binary.d_post;
    const auto added = c.backward({.latents = true, .scales = true, .biases = true}, true, 7.0);
    CHECK((added.array() - 7.0 - written.array()).abs().maxCoeff() < 1e-12);
    CHECK(c.binary.d_U == d_U);
    CHECK(c.binary.d_post == d_post);
}

TEST_CASE("estimators shape the gradients of the latents alone") {
    layer_case plain(false), clipped(false);
    clipped.binary.estimator = straight_through::clipped;
    plain.backward({.latents = true, .scales = true});
    clipped.backward({.latents = true, .scales = true});
    const matrix<double> mask = (clipped.U.array().abs() < 1.0).cast<double>();
    CHECK((mask.sum() > 0 && mask.sum() < static_cast<double>(mask.size())));
    CHECK(clipped.binary.d_U == plain.binary.d_U.cwiseProduct(mask));
    CHECK(clipped.binary.d_pre == plain.binary.d_pre);
}

TEST_CASE("ranks may send signs in place of latents only where gradients do not depend on the latents") {
    for (const auto estimator : {straight_through::identity, straight_through::clipped, straight_through::smooth}) {
        layer_case c(false);
        c.binary.estimator = estimator;
        std::vector<parameter<double>> list;
        c.binary.parameters(exact, "layer", {.latents = true, .scales = true}, list);
        for (const auto& p : list) {
            CAPTURE(p.name);
            const bool sends_signs = estimator == straight_through::identity && p.kind == parameter_kind::latent;
            CHECK(p.signs.empty() != sends_signs);
        }
    }
}

TEST_CASE("latents that cross zero flip their bits after an update") {
    layer_case c(false);
    c.binary.U_latent(3, 2) *= -1;
    c.binary.after_update(exact);
    matrix<double> expected = c.U.unaryExpr([](double x) { return sign(x); });
    expected(3, 2) *= -1;
    CHECK(c.binary.layer.U.unpack<double>() == expected);
    c.binary.harden(false);
    CHECK((!c.binary.has_latents() && c.binary.d_U.size() == 0 && c.binary.d_post.size() == 0));
}

TEST_CASE("gradients of a dense layer") {
    dense_linear<double> dense;
    dense.weight = random_matrix<double>(6, 5, 1);
    dense.bias = random_matrix<double>(6, 1, 2);
    matrix<double> X = random_matrix<double>(9, 5, 3), dX(9, 5), Y(9, 6);
    const auto weights = random_matrix<double>(9, 6, 4);
    linear_tape<double> tape;
    linear_workspace<double> work;
    const auto loss = [&] {
        dense.forward(exact, const_view(X), view(Y), tape, work);
        return Y.cwiseProduct(weights).sum();
    };
    matrix<double> dY = weights;
    dense.backward(exact, {.weights = true, .biases = true}, const_view(X), view(dY), view(dX), false, tape, work);
    CHECK(gradient_error(entries(X), entries(dX), loss) < 1e-8);
    CHECK(gradient_error(entries(dense.weight), entries(dense.d_weight), loss) < 1e-8);
    CHECK(gradient_error(span_of(dense.bias), span_of(std::as_const(dense.d_bias)), loss) < 1e-8);
    matrix<double> Y0 = X * dense.weight.transpose();
    Y0.rowwise() += dense.bias.transpose();
    loss();
    CHECK((Y - Y0).cwiseAbs().maxCoeff() < 1e-12);
}

TEST_CASE("steps around the products refuse what does not fit") {
    const reference<double> b;
    matrix<double> X = matrix<double>::Ones(3, 4), Y = X;
    vector<double> four = vector<double>::Ones(4), three = vector<double>::Ones(3);
    CHECK_NOTHROW(scale_columns(b, const_view(X), const_span(four), view(Y)));
    CHECK_THROWS_AS(scale_columns(b, const_view(X), const_span(three), view(Y)), shape_error);
    CHECK_THROWS_AS(add_scaled_columns(b, const_view(X), const_span(three), view(Y)), shape_error);
    CHECK_THROWS_AS(token_dots(b, const_view(X), const_view(Y), span_of(three)), shape_error);
    CHECK_THROWS_AS(token_sums(b, const_view(X), span_of(three)), shape_error);
    CHECK_THROWS_AS(add_to_rows(b, view(Y), const_span(three)), shape_error);
    matrix<double> square = matrix<double>::Ones(4, 4);
    CHECK_THROWS_AS(token_sums(b, const_view(square).t(), span_of(four)), shape_error);
}

TEST_CASE("what is trainable is listed in a fixed order") {
    layer_case c(true);
    std::vector<parameter<double>> list;
    linear_layer<double> layer(c.binary);
    layer.parameters(exact, "q", {.latents = true, .scales = true, .biases = true}, list);
    std::string names;
    for (const auto& p : list) {
        names += p.name + " ";
        CHECK(p.value.size() == p.gradient.size());
    }
    CHECK(names == "q.U q.V q.s_post q.s_mid q.s_pre q.bias ");
    list.clear();
    linear_layer<double>(layer_case(false, false).binary)
        .parameters(exact, "q", {.weights = true, .latents = true}, list);
    CHECK(list.empty());
}

}  // namespace subbit::testing
