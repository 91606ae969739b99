// Every operation of a backend against reference<S>, at odd sizes. A user's backend runs it too:
//
//   TEST_CASE("mine") { subbit::testing::check_backend<float>(my_backend{}, {"do_gemm"}); }
//
// The list names the operations that the backend's own versions must be called for; the suite also says which are.
// Tolerances are those of float rounding: a sum of k products is off by no more than a few k eps times the sum of their
// magnitudes. Where integers keep every step exact, the results must be equal.
#pragma once

#include "conformance/entry_conformance.hpp"
#include "conformance/factor_conformance.hpp"
#include "conformance/layer_conformance.hpp"
#include "conformance/overloads.hpp"
#include "conformance/train_conformance.hpp"

#include <array>
#include <cstddef>
#include <string>
#include <vector>

namespace subbit::testing {

inline constexpr std::array<index, 6> conformance_sizes = {1, 3, 63, 64, 65, 257};

/// Says which operations are the backend's own, and fails for each of `expected` that is not.
template <class S, class B>
void check_overloads(const std::vector<std::string>& expected) {
    std::string own;
    for (const std::string& name : own_operations<S, B>())
        own += (own.empty() ? "" : ", ") + name;
    MESSAGE("the backend's own versions: " << (own.empty() ? "none" : own));
    for (const std::string& name : missing_from<S, B>(expected)) {
        CAPTURE(name);
        FAIL_CHECK("the base's version runs: the backend's own has another name, other arguments or another namespace");
    }
}

/// Runs every check on `backend` in the scalar type S; `expected` names the operations that it has versions of.
template <class S, class B>
void check_backend(const B& backend, const std::vector<std::string>& expected = {}) {
    static_assert(subbit::backend<B, S>);
    if constexpr (host_backend<B>) check_overloads<S, B>(expected);
    const entry_conformance<S, B> entries(backend);
    const factor_conformance<S, B> factors(backend);
    const layer_conformance<S, B> layers(backend);
    const train_conformance<S, B> training(backend);
    const std::size_t count = conformance_sizes.size();
    for (std::size_t i = 0; i < count; ++i) {
        const index m = conformance_sizes[i];
        CAPTURE(m);
        entries.check(m);
        for (std::size_t j = 0; j < count; ++j) {
            const index n = conformance_sizes[j];
            CAPTURE(n);
            entries.check(m, n);
            factors.check(m, n);
            layers.check(m, n);
            training.check(m, n);
            // Two Latin squares: every pair of sizes meets in every pair of the three places.
            for (const index k : {conformance_sizes[(i + j) % count], conformance_sizes[(i + j + 3) % count]}) {
                CAPTURE(k);
                factors.check(m, k, n);
                layers.check(m, k, n);
                training.check(m, k, n);
            }
        }
    }
    entries.check_errors();
    factors.check_errors();
    layers.check_errors();
    training.check_errors();
}

}  // namespace subbit::testing
