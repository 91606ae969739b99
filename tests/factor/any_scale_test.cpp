// Every solver at any scale of weights and moments, and for a matrix of zeros.
#include <subbit/backend/cpu.hpp>
#include <subbit/factor/dbf_admm.hpp>
#include <subbit/factor/dual_svid.hpp>
#include <subbit/factor/lb_admm.hpp>
#include <subbit/factor/residual_svid.hpp>

#include "random_matrices.hpp"
#include "support/throws.hpp"

#include <doctest/doctest.h>

#include <cmath>

namespace subbit::testing {
namespace {

const cpu device({.threads = 1});

/// A solver's result as far as the scale of the weight shows in it or must not.
template <class S>
struct outcome {
    std::vector<bit_matrix> bits;
    std::vector<vector<S>> scales;
    double error;
    matrix<double> dense;  ///< the weight that it stands for
};

template <class S>
outcome<S> outcome_of(const factorization<S>& f) {
    const low_rank_binary_linear<S> layer = f.pack();
    matrix<double> U = layer.U.template unpack<S>().template cast<double>();
    if (layer.s_mid.size()) U = U * layer.s_mid.template cast<double>().asDiagonal();
    return {{layer.U, layer.V},
            {layer.s_post, layer.s_pre, layer.s_mid},
            f.error,
            layer.s_post.template cast<double>().asDiagonal() * U *
                layer.V.template unpack<S>().template cast<double>() *
                layer.s_pre.template cast<double>().asDiagonal()};
}

template <class S>
outcome<S> outcome_of(const residual_factorization<S>& f) {
    outcome<S> result{{}, {}, f.error, matrix<double>::Zero(f.layer.rows(), f.layer.cols())};
    for (const auto& path : f.layer.paths) {
        result.bits.push_back(path.B);
        result.scales.insert(result.scales.end(), {path.s_post, path.s_pre});
        result.dense += path.s_post.template cast<double>().asDiagonal() *
                        path.B.template unpack<S>().template cast<double>() *
                        path.s_pre.template cast<double>().asDiagonal();
    }
    return result;
}

constexpr int solvers = 6;

/// The weight by one of the solvers, in few iterations: rounding errors have no time to grow.
template <class S, class B>
outcome<S> solve(const B& b, int which, const matrix<S>& W, const vector<S>& in = {}, const vector<S>& out = {}) {
    const auto lb = [&](admm_iteration iteration, scale_form scales) {
        return outcome_of(lb_admm(b, W,
                                  {.rank = 5,
                                   .input = in,
                                   .output = out,
                                   .iterations = 8,
                                   .scales = scales,
                                   .iteration = iteration,
                                   .name = "q"}));
    };
    switch (which) {
        case 0:
            return lb(paper_iteration{}, scale_form::two);
        case 1:
            return lb(paper_iteration{}, scale_form::three);
        case 2:
            return lb(improved_iteration{}, scale_form::two);
        case 3:
            return outcome_of(dbf_admm(b, W, {.rank = 5, .input = in, .output = out, .iterations = 4, .name = "q"}));
        case 4:
            return outcome_of(
                dual_svid(b, W, {.rank = 5, .input = in, .output = out, .refine = refine_options{}, .name = "q"}));
        default:
            return outcome_of(residual_svid(b, W, {.input = in, .output = out, .name = "q"}));
    }
}

template <class S, class B>
void check_scaled(const B& b, double tolerance) {
    const matrix<S> W = weight_like(1, 17, 23).cast<S>();
    const vector<S> in = positive_vector(2, 23).cast<S>(), out = positive_vector(3, 17).cast<S>();
    for (int which = 0; which < solvers; ++which) {
        const auto plain = solve<S>(b, which, W, in, out);
        for (int power = -30; power <= 30; power += 3) {
            CAPTURE(which);
            CAPTURE(power);
            const double ten = std::pow(10.0, power), two = std::exp2(3 * power);
            const auto by_two = solve<S>(b, which, W * static_cast<S>(two), in, out);
            CHECK(by_two.bits == plain.bits);
            CHECK(by_two.error == plain.error);
            CHECK((by_two.dense / two - plain.dense).norm() <= 1e-6 * plain.dense.norm());
            const auto by_ten = solve<S>(b, which, W * static_cast<S>(ten), in, out);
            CHECK(by_ten.error == doctest::Approx(plain.error).epsilon(tolerance));
            CHECK((by_ten.dense / ten - W.template cast<double>()).norm() < W.template cast<double>().norm());
        }
    }
}

template <class S, class B>
void check_zero(const B& b) {
    for (const auto& [rows, cols] : {std::pair<index, index>{9, 14}, {14, 9}, {5, 5}})
        for (int which = 0; which < solvers; ++which) {
            CAPTURE(which);
            const auto zero = solve<S>(b, which, matrix<S>(matrix<S>::Zero(rows, cols)));
            CHECK(zero.error == 0.0);
            CHECK(zero.dense == matrix<double>::Zero(rows, cols));
            CHECK(zero.scales[0] == vector<S>::Zero(rows));
            CHECK(zero.scales[1] == vector<S>::Zero(cols));
        }
}

}  // namespace

TEST_CASE("the scale of the weights changes nothing but the scales") {
    check_scaled<float>(device, 1e-3);
    check_scaled<double>(device, 1e-9);
    check_scaled<float>(reference<float>{}, 1e-3);
    check_scaled<double>(oracle, 1e-9);
}

TEST_CASE("a matrix of zeros has scales of zero and no error") {
    check_zero<float>(device);
    check_zero<double>(device);
    check_zero<float>(reference<float>{});
    check_zero<double>(oracle);
}

TEST_CASE("moments at the ends of a float's range give what moments near one give") {
    const matrix<float> W = weight_like(1, 17, 23).cast<float>();
    const vector<float> in = positive_vector(2, 23).cast<float>(), out = positive_vector(3, 17).cast<float>();
    for (int which = 0; which < solvers; ++which) {
        if (which == 5) continue;  // its moments are roots of these: rounded otherwise
        const auto plain = solve<float>(device, which, W, in, out);
        for (const float weight : {0x1p-30F, 1.0F, 0x1p30F})
            for (const float input : {0x1p-120F, 0x1p120F})
                for (const float output : {0x1p-120F, 0x1p120F}) {
                    CAPTURE(which);
                    const auto far = solve<float>(device, which, W * weight, in * input, out * output);
                    CHECK(far.bits == plain.bits);
                    CHECK(far.error == plain.error);
                    CHECK((far.dense / weight - plain.dense).norm() <= 1e-6 * plain.dense.norm());
                }
    }
}

TEST_CASE("moments that are all zero say as much as none") {
    const matrix<float> W = weight_like(1, 17, 23).cast<float>();
    const vector<float> in = vector<float>::Zero(23), out = vector<float>::Zero(17);
    for (int which = 0; which < solvers; ++which) {
        CAPTURE(which);
        const auto zero = solve<float>(device, which, W, in, out), none = solve<float>(device, which, W);
        CHECK(zero.bits == none.bits);
        CHECK(zero.error == none.error);
    }
}

TEST_CASE("what no scale can hold is refused by name") {
    const matrix<double> W = weight_like(1, 9, 8);
    for (const double far : {1e200, 1e-200})
        check_throws<value_error>([&] { solve<double>(oracle, 0, far * W); }, {"q (9x8)", "range of a double"});
    // Starts 10^20 times the largest float, in the weight's units.
    const matrix<float> small = (1e-20 * W).cast<float>();
    const matrix<float> left = matrix<float>::Constant(9, 2, 1e38F), right = matrix<float>::Constant(2, 8, 1e38F);
    for (const auto iteration : {admm_iteration(paper_iteration{}), admm_iteration(improved_iteration{})})
        check_throws<value_error>(
            [&] {
                lb_admm(device, small,
                        {.rank = 2,
                         .iterations = 3,
                         .iteration = iteration,
                         .start_left = view(left),
                         .start_right = view(right),
                         .name = "q"});
            },
            {"q", "not finite"});
}

}  // namespace subbit::testing
