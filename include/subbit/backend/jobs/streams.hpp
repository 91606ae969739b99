// Independent jobs side by side, for instance the layers of a block, if one of them does not keep the device busy.
#pragma once

#include <subbit/backend/concept.hpp>

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <exception>
#include <thread>
#include <vector>

namespace subbit {

/// Calls f(backend, i) for every i below n. A backend with streams runs up to `streams` jobs at once, each stream with
/// a host thread of its own, and a job is done when its work on the device is done; other backends run them one by one.
/// A job does not depend on the others, and returns its results on the host, since device memory is freed in the order
/// of the stream on which it was made, even if others still read it. Rethrows the error of the first job that failed;
/// jobs that have not started by then are not run.
///
///     for_each_on_streams(b, std::ssize(weights), 4, [&](const auto& stream, index i) {
///         fits[i] = lb_admm(stream, weights[i], options[i]);
///     });
template <backend B, class F>
void for_each_on_streams(const B& b, index n, int streams, F&& f) {
    if constexpr (requires { b.on_another_stream(0); }) {
        std::atomic<index> next = 0;
        std::atomic<bool> failed = false;
        std::vector<std::exception_ptr> errors(static_cast<std::size_t>(std::max<index>(n, 0)));
        const auto work = [&](const B& stream) {
            for (index i; !failed && (i = next++) < n;) {
                try {
                    f(stream, i);
                    stream.synchronize();
                } catch (...) {
                    errors[static_cast<std::size_t>(i)] = std::current_exception();
                    failed = true;
                }
            }
        };
        b.synchronize();  // the jobs' inputs may still be in work on b's own stream
        {
            std::vector<std::jthread> threads;
            for (index s = 1; s < std::min<index>(streams, n); ++s)
                threads.emplace_back(
                    [&work, stream = b.on_another_stream(static_cast<std::size_t>(s - 1))] { work(stream); });
            work(b);
        }
        for (const std::exception_ptr& e : errors)
            if (e) std::rethrow_exception(e);
    } else {
        for (index i = 0; i < n; ++i)
            f(b, i);
    }
}

}  // namespace subbit
