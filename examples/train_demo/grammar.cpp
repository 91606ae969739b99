#include "grammar.hpp"

#include <subbit/core/error.hpp>

#include <algorithm>
#include <cmath>
#include <limits>
#include <utility>

namespace train_demo {

void grammar::add(const std::string& symbol, double weight, std::string_view text) {
    if (!(weight > 0)) throw subbit::value_error("grammar: \"" + symbol + "\" has a weight that is not positive");
    production p;
    p.weight = weight;
    for (;;) {
        const auto open = text.find('<');
        part next{std::string(text.substr(0, open)), -1};
        if (open == std::string_view::npos) {
            p.parts.push_back(std::move(next));
            break;
        }
        const auto close = text.find('>', open);
        if (close == std::string_view::npos)
            throw subbit::value_error("grammar: \"" + symbol + "\" has a bracket that is not closed");
        next.symbol = find_or_add(std::string(text.substr(open + 1, close - open - 1)));
        p.parts.push_back(std::move(next));
        text.remove_prefix(close + 1);
    }
    auto& owner = symbols_[static_cast<std::size_t>(find_or_add(symbol))];
    owner.weight += weight;
    owner.productions.push_back(std::move(p));
}

int grammar::find_or_add(const std::string& name) {
    const auto [found, added] = names_.emplace(name, static_cast<int>(symbols_.size()));
    if (added) symbols_.push_back({name, 0, {}});
    return found->second;
}

int grammar::find(const std::string& name) const {
    const auto found = names_.find(name);
    if (found == names_.end()) throw subbit::value_error("grammar: there is no \"" + name + "\"");
    return found->second;
}

const grammar::symbol_rules& grammar::rules(int symbol) const {
    const auto& s = symbols_[static_cast<std::size_t>(symbol)];
    if (s.productions.empty()) throw subbit::value_error("grammar: \"" + s.name + "\" has no productions");
    return s;
}

grammar::sample grammar::generate(const std::string& symbol, const subbit::random_stream& stream,
                                  std::uint64_t& at) const {
    sample result;
    derive(find(symbol), stream, at, result);
    return result;
}

void grammar::derive(int symbol, const subbit::random_stream& stream, std::uint64_t& at, sample& result) const {
    const auto& s = rules(symbol);
    std::size_t choice = 0;
    if (s.productions.size() > 1) {
        double rest = stream.uniform(at++) * s.weight;
        while (choice + 1 < s.productions.size() && rest >= s.productions[choice].weight)
            rest -= s.productions[choice++].weight;
        result.log_probability += std::log(s.productions[choice].weight / s.weight);
    }
    for (const part& p : s.productions[choice].parts) {
        result.text += p.text;
        if (p.symbol >= 0) derive(p.symbol, stream, at, result);
    }
}

template <class Cost>
double grammar::expectation(const std::string& symbol, Cost&& cost) const {
    std::vector<double> x(symbols_.size(), 0.0);
    constexpr int limit = 10000;
    double change = 1;
    for (int round = 0; round < limit && change > 1e-13; ++round) {
        change = 0;
        for (std::size_t s = 0; s < x.size(); ++s) {
            const auto& r = rules(static_cast<int>(s));
            double sum = 0;
            for (const production& p : r.productions) {
                double value = cost(p, p.weight / r.weight);
                for (const part& piece : p.parts)
                    if (piece.symbol >= 0) value += x[static_cast<std::size_t>(piece.symbol)];
                sum += p.weight / r.weight * value;
            }
            change = std::max(change, std::abs(sum - x[s]) / (1 + std::abs(sum)));
            x[s] = sum;
        }
    }
    const double result = x[static_cast<std::size_t>(find(symbol))];
    if (change > 1e-13 || !std::isfinite(result))
        throw subbit::value_error("grammar: what \"" + symbol + "\" becomes has no finite expectation");
    return result;
}

double grammar::entropy(const std::string& symbol) const {
    return expectation(symbol, [](const production&, double probability) { return -std::log(probability); });
}

double grammar::expected_bytes(const std::string& symbol) const {
    return expectation(symbol, [](const production& p, double) {
        std::size_t bytes = 0;
        for (const part& piece : p.parts)
            bytes += piece.text.size();
        return static_cast<double>(bytes);
    });
}

/// The parts of the text that a symbol at a given position can produce: (end, log-probability), each end once.
class grammar::parser {
  public:
    using ends = std::map<std::size_t, double>;

    parser(const grammar& g, std::string_view text) : grammar_(g), text_(text) {}

    const ends& from(int symbol, std::size_t begin) {
        const auto key = std::pair(symbol, begin);
        if (const auto known = memo_.find(key); known != memo_.end()) return known->second;
        ends result;
        const auto& s = grammar_.rules(symbol);
        for (const production& p : s.productions) {
            ends reached{{begin, std::log(p.weight / s.weight)}};
            for (const part& piece : p.parts)
                reached = through(piece, reached);
            for (const auto& [end, probability] : reached)
                add(result, end, probability);
        }
        return memo_.emplace(key, std::move(result)).first->second;
    }

  private:
    ends through(const part& piece, const ends& before) {
        ends result;
        for (const auto& [at, probability] : before) {
            if (!text_.substr(at).starts_with(piece.text)) continue;
            const std::size_t next = at + piece.text.size();
            if (piece.symbol < 0) {
                add(result, next, probability);
                continue;
            }
            for (const auto& [end, inner] : from(piece.symbol, next))
                add(result, end, probability + inner);
        }
        return result;
    }
    static void add(ends& list, std::size_t end, double probability) {
        const auto [found, added] = list.emplace(end, probability);
        if (added) return;
        const double high = std::max(found->second, probability), low = std::min(found->second, probability);
        found->second = high + std::log1p(std::exp(low - high));
    }

    const grammar& grammar_;
    std::string_view text_;
    std::map<std::pair<int, std::size_t>, ends> memo_;
};

double grammar::log_probability(const std::string& symbol, std::string_view text) const {
    parser p(*this, text);
    const auto& reached = p.from(find(symbol), 0);
    const auto whole = reached.find(text.size());
    return whole == reached.end() ? -std::numeric_limits<double>::infinity() : whole->second;
}

grammar::sample stories(const grammar& g, std::uint64_t seed, std::uint64_t stream, std::size_t bytes) {
    const subbit::random_stream numbers(seed, stream);
    grammar::sample all;
    for (std::uint64_t at = 0; all.text.size() < bytes;) {
        const auto story = g.generate("story", numbers, at);
        all.text += story.text;
        all.log_probability += story.log_probability;
    }
    return all;
}

}  // namespace train_demo
