// Jobs side by side on the streams of a device.
#include <subbit/backend/emulated.hpp>
#include <subbit/backend/jobs/streams.hpp>
#include <subbit/factor/lb_admm.hpp>

#include "factor/random_matrices.hpp"
#include "support/throws.hpp"

#include <doctest/doctest.h>
#include <string>
#include <vector>

namespace subbit::testing {

TEST_CASE("layers that are factored side by side are those factored one by one") {
    const emulated device;
    std::vector<matrix<double>> weights;
    for (const index rows : {24, 17, 40, 31, 9})
        weights.push_back(weight_like(static_cast<std::uint64_t>(rows), rows, 20));
    const auto solve = [&](const auto& b, index i) {
        return lb_admm(b, weights[static_cast<std::size_t>(i)], {.rank = 6, .iterations = 4});
    };
    std::vector<factorization<double>> fits(weights.size());
    for_each_on_streams(device, std::ssize(weights), 3,
                        [&](const auto& stream, index i) { fits[static_cast<std::size_t>(i)] = solve(stream, i); });
    for (index i = 0; i < std::ssize(weights); ++i) {
        const auto& fit = fits[static_cast<std::size_t>(i)];
        const auto alone = solve(device, i);
        CHECK(fit.U == alone.U);
        CHECK(fit.s_pre == alone.s_pre);
    }
}

TEST_CASE("the first job that fails is the one that is reported") {
    const auto fail = [](const auto&, index i) {
        if (i >= 2) throw value_error("layer " + std::to_string(i));
    };
    check_throws<value_error>([&] { for_each_on_streams(emulated(), 3, 2, fail); }, {"layer 2"});
    check_throws<value_error>([&] { for_each_on_streams(reference<double>(), 7, 2, fail); }, {"layer 2"});
}

}  // namespace subbit::testing
