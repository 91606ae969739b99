#include "support/strided.hpp"
#include "support/throws.hpp"

#include <doctest/doctest.h>
#include <rapidcheck.h>
#include <subbit/bits/bit_matrix.hpp>

#include <cmath>
#include <cstdint>
#include <limits>
#include <vector>

namespace subbit::testing {
namespace {

TEST_CASE("the layout is tiles of 16 rows and 32 columns, one word a row") {
    bit_matrix m(33, 65);
    CHECK(m.word_count() == 3 * 3 * 16);
    CHECK(reinterpret_cast<std::uintptr_t>(m.words().data()) % 64 == 0);
    m.set(17, 40, true);
    const std::size_t word = (1 * 3 + 1) * 16 + 1;  // row group 1, column group 1, row 1 of the tile
    CHECK(m.words()[word] == 1u << 8);
    CHECK(m.get(17, 40) == 1);
    CHECK(m.get(17, 41) == -1);
    m.set(17, 40, false);
    CHECK(m == bit_matrix(33, 65));
}

TEST_CASE("pack takes zero as plus, minus zero as plus, NaN as minus") {
    matrix<float> W(1, 6);
    W << 0.0F, -0.0F, std::nanf(""), -1e-30F, std::numeric_limits<float>::infinity(), -1.0F;
    const index expected[] = {1, 1, -1, -1, 1, -1};
    for (index repeat : {1, 7}) {  // 7: six entries at a time in the 32-wide path as well
        matrix<float> wide = W.replicate(1, repeat);
        const bit_matrix bits = bit_matrix::pack(wide);
        for (index j = 0; j < wide.cols(); ++j)
            CHECK(bits.get(0, j) == expected[j % 6]);
    }
}

TEST_CASE_TEMPLATE("pack agrees with sign for every layout, and leaves the padding clear", S, float, double) {
    for (const index rows : {1, 3, 16, 17, 65})
        for (const index cols : {1, 31, 32, 33, 64, 257})
            for (const storage how : all_storages) {
                const stored_matrix<S> W(rows, cols, how, 7);
                const bit_matrix bits = bit_matrix::pack(W.view());
                bool same = true;
                for (index i = 0; i < rows; ++i)
                    for (index j = 0; j < cols; ++j)
                        same = same && bits.get(i, j) == static_cast<int>(sign(W.view()(i, j)));
                CHECK(same);
                CHECK_NOTHROW(bit_matrix::from_words(rows, cols, bits.words()));
            }
}

TEST_CASE("unpack writes plus and minus one to a view of any strides") {
    const auto bits = bit_matrix::pack(random_matrix<double>(37, 70, 3));
    for (const storage how : all_storages) {
        stored_matrix<double> out(37, 70, how, 1);
        unpack_into(bits.view(), out.view());
        CHECK(as_eigen(out.view()) == bits.unpack<double>());
    }
    matrix<float> wrong(37, 71);
    check_throws<shape_error>([&] { unpack_into(bits.view(), view(wrong)); }, {"37x71", "37x70"});
}

TEST_CASE("words from outside are checked") {
    const auto bits = bit_matrix::pack(random_matrix<float>(18, 40, 5));
    std::vector<std::uint32_t> words(bits.words().begin(), bits.words().end());
    CHECK(bit_matrix::from_words(18, 40, words) == bits);
    SUBCASE("too few") {
        words.pop_back();
        check_throws<shape_error>([&] { bit_matrix::from_words(18, 40, words); }, {"63", "64"});
    }
    SUBCASE("a column of the padding") {
        words[16 + 2] |= 1u << 8;
        check_throws<format_error>([&] { bit_matrix::from_words(18, 40, words); }, {"18x40", "row 2"});
    }
    SUBCASE("a row of the padding") {
        words[32 + 2] |= 1u;
        check_throws<format_error>([&] { bit_matrix::from_words(18, 40, words); }, {"18x40", "row 18"});
    }
    SUBCASE("a negative size") {
        check_throws<shape_error>([] { bit_matrix(-1, 4); }, {"-1x4"});
    }
}

TEST_CASE("a view of words from elsewhere") {
    const bit_matrix bits = bit_matrix::pack(random_matrix<float>(18, 40, 1));
    std::vector<std::uint32_t> words(bits.words().begin(), bits.words().end());
    CHECK(bit_view::over(words, 18, 40).unpack<float>() == bits.unpack<float>());
    check_throws<shape_error>([&] { bit_view::over(words, 18, 65); }, {"64", "96"});
    check_throws<shape_error>([&] { bit_view::over(words, 18, -1); }, {"18x-1"});
}

TEST_CASE("packing and transposing properties") {
    const auto arbitrary = [] {
        const auto rows = *rc::gen::inRange<index>(0, 70), cols = *rc::gen::inRange<index>(0, 100);
        return random_matrix<float>(rows, cols, *rc::gen::arbitrary<std::uint64_t>());
    };
    CHECK(rc::check("unpack after pack is sign", [&] {
        const auto W = arbitrary();
        const matrix<float> signs = W.unaryExpr([](float x) { return sign(x); });
        RC_ASSERT(bit_matrix::pack(W).unpack<float>() == signs);
    }));
    CHECK(rc::check("pack after unpack changes nothing", [&] {
        const auto bits = bit_matrix::pack(arbitrary());
        RC_ASSERT(bit_matrix::pack(bits.unpack<float>()) == bits);
    }));
    CHECK(rc::check("transpose packs the transpose, and is its own inverse", [&] {
        const auto W = arbitrary();
        const auto bits = bit_matrix::pack(W);
        RC_ASSERT(bits.transpose() == bit_matrix::pack(view(W).t()));
        RC_ASSERT(bits.transpose().transpose() == bits);
        RC_ASSERT(bits.t().rows() == bits.cols() && bits.t().t().words() == bits.words().data());
    }));
}

}  // namespace
}  // namespace subbit::testing
