// Trains the demo model of llama_compress: a small Llama on stories whose entropy is known.
#include "byte_pair_training.hpp"
#include "grammar.hpp"
#include "trainer.hpp"

#include <subbit/io/atomic_file.hpp>

#include <fmt/format.h>
#include <CLI/CLI.hpp>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <string>

namespace {

using subbit::index;
using train_demo::grammar;
using train_demo::trainer;
using train_demo::training_options;
namespace fs = std::filesystem;

// Every text has a random stream of its own; training uses one stream after another.
enum text_stream : std::uint64_t { calibration_stream, test_stream, tokenizer_stream, first_training_stream };
constexpr std::uint64_t text_seed = 2718;

struct demo_options {
    fs::path out;
    training_options training;
    std::size_t vocabulary = 512, calibration_bytes = 240000, test_bytes = 60000;
    int threads = 0;
};

nlohmann::ordered_json config_json(std::size_t vocabulary, index window) {
    return {{"architectures", {"LlamaForCausalLM"}},
            {"model_type", "llama"},
            {"hidden_act", "silu"},
            {"hidden_size", 192},
            {"intermediate_size", 448},
            {"num_hidden_layers", 3},
            {"num_attention_heads", 6},
            {"num_key_value_heads", 3},
            {"head_dim", 32},
            {"vocab_size", vocabulary},
            {"max_position_embeddings", window},
            {"rms_norm_eps", 1e-5},
            {"rope_theta", 10000.0},
            {"tie_word_embeddings", true},
            {"attention_bias", false},
            {"mlp_bias", false},
            {"bos_token_id", vocabulary - 1},
            {"eos_token_id", vocabulary - 1},
            {"torch_dtype", "bfloat16"}};
}

/// Tokens of one training text after another: no window is seen twice.
class token_source {
  public:
    token_source(const grammar& g, const llama::tokenizer& words) : grammar_(g), words_(words) {}

    std::vector<std::int32_t> take(index count) {
        while (std::ssize(tokens_) < count) {
            const auto more = words_.encode(train_demo::stories(grammar_, text_seed, stream_++, 1 << 19).text);
            tokens_.insert(tokens_.end(), more.begin(), more.end());
        }
        std::vector<std::int32_t> result(tokens_.begin(), tokens_.begin() + count);
        tokens_.erase(tokens_.begin(), tokens_.begin() + count);
        return result;
    }

  private:
    const grammar& grammar_;
    const llama::tokenizer& words_;
    std::uint64_t stream_ = first_training_stream;
    std::vector<std::int32_t> tokens_;
};

/// The facts about the texts that are known without a model.
nlohmann::ordered_json describe(const grammar& g, const grammar::sample& test, std::size_t tokens) {
    const double per_token = -test.log_probability / static_cast<double>(tokens);
    return {{"test",
             {{"bytes", test.text.size()},
              {"tokens", tokens},
              {"nats", -test.log_probability},
              {"nats_per_token", per_token},
              {"perplexity", std::exp(per_token)},
              {"nats_per_byte", -test.log_probability / static_cast<double>(test.text.size())}}},
            {"expected",
             {{"nats_per_story", g.entropy("story")},
              {"bytes_per_story", g.expected_bytes("story")},
              {"nats_per_byte", g.entropy("story") / g.expected_bytes("story")}}}};
}

void train(const llama::model_config& config, const llama::tokenizer& words, const grammar& g, double entropy,
           const demo_options& o) {
    trainer model(config, o.training, o.threads);
    token_source source(g, words);
    const auto start = std::chrono::steady_clock::now();
    double sum = 0;
    constexpr index every = 50;
    for (index step = 1; step <= o.training.steps; ++step) {
        sum += model.step(source.take(o.training.batch * o.training.window));
        if (step % every != 0) continue;
        const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
        fmt::print(stderr, "step {} of {}: {:.4f} nats per token (the grammar's own: {:.4f}), {:.0f} s left\n", step,
                   o.training.steps, sum / every, entropy,
                   seconds / static_cast<double>(step) * static_cast<double>(o.training.steps - step));
        sum = 0;
    }
    model.save(o.out / "model.safetensors");
}

void run(const demo_options& o) {
    fs::create_directories(o.out);
    const auto g = train_demo::story_grammar();
    const auto save = [&](const char* name, const std::string& text) {
        subbit::write_file_atomically(o.out / name, text);
    };
    const auto text_of = [&](text_stream which, std::size_t bytes) {
        return train_demo::stories(g, text_seed, which, bytes);
    };
    const auto learned =
        train_demo::train_byte_pairs(text_of(tokenizer_stream, 1 << 20).text, o.vocabulary, "<|endoftext|>");
    save("tokenizer.json", learned.dump(1) + "\n");
    save("config.json", config_json(o.vocabulary, o.training.window).dump(2) + "\n");
    save("calibration.txt", text_of(calibration_stream, o.calibration_bytes).text);
    const auto test = text_of(test_stream, o.test_bytes);
    save("test.txt", test.text);
    const llama::tokenizer words(o.out / "tokenizer.json");
    const auto facts = describe(g, test, words.encode(test.text).size());
    save("grammar.json", facts.dump(2) + "\n");
    const auto config = llama::read_model_config(o.out / "config.json");
    train(config, words, g, facts["test"]["nats_per_token"], o);

    fmt::print("perplexity on test.txt {:.4f}, the grammar's own {:.4f}\n",
               train_demo::perplexity(o.out, words.encode(test.text), o.training.window, o.threads),
               facts["test"]["perplexity"].get<double>());
}

}  // namespace

int main(int argc, char** argv) {
    demo_options o;
    CLI::App app("Trains the demo model of llama_compress on stories from a stochastic grammar.", "subbit_train_demo");
    app.add_option("--out", o.out, "Directory for the model and its texts")->required()->type_name("DIR");
    app.add_option("--steps", o.training.steps, "Optimizer steps")->check(CLI::PositiveNumber)->capture_default_str();
    app.add_option("--batch", o.training.batch, "Windows per step")->check(CLI::PositiveNumber)->capture_default_str();
    app.add_option("--window", o.training.window, "Tokens per window")
        ->check(CLI::Range(2, 4096))
        ->capture_default_str();
    app.add_option("--rate", o.training.rate, "Peak learning rate")->check(CLI::PositiveNumber)->capture_default_str();
    app.add_option("--warmup", o.training.warmup, "Steps of linear warm-up")
        ->check(CLI::NonNegativeNumber)
        ->capture_default_str();
    app.add_option("--seed", o.training.seed, "Seed of the weights")->capture_default_str();
    app.add_option("--threads", o.threads, "Threads (0: all)")->check(CLI::NonNegativeNumber)->capture_default_str();
    CLI11_PARSE(app, argc, argv);
    try {
        run(o);
    } catch (const std::exception& e) {
        fmt::print(stderr, "subbit_train_demo: {}\n", e.what());
        return 1;
    }
    return 0;
}
