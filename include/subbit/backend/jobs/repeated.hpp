// Work that is done again and again: recorded where the backend can, so that a repetition is one launch.
#pragma once

#include <subbit/backend/concept.hpp>
#include <subbit/backend/jobs/recording_error.hpp>

#include <cstddef>
#include <optional>
#include <utility>

namespace subbit {

namespace detail {

/// What a backend's device makes of work that it records; nothing where it does not.
template <class B>
struct recording_of {};
template <class B>
requires requires(const B& b) {
    b.device().record([] {});
}
struct recording_of<B> {
    std::optional<decltype(std::declval<const B&>().device().record([] {}))> graph;
    std::optional<std::size_t> moves;  // of the backend's owners, when the work was last done without recording
    int failures = 0;                  // to record it
};

}  // namespace detail

/// One piece of work that repeats. A backend that records does it once as it stands, for buffers to grow and tables to
/// be made, then records it, and from then on replays that; any other calls it each time.
///
/// f must do the same each time: the same operations on the same memory, nothing that waits for the backend or changes
/// the host. What differs from one time to the next it reads from the backend's memory. Where owners have grown since,
/// it begins anew; where the memory that the work needs for itself has gone to others meanwhile, it is done as it
/// stands once more, which asks for that memory again.
///
///     repeated_work<B> step;
///     for (...) {
///         axpby(b, 1, windows.middle_rows(...), 0, X);
///         step(b, [&] { model.forward(b, X, Y); });
///     }
template <backend B>
class repeated_work {
  public:
    template <class F>
    void operator()(const B& b, F&& f) {
        if constexpr (requires { recording_.graph; }) {
            if (recording_.moves != b.moves()) {
                recording_.graph.reset();
                f();
                recording_.moves = b.moves();
            } else if (recording_.graph || record(b, f)) {
                recording_.graph->replay();
            } else {
                f();
            }
        } else {
            f();
        }
    }

  private:
    template <class F>
    bool record(const B& b, F& f) {
        constexpr int most_failures = 3;
        if (recording_.failures == most_failures) return false;
        try {
            recording_.graph.emplace(b.device().record(f));
        } catch (const recording_error&) {
            ++recording_.failures;
            return false;
        }
        return true;
    }

    detail::recording_of<B> recording_;
};

}  // namespace subbit
