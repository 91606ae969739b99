// Stochastic context-free grammars: text of known probability, and hence of known entropy.
#pragma once

#include <subbit/core/random.hpp>

#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <vector>

namespace train_demo {

/// A grammar whose productions are texts with the names of other symbols in angle brackets: "The <noun> <verb>."
class grammar {
  public:
    /// Adds a production of `symbol`; its probability is its weight over the sum of the symbol's weights.
    /// value_error for a weight that is not positive or a bracket that is not closed.
    void add(const std::string& symbol, double weight, std::string_view production);

    struct sample {
        std::string text;
        double log_probability = 0;  // of the derivation, in nats
    };

    /// Derives a text from `symbol` with random numbers from position `at` on; `at` moves past those that were used.
    sample generate(const std::string& symbol, const subbit::random_stream& stream, std::uint64_t& at) const;

    /// The logarithm of the probability that `symbol` becomes `text`, over all derivations; -infinity if it cannot.
    ///
    /// Inside probabilities by memoized descent; a symbol must not start with itself (no left recursion).
    double log_probability(const std::string& symbol, std::string_view text) const;

    /// Entropy in nats of the texts of `symbol`, if every text has one derivation: the expected sum of -log p over the
    /// choices. value_error if the expectation is infinite.
    double entropy(const std::string& symbol) const;
    /// Expected length in bytes.
    double expected_bytes(const std::string& symbol) const;

  private:
    struct part {
        std::string text;  // before the symbol
        int symbol = -1;   // or -1 at the end of a production
    };
    struct production {
        double weight = 0;
        std::vector<part> parts;
    };
    struct symbol_rules {
        std::string name;
        double weight = 0;
        std::vector<production> productions;
    };

    int find_or_add(const std::string& name);
    int find(const std::string& name) const;
    const symbol_rules& rules(int symbol) const;
    void derive(int symbol, const subbit::random_stream& stream, std::uint64_t& at, sample& result) const;
    /// The least solution of x(symbol) = sum over productions of p (cost + sum of x over their symbols).
    template <class Cost>
    double expectation(const std::string& symbol, Cost&& cost) const;

    class parser;

    std::map<std::string, int> names_;
    std::vector<symbol_rules> symbols_;
};

/// Short stories in simple English: number agreement across nested relative clauses, verbs that fit their subjects,
/// matching quotation marks, counting and sums in words, and owners who are named in the first sentence and stay the
/// same.
///
/// The symbol "story" is one story with a line break at its end; every story has exactly one derivation.
grammar story_grammar();

/// Whole stories of at least `bytes` bytes in all; the log-probability is the sum of theirs.
grammar::sample stories(const grammar& g, std::uint64_t seed, std::uint64_t stream, std::size_t bytes);

}  // namespace train_demo
