// Work that is repeated: recorded if the backend can record, so that a repetition is one launch.
#pragma once

#include <subbit/backend/concept.hpp>
#include <subbit/backend/jobs/recording_error.hpp>

#include <cstddef>
#include <optional>
#include <utility>

namespace subbit {

namespace detail {

/// The type of a backend's recorded work; empty if the backend does not record.
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

/// One piece of work that is repeated. A backend that records first runs it directly, so that buffers grow and tables
/// are made, then records it, and from then on replays the recording; other backends run it each time.
///
/// f must do the same each time: the same operations on the same memory, and nothing that waits for the backend or
/// changes the host's state. What differs between repetitions it reads from the backend's memory. If an owner has grown
/// in the meantime, the work is recorded again; if memory that it needs for itself has been taken by others, it is
/// first run directly once more, which allocates that memory again.
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
