// Ranks over the whole model, from what each layer's compression costs.
#include "compress/rank_choice.hpp"

#include "model/model_directory.hpp"
#include "tiny_model.hpp"

#include "../support/temporary_directory.hpp"

#include <doctest/doctest.h>
#include <subbit/factor/rank_budget.hpp>

#include <algorithm>
#include <numeric>

using namespace llama;
using subbit::testing::temporary_directory;

namespace {

struct some_ranks {
    temporary_directory folder;
    compress_options options;
    std::optional<model_directory> model;

    some_ranks() {
        testing::write_tiny_model(folder / "model", {.blocks = 3});
        model.emplace(folder / "model");
        options.ranks = "model";
    }
    const block_schema& block() const { return model->config().block(0); }
    std::int64_t bits(const std::vector<llama::index>& ranks) const {
        std::int64_t sum = 0;
        for (const auto& linear : block().linears)
            sum += subbit::storage_bits(linear.shape.rows, linear.shape.cols, ranks[linear.number()]);
        return sum;
    }
    /// Losses that ask for the ranks at which they were measured.
    rank_costs even() const {
        rank_costs costs{choose_ranks(block(), options), std::vector<per_linear<double>>(3)};
        for (auto& of_block : costs.losses)
            for (const auto& linear : block().linears)
                of_block[linear.number()] =
                    1e-4 * static_cast<double>(costs.ranks[linear.number()] * (linear.shape.rows + linear.shape.cols));
        return costs;
    }
};

}  // namespace

TEST_CASE("layers whose further bits are worth the same keep their ranks, but for a granule") {
    const some_ranks given;
    const auto costs = given.even();
    const auto ranks = ranks_from_costs(given.block(), given.options, costs);
    REQUIRE(ranks.size() == 3);
    for (const auto& of_block : ranks)
        for (std::size_t k = 0; k < layer_count; ++k)
            CHECK(std::abs(of_block[k] - costs.ranks[k]) <= 8);
}

TEST_CASE("what costs more gets more, within the same bits, and at most twice as much") {
    const some_ranks given;
    auto costs = given.even();
    costs.losses[1][linear_id::down] *= 1.6;
    costs.losses[2][linear_id::up] *= 1000;
    costs.losses[0][linear_id::gate] = 0;
    const auto ranks = ranks_from_costs(given.block(), given.options, costs);
    CHECK(ranks[1][6] > ranks[0][6]);
    CHECK(ranks[2][5] > ranks[1][5]);
    CHECK(ranks[0][4] < ranks[1][4]);
    std::int64_t bits = 0, weights = 0;
    for (const auto& of_block : ranks) {
        bits += given.bits(of_block);
        for (const auto& linear : given.block().linears) {
            weights += linear.shape.rows * linear.shape.cols;
            const llama::index measured = costs.ranks[linear.number()], rank = of_block[linear.number()];
            CHECK(rank <= 2 * measured + 16);
            CHECK(2 * rank >= measured - 16);
            CHECK(rank <= subbit::highest_rank(linear.shape, {}));
        }
    }
    CHECK(bits <= weights);
    CHECK(bits > weights - 8 * 320);  // no further granule fits
}

TEST_CASE("ranks rise above the smaller side, but not dual SVID's") {
    some_ranks given;
    given.options.ranks = "uneven";
    given.options.bits = 3;
    const auto exceeds = [&](const linear_spec& linear, const std::vector<llama::index>& ranks) {
        return ranks[linear.number()] > std::min(linear.shape.rows, linear.shape.cols);
    };
    const auto ranks = choose_ranks(given.block(), given.options);
    for (const auto& linear : given.block().linears)
        CHECK(exceeds(linear, ranks));
    CHECK_FALSE(are_highest_ranks(given.block(), given.options, ranks));
    given.options.solver = "dual_svid";
    given.options.scales = 3;
    const auto of_svid = choose_ranks(given.block(), given.options);
    for (const auto& linear : given.block().linears)
        CHECK_FALSE(exceeds(linear, of_svid));
    CHECK(are_highest_ranks(given.block(), given.options, of_svid));
}

TEST_CASE("costs come back from their file") {
    const some_ranks given;
    const auto costs = given.even();
    const auto back = rank_costs_from(to_json(costs));
    CHECK(back.ranks == costs.ranks);
    REQUIRE(back.losses.size() == 3);
    for (std::size_t l = 0; l < 3; ++l)
        for (std::size_t k = 0; k < layer_count; ++k)
            CHECK(back.losses[l][k] == costs.losses[l][k]);
}
