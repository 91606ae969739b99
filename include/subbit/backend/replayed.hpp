// Steps that are asked for again and again: where a backend's device can record launches, they are recorded once and
// replayed.
#pragma once

#include <subbit/backend/concept.hpp>

#include <optional>
#include <type_traits>
#include <utility>

namespace subbit {

namespace detail {

/// What a backend's recordings are; nothing where it has none.
template <class B>
struct recording_of {
    struct type {};
    static constexpr bool exists = false;
};
template <class B>
requires requires(const B& b, void (*f)()) {
    b.device().record(f);
}
struct recording_of<B> {
    using type = std::decay_t<decltype(std::declval<const B&>().device().record(std::declval<void (*)()>()))>;
    static constexpr bool exists = true;
};

}  // namespace detail

/// Runs the same steps many times. All that they read and write but numbers in the backend's memory must stay what it
/// is: a replay knows nothing of the host.
template <backend B>
class replayed {
  public:
    /// f(), or a replay of it. `variant` says which f it is: the first run of each is done as it stands, so that what
    /// its operations work in is there, the second is recorded.
    template <class F>
    void run(const B& b, int variant, F&& f) {
        if constexpr (detail::recording_of<B>::exists) {
            if (variant_ != variant) {
                f();
                variant_ = variant;
                graph_.reset();
                return;
            }
            if (!graph_) graph_.emplace(b.device().record(f));
            graph_->replay();
        } else {
            f();
        }
    }

  private:
    std::optional<int> variant_;
    std::optional<typename detail::recording_of<B>::type> graph_;
};

}  // namespace subbit
