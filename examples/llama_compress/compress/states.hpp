// The hidden states of all windows between two blocks.
#pragma once

#include "model/evaluation.hpp"

#include <subbit/io/scratch_memory.hpp>

#include <cstddef>
#include <filesystem>
#include <functional>
#include <span>

namespace llama {

/// Where states go that are too large for memory.
struct state_limits {
    std::filesystem::path folder;
    std::size_t bytes = 0;  ///< the largest set of states that stays in memory
};

/// Hidden states (windows * length, d): in the backend's memory or, beyond a limit and where that is the host's, in a
/// scratch file, of which only the rows in use are in memory.
template <class B, class S = float>
class hidden_states {
  public:
    hidden_states() = default;
    hidden_states(const B& b, index rows, index cols, const state_limits& limits) {
        const auto bytes = static_cast<std::size_t>(rows * cols) * sizeof(S);
        if constexpr (subbit::host_backend<B>) {
            if (bytes > limits.bytes) {
                file_ = subbit::scratch_memory(limits.folder, bytes);
                view_ = {reinterpret_cast<S*>(file_.bytes().data()), rows, cols};
                return;
            }
        }
        subbit::reshape(b, memory_, rows, cols);
        view_ = view(memory_);
    }
    hidden_states(hidden_states&&) = default;
    hidden_states& operator=(hidden_states&&) = default;

    matrix_view<S> rows() { return view_; }
    matrix_view<const S> rows() const { return view_; }

    /// Says that some rows are not needed for a while.
    void release(index first, index count) const {
        const auto row = static_cast<std::size_t>(view_.cols) * sizeof(S);
        file_.release(static_cast<std::size_t>(first) * row, static_cast<std::size_t>(count) * row);
    }
    std::function<void(index, index)> releaser() const {
        if (file_.bytes().empty()) return {};
        return [this](index first, index count) { release(first, count); };
    }

  private:
    matrix_in<S, memory_of<B>> memory_;
    subbit::scratch_memory file_;
    matrix_view<S> view_;
};

/// The hidden states before the first block, all windows stacked.
template <class B, class S>
hidden_states<B, S> embedded_states(const B& b, const outer_layers<S, memory_of<B>>& outer,
                                    std::span<const std::vector<std::int32_t>> windows, const state_limits& limits) {
    const index length = std::ssize(windows[0]);
    hidden_states<B, S> states(b, std::ssize(windows) * length, view(outer.embedding).cols, limits);
    embed_windows<B, S>(b, outer, windows, states.rows(), states.releaser());
    return states;
}

/// run_block() on all states.
template <class B, class Block>
void pass_on(const B& b, const Block& blk, index window, hidden_states<B, typename Block::scalar>& states,
             typename Block::tape& tape, const subbit::communicator& ranks) {
    run_block(b, blk, window, states.rows(), tape, ranks, states.releaser());
}

}  // namespace llama
