// Passes through a whole model with one block in memory at a time.
#pragma once

#include "model/model_directory.hpp"

#include <subbit/core/progress.hpp>
#include <subbit/distribute/exchange.hpp>
#include <subbit/train/losses.hpp>

#include <cmath>
#include <filesystem>
#include <functional>
#include <nlohmann/json.hpp>
#include <numeric>
#include <set>
#include <span>
#include <string>
#include <vector>

namespace llama {

using window_list = std::vector<std::vector<std::int32_t>>;

/// How a text is turned into tokens and windows.
struct text_reading {
    bool bos = true;  ///< each window begins with the tokens that begin a text (BOS), if the tokenizer has any
    special_tokens specials = special_tokens::recognized;

    /// The tokens that begin each window.
    std::vector<std::int32_t> first_tokens(const tokenizer& words) const {
        return bos ? words.around_text().before : std::vector<std::int32_t>();
    }
    /// For reports: the token that begins each window, a list of several, or null.
    nlohmann::json bos_of(const tokenizer& words) const {
        const auto tokens = first_tokens(words);
        if (tokens.empty()) return nullptr;
        return tokens.size() == 1 ? nlohmann::json(tokens[0]) : nlohmann::json(tokens);
    }
};

/// Consecutive windows of `length` tokens that do not overlap; the rest is dropped. At most `limit` of them (0: all).
/// Each window begins with the tokens `first`, and ends as many tokens earlier: windows begin at the same places of the
/// text with and without them. value_error unless there is room for two more tokens.
inline window_list split_windows(std::span<const std::int32_t> tokens, index length, index limit = 0,
                                 std::span<const std::int32_t> first = {}) {
    if (!first.empty() && std::ssize(first) + 2 > length)
        throw subbit::value_error("windows of " + std::to_string(length) + " tokens are too short: the first " +
                                  std::to_string(first.size()) + " begin the text");
    window_list windows;
    for (index at = 0; at + length <= std::ssize(tokens); at += length) {
        if (limit > 0 && std::ssize(windows) == limit) break;
        auto& window = windows.emplace_back(first.begin(), first.end());
        window.insert(window.end(), tokens.begin() + at, tokens.begin() + at + length - std::ssize(first));
    }
    return windows;
}

/// The windows of a text file; value_error naming it if it is shorter than one window. `left_out` collects characters
/// that the vocabulary does not cover.
inline window_list read_windows(const tokenizer& words, const std::filesystem::path& text, index length,
                                index limit = 0, const text_reading& reading = {},
                                std::set<std::string>* left_out = nullptr) {
    const auto tokens = words.encode_file(text, reading.specials, left_out);
    auto windows = split_windows(tokens, length, limit, reading.first_tokens(words));
    if (windows.empty())
        throw subbit::value_error(text.string() + ": " + std::to_string(tokens.size()) +
                                  " tokens, expected at least one window of " + std::to_string(length));
    return windows;
}

/// X (windows * length, d) = the hidden states before the first block, all windows stacked. `done` is called with the
/// first row and the number of rows of each window that is finished.
template <class B, class S>
void embed_windows(const B& b, const outer_layers<S, memory_of<B>>& outer,
                   std::span<const std::vector<std::int32_t>> windows, matrix_view<S> X,
                   const std::function<void(index, index)>& done = {}) {
    const index length = std::ssize(windows[0]);
    for (index w = 0; w < std::ssize(windows); ++w) {
        outer.embed(b, windows[static_cast<std::size_t>(w)], X.middle_rows(w * length, length));
        if (done) done(w * length, length);
    }
}
template <class B, class S>
matrix_in<S, memory_of<B>> embed_windows(const B& b, const outer_layers<S, memory_of<B>>& outer,
                                         std::span<const std::vector<std::int32_t>> windows) {
    const index length = std::ssize(windows[0]);
    matrix_in<S, memory_of<B>> X;
    subbit::reshape(b, X, std::ssize(windows) * length, view(outer.embedding).cols);
    embed_windows<B, S>(b, outer, windows, view(X));
    return X;
}

/// The windows of so many tokens that pass through a block at once. A share of the work is a number of such groups, so
/// that its results do not depend on who does it.
template <class B>
index windows_at_once(index length) {
    return std::max<index>(1, subbit::rows_at_once<B> / length);
}

/// The windows of a rank, of `count` windows of so many tokens.
template <class B>
subbit::unit_range windows_of_rank(const subbit::communicator& ranks, index count, index length) {
    const index group = windows_at_once<B>(length);
    const auto groups = subbit::even_share((count + group - 1) / group, ranks.size(), ranks.rank());
    return {groups.first * group, std::min(groups.last * group, count)};
}

/// The hidden states of the tokens after a block, for all windows: X is replaced, a few windows at a time, which the
/// ranks share out. `done` is called with the first row and the number of rows that are not needed any more.
template <class B, class Block>
void run_block(const B& b, const Block& blk, index window, matrix_view<typename Block::scalar> all,
               typename Block::tape& tape, const subbit::communicator& ranks = subbit::this_process_alone(),
               const std::function<void(index, index)>& done = {}) {
    const index step = windows_at_once<B>(window) * window;
    matrix_in<typename Block::scalar, memory_of<B>> Y;
    subbit::reshape(b, Y, std::min(step, all.rows), all.cols);
    const auto mine = subbit::even_share((all.rows + step - 1) / step, ranks.size(), ranks.rank());
    for (index k = mine.first; k < mine.last; ++k) {
        const auto x = all.middle_rows(k * step, std::min(step, all.rows - k * step));
        const auto y = view(Y).middle_rows(0, x.rows);
        blk.infer(b, x, window, y, tape);
        subbit::axpby(b, 1, y, 0, x);
        if (done) done(k * step, x.rows);
    }
    subbit::share_rows(b, ranks, all, step);
    if (done) done(0, all.rows);
}
template <class B, class Block>
void run_block(const B& b, const Block& blk, index window, matrix_in<typename Block::scalar, memory_of<B>>& X,
               typename Block::tape& tape) {
    run_block(b, blk, window, view(X), tape);
}

/// Labels of one window: the next token, and -1 (not scored) for the last.
inline std::vector<std::int32_t> next_tokens(std::span<const std::int32_t> window) {
    std::vector<std::int32_t> labels(window.begin() + (window.empty() ? 0 : 1), window.end());
    labels.push_back(-1);
    return labels;
}

/// A sentence that lists characters which a vocabulary does not cover, or an empty text if there are none. `where` they
/// were is its beginning.
inline std::string left_out_remark(const std::string& where, const std::set<std::string>& characters) {
    if (characters.empty()) return {};
    constexpr std::size_t most = 5;
    std::string list;
    std::size_t shown = 0;
    for (const auto& character : characters)
        if (shown < most) list += (shown++ == 0 ? "" : ", ") + subbit::in_quotes(character);
    if (characters.size() > most) list += " and " + std::to_string(characters.size() - most) + " others";
    return where + " has characters that the vocabulary does not cover, which are left out: " + list;
}

/// A sentence if `tokens` are more than the positions of the model, else an empty text. `what` has so many.
inline std::string positions_remark(const model_config& config, const std::string& what, index tokens) {
    if (tokens <= config.max_position_embeddings) return {};
    return what + " of " + std::to_string(tokens) + " tokens go beyond the model's " +
           std::to_string(config.max_position_embeddings) + " positions (max_position_embeddings)";
}

struct perplexity_result {
    double perplexity = 0;
    double mean_loss = 0;  // nats per scored token
    index tokens = 0;      // scored
    index windows = 0;
};

/// exp of the mean negative log-likelihood; windows do not overlap and the first token of each is not scored. The ranks
/// share the windows out. value_error naming the window if logits are not finite.
template <class S, class B>
perplexity_result perplexity(const B& b, const model_directory& model,
                             std::span<const std::vector<std::int32_t>> windows, subbit::progress& watcher,
                             const model_rounding& rounding = {},
                             const subbit::communicator& ranks = subbit::this_process_alone()) {
    if (windows.empty()) throw subbit::value_error("perplexity: the text is shorter than one window");
    const index length = std::ssize(windows[0]);
    using memory = memory_of<B>;
    block_context<S, memory> context(b, model.config(), length, rounding.packed);
    const auto outer = upload(b, model.load_outer_layers<S>(rounding.head));
    const auto mine = windows_of_rank<B>(ranks, std::ssize(windows), length);
    // Windows whose hidden states are held at once.
    const index group = windows_at_once<B>(length);
    const index chunk = std::max<index>(1, 16384 / (length * group)) * group;
    const index chunks = (mine.count() + chunk - 1) / chunk, blocks = model.config().num_hidden_layers;
    std::vector<double> losses(windows.size());
    std::size_t done = 0;
    auto normed = subbit::allocate<S>(b, length, model.config().hidden_size);
    vector_in<S, memory> inverse_rms;
    block_tape<S, memory> tape;
    for (index first = mine.first; first < mine.last; first += chunk) {
        const index count = std::min(chunk, mine.last - first);
        auto X = embed_windows<B, S>(b, outer,
                                     windows.subspan(static_cast<std::size_t>(first), static_cast<std::size_t>(count)));
        for (index l = 0; l < blocks; ++l) {
            run_block(b, model.load_block<B, S>(b, l, context), length, X, tape);
            subbit::report_step(watcher, "perplexity", ++done, static_cast<std::size_t>(chunks * (blocks + 1)), -1);
        }
        for (index w = 0; w < count; ++w) {
            const auto labels = next_tokens(windows[static_cast<std::size_t>(first + w)]);
            rms_norm(b, subbit::const_view(X).middle_rows(w * length, length), subbit::const_span(outer.final_norm),
                     model.config().norm, view(normed), inverse_rms);
            losses[static_cast<std::size_t>(first + w)] =
                subbit::cross_entropy(b, subbit::const_view(normed), subbit::const_view(outer.head()),
                                      std::span<const std::int32_t>(labels), 0.0, matrix_view<S>());
            if (!std::isfinite(losses[static_cast<std::size_t>(first + w)]))
                throw subbit::value_error("perplexity: the logits of window " + std::to_string(first + w) +
                                          " are not finite");
        }
        subbit::report_step(watcher, "perplexity", ++done, static_cast<std::size_t>(chunks * (blocks + 1)), -1);
    }
    subbit::sum_all(ranks, losses);  // each is zero on all ranks but one
    perplexity_result result;
    result.windows = std::ssize(windows);
    result.tokens = result.windows * (length - 1);
    result.mean_loss = std::accumulate(losses.begin(), losses.end(), 0.0) / static_cast<double>(result.tokens);
    result.perplexity = std::exp(result.mean_loss);
    if (!std::isfinite(result.perplexity))
        throw subbit::value_error("perplexity: the mean loss of " + std::to_string(result.mean_loss) +
                                  " nats a token is too large for a number");
    return result;
}

// In evaluation.cpp.
extern template perplexity_result perplexity<float>(const subbit::cpu&, const model_directory&,
                                                    std::span<const std::vector<std::int32_t>>, subbit::progress&,
                                                    const model_rounding&, const subbit::communicator&);

}  // namespace llama
