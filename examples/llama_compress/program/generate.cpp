#include "generate/evaluate_cuda.hpp"
#include "generate/running_model.hpp"
#include "generate/sampling.hpp"
#include "program/commands.hpp"
#include "program/console.hpp"

#include <fmt/format.h>
#include <cstdio>
#include <limits>
#include <memory>

namespace llama {

namespace {

struct generate_command {
    std::filesystem::path model;
    std::string prompt;
    index max_tokens = 128;
    sampling_options sampling;
    text_reading reading;
    std::uint64_t seed = 0;
    bool begin = false, ignore_eos = false;
    rounding_options rounding{.head = "int8"};
    machine_options machine;

    void run() const;
    std::unique_ptr<token_model> make_model(const subbit::cpu& cpu, const model_directory& directory,
                                            index capacity) const;
    std::vector<std::int32_t> prompt_tokens(const model_directory& directory, const tokenizer& words) const;
};

bool ends(const model_config& config, const tokenizer& words, std::int32_t token) {
    return words.eos_id() == token ||
           std::find(config.eos_token_ids.begin(), config.eos_token_ids.end(), token) != config.eos_token_ids.end();
}

std::vector<std::int32_t> generate_command::prompt_tokens(const model_directory& directory,
                                                          const tokenizer& words) const {
    const auto text = words.encode(prompt, reading.specials);
    auto tokens = reading.first_tokens(words);
    const auto first = words.bos_id() ? words.bos_id() : directory.config().bos_token_id;
    if (tokens.empty() && (begin || text.empty()) && first) tokens.push_back(*first);
    tokens.insert(tokens.end(), text.begin(), text.end());
    if (tokens.empty()) throw subbit::value_error("the prompt is empty, and the model names no first token");
    return tokens;
}

std::unique_ptr<token_model> generate_command::make_model(const subbit::cpu& cpu, const model_directory& directory,
                                                          index capacity) const {
    if (machine.backend == "cuda") return running_model_on_cuda(directory, capacity, rounding.make().head);
    return std::make_unique<running_model<subbit::cpu>>(cpu, directory, capacity, rounding.make());
}

/// The scores of ids that are tokens: a model may have rows for more, and ids may have gaps.
class known_tokens {
  public:
    explicit known_tokens(const tokenizer& words) : size_(static_cast<std::size_t>(words.vocab_size())) {
        for (std::int32_t id = 0; id < words.vocab_size(); ++id)
            if (!words.is_token(id)) gaps_.push_back(static_cast<std::size_t>(id));
    }

    /// Good until the next call.
    std::span<const float> of(std::span<const float> scores) {
        const auto known = scores.first(std::min(size_, scores.size()));
        if (gaps_.empty()) return known;
        without_gaps_.assign(known.begin(), known.end());
        for (const std::size_t id : gaps_)
            if (id < known.size()) without_gaps_[id] = -std::numeric_limits<float>::infinity();
        return without_gaps_;
    }

  private:
    std::size_t size_;
    std::vector<std::size_t> gaps_;
    std::vector<float> without_gaps_;
};

void print_now(const std::string& text) {
    fmt::print("{}", text);
    std::fflush(stdout);
}

void generate_command::run() const {
    const model_directory directory(model);
    const auto words = directory.load_tokenizer();
    auto tokens = prompt_tokens(directory, words);
    const auto backend = machine.make();
    const auto running = make_model(backend, directory, std::ssize(tokens) + max_tokens);
    known_tokens known(words);
    sampler choice(sampling, subbit::random_stream(seed));
    catch_interrupts();

    print_now(prompt);
    stream_decoder decoder(words);
    decoder.skip(tokens);
    const auto start = job_clock::clock::now();
    auto scores = running->next_scores(tokens);
    const auto decoding = job_clock::clock::now();
    index made = 0;
    while (made < max_tokens && !interrupted()) {
        const std::int32_t token = choice.pick(known.of(scores), static_cast<std::uint64_t>(made));
        if (!ignore_eos && ends(directory.config(), words, token)) break;
        ++made;
        print_now(decoder.add(token));
        if (made < max_tokens) scores = running->next_scores(std::span(&token, 1));
    }
    print_now(decoder.finish() + "\n");
    const double prefill = std::chrono::duration<double>(decoding - start).count();
    const double decode = std::chrono::duration<double>(job_clock::clock::now() - decoding).count();
    fmt::print(stderr, "prefill {} tokens, {:.1f} tokens/s; decode {} tokens, {:.1f} tokens/s\n", tokens.size(),
               static_cast<double>(tokens.size()) / prefill, made, static_cast<double>(made) / decode);
}

}  // namespace

void add_generate(CLI::App& app) {
    auto command = std::make_shared<generate_command>();
    auto* c = app.add_subcommand("generate", "Continue a text, with an original or a compressed model");
    c->add_option("DIR", command->model, "Model directory")->required();
    c->add_option("--prompt", command->prompt, "Text to continue")->required()->type_name("TEXT");
    c->add_option("--max-tokens", command->max_tokens, "Greatest number of tokens to add")
        ->check(CLI::Range(1, 1 << 20))
        ->type_name("N")
        ->capture_default_str();
    c->add_option("--temperature", command->sampling.temperature, "0: always the most likely token")
        ->check(CLI::NonNegativeNumber)
        ->type_name("T")
        ->capture_default_str();
    c->add_option("--top-k", command->sampling.top_k, "Choose among the K most likely tokens (0: all)")
        ->check(CLI::NonNegativeNumber)
        ->type_name("K")
        ->capture_default_str();
    c->add_option("--top-p", command->sampling.top_p, "Choose among the most likely tokens of this total probability")
        ->check(CLI::Range(0.0, 1.0))
        ->type_name("P")
        ->capture_default_str();
    c->add_option("--seed", command->seed, "Seed of the random choices")->type_name("S")->capture_default_str();
    add_reading_options(*c, command->reading);
    c->add_flag("--begin", command->begin, "Put the model's first token before the prompt, if its tokenizer does not");
    c->add_flag("--ignore-eos", command->ignore_eos, "Continue past the token that ends the text");
    command->rounding.add_to(*c);
    command->machine.add_to(*c, {"cpu", "cuda"});
    c->callback([command] { command->run(); });
}

}  // namespace llama
