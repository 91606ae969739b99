// LB-ADMM against the authors' code, run in double precision with given starts (tests/data/lb_admm.safetensors).
#include <subbit/backend/reference.hpp>
#include <subbit/factor/lb_admm.hpp>
#include <subbit/io/safetensors.hpp>

#include "../support/reference.hpp"

#include <doctest/doctest.h>

#include <string>

namespace {

using subbit::matrix;
using subbit::vector;

double relative_difference(const matrix<double>& x, const matrix<double>& y) {
    return (x - y).norm() / y.norm();
}

struct reference_run {
    explicit reference_run(const std::string& name)
        : file(subbit::testing::reference_dir() / "lb_admm.safetensors"),
          W(file.read_matrix<double>(name + ".W")),
          left(file.read_matrix<double>(name + ".A0")),
          right(file.read_matrix<double>(name + ".B0")),
          input(file.read_vector<double>(name + ".i")),
          output(file.read_vector<double>(name + ".o")) {}

    subbit::factorization<double> run(int iterations, subbit::penalty_schedule schedule) const {
        return subbit::lb_admm(subbit::reference<double>{}, W,
                               {.rank = left.cols(),
                                .input = input,
                                .output = output,
                                .iterations = iterations,
                                .iteration = subbit::paper_iteration{.schedule = schedule},
                                .start_left = subbit::view(left),
                                .start_right = subbit::view(right)});
    }

    subbit::safetensors_reader file;
    matrix<double> W, left, right;
    vector<double> input, output;
};

}  // namespace

TEST_SUITE("reference") {
    TEST_CASE("lb_admm agrees with the authors' code to 1e-8 for up to 16 iterations") {
        for (const std::string name : {"tall", "wide", "square"}) {
            const reference_run reference(name);
            for (const std::string schedule : {"linear", "cubic"})
                for (const int k : {1, 4, 16}) {
                    const auto prefix = name + "." + schedule + "." + std::to_string(k) + ".";
                    CAPTURE(prefix);
                    const auto fit = reference.run(
                        k, schedule == "linear" ? subbit::penalty_schedule::linear : subbit::penalty_schedule::cubic);
                    const auto expect = [&](const char* what, const matrix<double>& value) {
                        CAPTURE(what);
                        CHECK(relative_difference(value, reference.file.read_matrix<double>(prefix + what)) < 1e-8);
                    };
                    const auto expect_vector = [&](const char* what, const vector<double>& value) {
                        CAPTURE(what);
                        CHECK(relative_difference(value, reference.file.read_vector<double>(prefix + what)) < 1e-8);
                    };
                    expect("U", fit.U);
                    expect("V", fit.V);
                    expect("U_latent", fit.U_latent);
                    expect("V_latent", fit.V_latent);
                    expect_vector("s_post", fit.s_post);
                    expect_vector("s_pre", fit.s_pre);
                    CHECK(fit.error ==
                          doctest::Approx(reference.file.read_vector<double>(prefix + "error")(0)).epsilon(1e-8));
                }
        }
    }

    TEST_CASE("lb_admm ends within 5 % of the authors' error after 400 iterations") {
        for (const std::string name : {"tall", "wide", "square"}) {
            const reference_run reference(name);
            for (const std::string schedule : {"linear", "cubic"}) {
                const auto prefix = name + "." + schedule + ".400.";
                CAPTURE(prefix);
                const auto fit = reference.run(
                    400, schedule == "linear" ? subbit::penalty_schedule::linear : subbit::penalty_schedule::cubic);
                CHECK(fit.error ==
                      doctest::Approx(reference.file.read_vector<double>(prefix + "error")(0)).epsilon(0.05));
            }
        }
    }
}
