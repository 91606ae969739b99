#include <trainer.hpp>

#include <doctest/doctest.h>
#include <support/temporary_directory.hpp>

#include <vector>

namespace {

llama::model_config tiny_config() {
    return llama::parse_model_config({{"model_type", "llama"},
                                      {"hidden_act", "silu"},
                                      {"hidden_size", 16},
                                      {"intermediate_size", 24},
                                      {"num_hidden_layers", 2},
                                      {"num_attention_heads", 4},
                                      {"num_key_value_heads", 2},
                                      {"vocab_size", 12},
                                      {"max_position_embeddings", 16},
                                      {"rms_norm_eps", 1e-5},
                                      {"tie_word_embeddings", true}},
                                     "tiny");
}

/// Windows that count upwards by 1 or by 5, modulo 12.
std::vector<std::int32_t> counting_windows(subbit::index windows, subbit::index length) {
    std::vector<std::int32_t> tokens;
    for (subbit::index w = 0; w < windows; ++w)
        for (subbit::index t = 0; t < length; ++t)
            tokens.push_back(static_cast<std::int32_t>((w + t * (w % 2 == 0 ? 1 : 5)) % 12));
    return tokens;
}

}  // namespace

TEST_CASE("training learns to continue a sequence, by the same steps on one thread and on two") {
    const auto config = tiny_config();
    const train_demo::training_options options{
        .steps = 150, .batch = 12, .window = 16, .rate = 1e-2, .warmup = 10, .seed = 3};
    const auto tokens = counting_windows(options.batch, options.window);
    train_demo::trainer one(config, options, 1), two(config, options, 2);
    double first = 0, last = 0;
    for (subbit::index step = 0; step < options.steps; ++step) {
        last = one.step(tokens);
        REQUIRE(two.step(tokens) == last);
        if (step == 0) first = last;
    }
    CHECK(first > 2.0);  // near log 12
    CHECK(last < 0.3);   // only the first step of a window is open
}
