#include <subbit/backend/reference.hpp>
#include <subbit/distribute/bytes.hpp>
#include <subbit/distribute/exchange.hpp>
#include <subbit/train/pairwise_sum.hpp>

#include "../support/thread_ranks.hpp"

#include <doctest/doctest.h>

#include <string>

namespace subbit::testing {
namespace {

/// A number whose sums depend on their order.
float term(index k, index j) {
    return std::ldexp(1.0F + 0.37F * static_cast<float>(k), static_cast<int>(5 * k % 11 - j % 7));
}

/// Two sums of so many gradients as the ranks make them together, where `owner` and the rank before it own them.
std::vector<float> sums_on(int ranks, index terms, index size, int owner) {
    const reference<float> b;
    const int other = (owner + ranks - 1) % ranks;
    const auto all = on_ranks(ranks, [&](const communicator& me) {
        vector<float> value(size), gradient(size), negative(size), received;
        const std::vector<parameter<float>> list = {{"x", parameter_kind::scale, span_of(value), span_of(gradient)},
                                                    {"-x", parameter_kind::scale, span_of(value), span_of(negative)}};
        pairwise_sum<float, host_memory> sum;
        const unit_range mine = terms_of(terms, me.size(), me.rank());
        for (index k = mine.first; k < mine.last; ++k) {
            for (index j = 0; j < size; ++j)
                negative(j) = -(gradient(j) = term(k, j));
            sum.add(b, list, k - mine.first, mine.count());
        }
        const std::vector<owned_numbers<float>> sums = {{span_of(gradient), owner}, {span_of(negative), other}};
        sum_to_owners(b, me, terms, std::span<const owned_numbers<float>>(sums), received);
        share_owned(b, me, std::span<const owned_numbers<float>>(sums));
        std::vector<float> both(gradient.begin(), gradient.end());
        both.insert(both.end(), negative.begin(), negative.end());
        return both;
    });
    for (const auto& numbers : all)
        CHECK(numbers == all.front());
    return all.front();
}

TEST_CASE(
    "sums have the same bits for any number of ranks and any owners, and end on all ranks where they are shared") {
    for (const index terms : {1, 2, 3, 4, 5, 7, 8, 13}) {
        CAPTURE(terms);
        const auto alone = sums_on(1, terms, 9, 0);
        for (int ranks = 2; ranks <= 5; ++ranks)
            for (int owner = 0; owner < ranks; ++owner) {
                CAPTURE(ranks);
                CAPTURE(owner);
                CHECK(sums_on(ranks, terms, 9, owner) == alone);
            }
        for (index j = 0; j < 9; ++j) {
            double exact = 0;
            for (index k = 0; k < terms; ++k)
                exact += static_cast<double>(term(k, j));
            CHECK(static_cast<double>(alone[static_cast<std::size_t>(j)]) == doctest::Approx(exact).epsilon(1e-6));
            CHECK(alone[static_cast<std::size_t>(9 + j)] == -alone[static_cast<std::size_t>(j)]);
        }
    }
}

TEST_CASE("every rank gets the rows that the others have made") {
    const reference<double> b;
    for (const int ranks : {1, 2, 3, 4})
        for (const index rows : {1, 6, 7}) {
            const auto all = on_ranks(ranks, [&](const communicator& me) {
                matrix<double> X = matrix<double>::Zero(rows, 3);
                const unit_range mine = even_share((rows + 1) / 2, me.size(), me.rank());
                for (index i = 2 * mine.first; i < std::min(rows, 2 * mine.last); ++i)
                    X.row(i).setConstant(static_cast<double>(i + 1));
                share_rows(b, me, view(X), 2);
                return X;
            });
            for (const auto& X : all)
                for (index i = 0; i < rows; ++i)
                    CHECK(X(i, 2) == static_cast<double>(i + 1));
        }
}

TEST_CASE("numbers of which one rank has each are merged, and texts of any length are broadcast") {
    const auto all = on_ranks(3, [](const communicator& me) {
        std::vector<double> numbers(3);
        numbers[static_cast<std::size_t>(me.rank())] = 0.1 * (me.rank() + 1);
        sum_all(me, numbers);
        std::string text = me.rank() == 2 ? "from the third" : "";
        broadcast_all(me, text, 2);
        me.barrier();
        return std::pair(numbers, text);
    });
    for (const auto& [numbers, text] : all) {
        CHECK(numbers == std::vector<double>{0.1, 0.1 * 2, 0.1 * 3});
        CHECK(text == "from the third");
    }
}

TEST_CASE("what is read from bytes is what was put, and too few bytes are a format_error") {
    byte_writer to;
    const matrix<float> m = matrix<float>::Random(3, 5);
    const vector<double> v = vector<double>::Random(4), none;
    const bit_matrix bits = bit_matrix::pack(matrix<float>(matrix<float>::Random(9, 33)));
    to.put(true), to.put(m), to.put(v), to.put(none), to.put(bits);
    byte_reader from(to.bytes());
    bool flag = false;
    matrix<float> m2;
    vector<double> v2, none2(3);
    bit_matrix bits2;
    from.get(flag), from.get(m2), from.get(v2), from.get(none2), from.get(bits2);
    CHECK(flag);
    CHECK(m2 == m);
    CHECK(v2 == v);
    CHECK(none2.size() == 0);
    CHECK(bits2 == bits);
    CHECK_THROWS_AS(from.get(flag), format_error);
}

}  // namespace
}  // namespace subbit::testing
