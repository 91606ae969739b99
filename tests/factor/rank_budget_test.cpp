#include <subbit/factor/rank_budget.hpp>

#include <doctest/doctest.h>
#include <rapidcheck.h>

#include <vector>

namespace subbit::testing {
namespace {

const std::vector<layer_shape> smollm2_block = {{576, 576},  {192, 576},  {192, 576}, {576, 576},
                                                {1536, 576}, {1536, 576}, {576, 1536}};

}  // namespace

TEST_CASE("storage counts signs and scales") {
    CHECK(storage_bits(48, 32, 16) == 16 * 80 + 16 * 80);
    CHECK(storage_bits(48, 32, 16, {.scales = 3}) == 16 * 80 + 16 * (80 + 16));
    CHECK(storage_bits(48, 32, 16, {.stored_scales = scale_format::log8}) == 16 * 80 + 8 * 80 + 128);
}

TEST_CASE("the ranks of SmolLM2 at 1.0 bit per weight") {
    const bits_per_weight one{1.0};
    CHECK(rank_for(one, 576, 576) == 272);
    CHECK(rank_for(one, 192, 576) == 128);
    CHECK(rank_for(one, 1536, 576) == 400);
    CHECK(rank_for(one, 576, 576, {.granularity = 32}) == 256);
    CHECK(rank_for(one, 1536, 576, {.granularity = 32}) == 384);
    CHECK(rank_for(one, 1536, 576, {.stored_scales = scale_format::log8}) == 408);
    CHECK(rank_for(one, 1536, 576, {.granularity = 1}) == 402);
    CHECK(rank_for(one, 438, 438) == 200);
    CHECK(rank_for(one, 438, 438, {.granularity = 1}) == 203);
}

TEST_CASE("rank_for stays within the bits and misses no granule") {
    CHECK(rc::check("any shape, target and rule", [] {
        const index m = *rc::gen::inRange<index>(1, 3000), n = *rc::gen::inRange<index>(1, 3000);
        const double target = *rc::gen::inRange(5, 300) / 100.0;
        const rank_rule rule{.granularity = *rc::gen::element(index{1}, index{8}, index{32}),
                             .scales = *rc::gen::element(2, 3),
                             .stored_scales = *rc::gen::element(scale_format::f16, scale_format::log8),
                             .up_to_full = *rc::gen::arbitrary<bool>()};
        index rank = 0;
        try {
            rank = rank_for(bits_per_weight{target}, m, n, rule);
        } catch (const value_error&) {
        }
        const index limit = highest_rank({m, n}, rule), next = std::min(limit, rank + rule.granularity);
        if (rank > 0) RC_ASSERT(reached(m, n, rank, rule).value <= target * (1 + 1e-12));
        RC_ASSERT(rank <= limit);
        RC_ASSERT(rank == limit || rank % rule.granularity == 0);
        if (rank < limit && next % rule.granularity == 0) RC_ASSERT(reached(m, n, next, rule).value > target);
    }));
}

TEST_CASE("a target that is too low is refused, or met by the minimum") {
    CHECK_THROWS_AS(rank_for(bits_per_weight{0.05}, 64, 64), value_error);
    CHECK(rank_for(bits_per_weight{0.05}, 64, 64, {.granularity = 32, .minimum = 32}) == 32);
    CHECK(rank_for(bits_per_weight{0.05}, 16, 64, {.granularity = 32, .minimum = 32, .up_to_full = true}) == 16);
    CHECK(rank_for(bits_per_weight{2.0}, 1536, 576) == 816);
    CHECK(rank_for(bits_per_weight{2.0}, 1536, 576, {.up_to_full = true}) == 576);
    CHECK(rank_for(bits_per_weight{100.0}, 20, 30) == 320);
    CHECK_THROWS_AS(rank_for(bits_per_weight{-1.0}, 64, 64), value_error);
    CHECK_THROWS_AS(rank_for(bits_per_weight{1.0}, 0, 64), value_error);
    CHECK_THROWS_AS(rank_for(bits_per_weight{1.0}, 64, 64, {.scales = 4}), value_error);
}

TEST_CASE("the study's profile is met at its own budget") {
    const std::vector<double> profile = {208, 96, 160, 272, 400, 400, 432};
    const std::vector<index> wanted = {208, 96, 160, 272, 400, 400, 432};
    const auto ranks = distribute_ranks(smollm2_block, profile, bits_per_weight{1.0});
    CHECK(reached(smollm2_block, ranks).value <= 1.0);
    CHECK(reached(smollm2_block, ranks).value > 0.995);
    for (std::size_t l = 0; l < ranks.size(); ++l)
        CHECK(std::abs(ranks[l] - wanted[l]) <= 8);
}

TEST_CASE("an even profile is near the uniform ranks") {
    const auto ranks = distribute_ranks(smollm2_block, {}, bits_per_weight{1.0});
    for (std::size_t l = 0; l < ranks.size(); ++l)
        CHECK(std::abs(ranks[l] - rank_for(bits_per_weight{1.0}, smollm2_block[l].rows, smollm2_block[l].cols)) <= 16);
}

TEST_CASE("uneven ranks stay within the budget, and no granule more would fit") {
    CHECK(rc::check("any block and profile", [] {
        const auto layers = *rc::gen::inRange<std::size_t>(1, 8);
        std::vector<layer_shape> shapes;
        std::vector<double> profile;
        for (std::size_t l = 0; l < layers; ++l) {
            shapes.push_back({*rc::gen::inRange<index>(64, 800), *rc::gen::inRange<index>(64, 800)});
            profile.push_back(*rc::gen::inRange(1, 100));
        }
        const double target = *rc::gen::inRange(90, 200) / 100.0;
        const rank_rule rule{.granularity = *rc::gen::element(index{1}, index{8}),
                             .scales = *rc::gen::element(2, 3),
                             .up_to_full = *rc::gen::arbitrary<bool>()};
        const auto ranks = distribute_ranks(shapes, profile, bits_per_weight{target}, rule);
        RC_ASSERT(reached(shapes, ranks, rule).value <= target * (1 + 1e-12));
        for (std::size_t l = 0; l < layers; ++l) {
            const index limit = highest_rank(shapes[l], rule);
            auto more = ranks;
            more[l] = std::min(limit, ranks[l] + rule.granularity);
            RC_ASSERT(ranks[l] >= 1 && ranks[l] <= limit);
            if (more[l] != ranks[l]) RC_ASSERT(reached(shapes, more, rule).value > target);
        }
    }));
}

TEST_CASE("bad profiles are refused") {
    const std::vector<double> two = {1, 1}, zero = {1, 1, 1, 0, 1, 1, 1};
    CHECK_THROWS_AS(distribute_ranks(smollm2_block, two, bits_per_weight{1.0}), shape_error);
    CHECK_THROWS_AS(distribute_ranks(smollm2_block, zero, bits_per_weight{1.0}), value_error);
    CHECK_THROWS_AS(distribute_ranks(smollm2_block, {}, bits_per_weight{0.01}), value_error);
}

}  // namespace subbit::testing
