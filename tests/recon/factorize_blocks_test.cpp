// Blocks that are factorized together: who does what, and that every rank ends with the same layers.
#include <subbit/backend/cpu.hpp>
#include <subbit/recon/factorize_blocks.hpp>
#include <subbit/recon/lb_compressor.hpp>

#include "../factor/random_matrices.hpp"
#include "../support/thread_ranks.hpp"

#include <doctest/doctest.h>
#include <array>
#include <atomic>
#include <vector>

namespace subbit::testing {

namespace {

/// The layers of a block; their shapes are such that two ranks share one block out unevenly.
const std::vector<layer_shape> shapes_of_block{{24, 20}, {18, 31}, {24, 20}};
constexpr index count_of_blocks = 3;

using counts = std::array<std::array<std::atomic<int>, 3>, count_of_blocks>;

/// What one rank has after all blocks were factorized and shared; `taken` counts how often each weight was asked for.
std::vector<factorized_block<double>> factorized_by(const communicator& ranks, counts& taken) {
    const cpu b({.threads = 1});
    std::vector<lb_compressor<double>> compressors;
    for (std::uint64_t k = 0; k < count_of_blocks; ++k)
        compressors.push_back(lb_compressor<double>({8, 6, 7}, {}, {.iterations = 4, .seed = 10 * k}));
    std::vector<block_to_factorize<cpu, double>> blocks;
    for (std::size_t k = 0; k < count_of_blocks; ++k)
        blocks.push_back({compressors[k], shapes_of_block, [&taken, k](const cpu&, index l) {
                              const auto at = static_cast<std::size_t>(l);
                              ++taken[k][at];
                              return weight_like(10 * k + at, shapes_of_block[at].rows, shapes_of_block[at].cols);
                          }});
    auto results = factorize_blocks<cpu, double>(b, blocks, {.layer_order = {2, 0, 1}, .ranks = ranks});
    for (auto& result : results)
        result.share(ranks);
    return results;
}

}  // namespace

TEST_CASE("ranks factorize as many blocks together as share out evenly, at most one each") {
    const std::vector<layer_shape> pair{{9, 9}, {9, 9}}, single{{9, 9}};
    for (const int ranks : {1, 2, 3, 4, 8}) {
        CHECK(blocks_at_once(single, ranks) == ranks);
        CHECK(blocks_at_once(pair, ranks) == (ranks % 2 == 0 ? ranks / 2 : ranks));
    }
    // A block of Llama-2-7B.
    const std::vector<layer_shape> block{{4096, 4096},  {4096, 4096},  {4096, 4096}, {4096, 4096},
                                         {11008, 4096}, {11008, 4096}, {4096, 11008}};
    for (const int ranks : {1, 2, 3, 4, 8}) {
        CAPTURE(ranks);
        const index together = blocks_at_once(block, ranks);
        const auto even = [&](index blocks) {
            std::vector<layer_shape> all;
            for (index k = 0; k < blocks; ++k)
                all.insert(all.end(), block.begin(), block.end());
            return unevenness(factorization_costs(all), ranks) <= 1.05;
        };
        CHECK((together == ranks || even(together)));
        CHECK((together == 1 || !even(together - 1)));
    }
    CHECK(blocks_at_once(shapes_of_block, 2) == 2);
}

TEST_CASE("every rank ends with the layers that one rank alone makes, and each weight is read once") {
    counts taken_alone{};
    const auto alone = factorized_by(this_process_alone(), taken_alone);
    for (const int ranks : {1, 2, 3, 5}) {
        CAPTURE(ranks);
        counts taken{};
        const auto all = on_ranks(ranks, [&](const communicator& me) { return factorized_by(me, taken); });
        for (std::size_t k = 0; k < count_of_blocks; ++k)
            for (std::size_t l = 0; l < 3; ++l) {
                CHECK(taken[k][l] == 1);
                const auto& expected = alone[k].layers[l];
                for (const auto& rank : all) {
                    CHECK((rank[k].owners[l] >= 0 && rank[k].owners[l] < ranks));
                    CHECK(rank[k].layers[l].error == expected.error);
                    CHECK(rank[k].layers[l].layer.binary().U_latent == expected.layer.binary().U_latent);
                    CHECK(rank[k].layers[l].layer.binary().layer.s_pre == expected.layer.binary().layer.s_pre);
                    CHECK(rank[k].seconds[l] > 0);
                }
            }
    }
}

}  // namespace subbit::testing
