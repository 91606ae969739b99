#include <subbit/distribute/shares.hpp>

#include <doctest/doctest.h>

#include <algorithm>

namespace subbit::testing {
namespace {

TEST_CASE("even shares are contiguous, complete, and differ by one unit at most") {
    for (const index units : {0, 1, 2, 7, 64})
        for (const int ranks : {1, 2, 3, 4, 9}) {
            index next = 0;
            for (int r = 0; r < ranks; ++r) {
                const unit_range share = even_share(units, ranks, r);
                CHECK(share.first == next);
                CHECK(share.count() >= units / ranks);
                CHECK(share.count() <= (units + ranks - 1) / ranks);
                next = share.last;
            }
            CHECK(next == units);
        }
}

TEST_CASE("jobs are shared out by their cost") {
    const std::vector<double> costs = {4, 4, 4, 1, 1, 1, 1, 8};
    for (const int ranks : {1, 2, 3, 4}) {
        const auto owners = owners_by_cost(costs, ranks);
        std::vector<double> load(static_cast<std::size_t>(ranks));
        for (std::size_t job = 0; job < costs.size(); ++job)
            load[static_cast<std::size_t>(owners[job])] += costs[job];
        // The bound of Graham (1969) for this rule.
        CHECK(*std::max_element(load.begin(), load.end()) <= std::max(8.0, 24.0 / ranks) * (4.0 / 3));
    }
    CHECK(owners_by_cost(costs, 2) == owners_by_cost(costs, 2));
}

TEST_CASE("unevenness is the busiest rank's part over the mean") {
    CHECK(unevenness(std::vector<double>{4, 4, 4}, 1) == 1);
    CHECK(unevenness(std::vector<double>{4, 4, 4}, 2) == doctest::Approx(8 / 6.0));
    CHECK(unevenness(std::vector<double>{4, 4, 4, 12}, 2) == 1);
    CHECK(unevenness(std::vector<double>{1}, 4) == 4);
    CHECK(unevenness(std::vector<double>{}, 4) == 1);
}

TEST_CASE("the terms of a sum go to ranks in order, all of them, and no rank has many more than its part") {
    for (index terms = 0; terms <= 20; ++terms)
        for (int ranks = 1; ranks <= 9; ++ranks) {
            CAPTURE(terms);
            CAPTURE(ranks);
            index next = 0, most = 0;
            for (int r = 0; r < ranks; ++r) {
                const unit_range mine = terms_of(terms, ranks, r);
                most = std::max(most, mine.count());
                if (mine.count() == 0) continue;
                CHECK(mine.first == next);
                next = mine.last;
            }
            CHECK(next == terms);
            CHECK(most <= 2 * ((terms + ranks - 1) / ranks));
            // A power of two is shared out evenly among a power of two of ranks.
            if (terms == 8 && (ranks == 2 || ranks == 4 || ranks == 8)) CHECK(most == 8 / ranks);
        }
}

}  // namespace
}  // namespace subbit::testing
