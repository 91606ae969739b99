// The model that generate runs, and what it may round.
#include "generate/running_model.hpp"

#include "tiny_model.hpp"

#include "../support/temporary_directory.hpp"

#include <doctest/doctest.h>
#include <subbit/backend/cpu.hpp>

#include <vector>

using namespace llama;
using namespace llama::testing;

TEST_CASE("a cache of bfloat16s changes the scores, by little") {
    const subbit::testing::temporary_directory folder;
    write_tiny_model(folder / "model", {});
    const model_directory model(folder / "model");
    const subbit::cpu backend({.threads = 2});
    const std::vector<std::int32_t> text{'t', 'o', ' ', 'b', 'e', ',', ' ', 'o', 'r', ' ', 'n', 'o', 't'};
    const auto scores = [&](cache_format format) {
        running_model<subbit::cpu> running(backend, model, 40, {.cache = format});
        running.next_scores(text);
        std::int32_t last = ' ';
        const auto all = running.next_scores(std::span(&last, 1));
        return subbit::vector<float>(subbit::vector<float>::Map(all.data(), std::ssize(all)));
    };
    const auto whole = scores(cache_format::scalar), rounded = scores(cache_format::bf16);
    CHECK(rounded != whole);
    CHECK((rounded - whole).norm() < 0.01F * whole.norm());
}
