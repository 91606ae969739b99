#include <grammar.hpp>

#include <doctest/doctest.h>

#include <cmath>
#include <subbit/core/error.hpp>

using train_demo::grammar;

namespace {

/// a^n b^n with n >= 1 geometric, p(n) = (1 - q) q^(n - 1).
grammar nested(double q) {
    grammar g;
    g.add("s", 1 - q, "ab");
    g.add("s", q, "a<s>b");
    return g;
}

}  // namespace

TEST_CASE("a geometric nesting has the entropy and the length of a geometric distribution") {
    const double q = 0.3;
    const auto g = nested(q);
    const double entropy = (-q * std::log(q) - (1 - q) * std::log(1 - q)) / (1 - q);
    CHECK(g.entropy("s") == doctest::Approx(entropy).epsilon(1e-11));
    CHECK(g.expected_bytes("s") == doctest::Approx(2 / (1 - q)).epsilon(1e-11));
    CHECK(g.log_probability("s", "aaabbb") == doctest::Approx(std::log((1 - q) * q * q)));
    CHECK(std::isinf(g.log_probability("s", "aabbb")));
    CHECK(std::isinf(g.log_probability("s", "aab")));
}

TEST_CASE("probabilities of all texts of a finite grammar sum to one, ambiguous or not") {
    grammar g;
    g.add("word", 3, "x");
    g.add("word", 1, "xx");
    g.add("pair", 1, "<word><word>");
    double sum = 0;
    for (const char* text : {"xx", "xxx", "xxxx"})
        sum += std::exp(g.log_probability("pair", text));
    CHECK(sum == doctest::Approx(1).epsilon(1e-12));
    CHECK(std::exp(g.log_probability("pair", "xxx")) == doctest::Approx(2 * 0.75 * 0.25));
}

TEST_CASE("what is not a grammar is refused") {
    grammar g;
    CHECK_THROWS_AS(g.add("s", 0, "a"), subbit::value_error);
    CHECK_THROWS_AS(g.add("s", 1, "a <b"), subbit::value_error);
    g.add("s", 1, "a <nothing>");
    CHECK_THROWS_AS(g.entropy("s"), subbit::value_error);
    CHECK_THROWS_AS(g.entropy("t"), subbit::value_error);
    CHECK_THROWS_AS(nested(0.3).log_probability("t", ""), subbit::value_error);
    grammar endless;  // on average every symbol becomes more than one
    endless.add("s", 0.4, "a");
    endless.add("s", 0.6, "<s><s>");
    CHECK_THROWS_AS(endless.entropy("s"), subbit::value_error);
}

TEST_CASE("a story's probability is that of its one derivation") {
    const auto g = train_demo::story_grammar();
    const subbit::random_stream numbers(7);
    for (std::uint64_t at = 0, count = 0; count < 100; ++count) {
        const auto story = g.generate("story", numbers, at);
        // A second derivation of the same text would make the sum over all derivations larger.
        CHECK(g.log_probability("story", story.text) == doctest::Approx(story.log_probability).epsilon(1e-10));
        CHECK(story.text.ends_with(".\n") != story.text.ends_with("\"\n"));
    }
}

TEST_CASE("the mean surprise and length of many stories approach the exact entropy and length") {
    const auto g = train_demo::story_grammar();
    const subbit::random_stream numbers(8);
    double nats = 0, bytes = 0, squared = 0;
    constexpr int count = 20000;
    std::uint64_t at = 0;
    for (int i = 0; i < count; ++i) {
        const auto story = g.generate("story", numbers, at);
        nats -= story.log_probability;
        squared += story.log_probability * story.log_probability;
        bytes += static_cast<double>(story.text.size());
    }
    const double mean = nats / count, deviation = std::sqrt((squared / count - mean * mean) / count);
    CHECK(std::abs(mean - g.entropy("story")) < 4 * deviation);
    CHECK(bytes / count == doctest::Approx(g.expected_bytes("story")).epsilon(0.03));
}

TEST_CASE("texts depend on seed and stream alone") {
    const auto g = train_demo::story_grammar();
    const auto one = train_demo::stories(g, 1, 2, 3000), again = train_demo::stories(g, 1, 2, 3000);
    CHECK(one.text == again.text);
    CHECK(one.text.size() >= 3000);
    CHECK(one.text != train_demo::stories(g, 1, 3, 3000).text);
    CHECK(one.text != train_demo::stories(g, 2, 2, 3000).text);
}
