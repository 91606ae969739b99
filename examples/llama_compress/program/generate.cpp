#include "generate/evaluate_cuda.hpp"
#include "generate/running_model.hpp"
#include "generate/stop_texts.hpp"
#include "program/commands.hpp"
#include "program/console.hpp"
#include "program/streams.hpp"
#include "program/words.hpp"
#include "sample/sampling.hpp"

#include <fmt/format.h>
#include <algorithm>
#include <cstdio>
#include <fstream>
#include <iostream>
#include <iterator>
#include <limits>
#include <memory>
#include <optional>
#include <set>

namespace llama {

namespace {

struct generate_command {
    std::filesystem::path model;
    std::optional<std::string> prompt;
    std::string prompt_file;
    std::vector<std::string> stops;
    index max_tokens = 128;
    sampling_options sampling;
    text_reading reading;
    std::uint64_t seed = 0;
    bool begin = false, ignore_eos = false;
    rounding_options rounding{.head = "int8"};
    machine_options machine;

    void run() const;
    std::string prompt_text() const;
    std::unique_ptr<token_model> make_model(const subbit::cpu& cpu, const model_directory& directory,
                                            index capacity) const;
    std::vector<std::int32_t> prompt_tokens(const model_directory& directory, const tokenizer& words,
                                            const std::string& text) const;
};

/// All of a stream; io_error naming it if it cannot be read.
std::string contents_of(std::istream& from, const std::string& name) {
    std::string text{std::istreambuf_iterator<char>(from), {}};
    if (from.bad() || !from) throw subbit::io_error("cannot read " + name);
    return text;
}

/// The prompt of the command line, of a file, or for the file "-" of standard input.
std::string generate_command::prompt_text() const {
    if (prompt) return *prompt;
    if (prompt_file == "-") {
        const std::string text = contents_of(std::cin, "standard input");
        if (std::ferror(stdin)) throw subbit::io_error("cannot read standard input");  // which a stream does not tell
        return text;
    }
    if (std::filesystem::is_directory(prompt_file))
        throw subbit::io_error("cannot read " + prompt_file + ": it is a directory");
    std::ifstream file(prompt_file, std::ios::binary);
    return contents_of(file, prompt_file);
}

std::vector<std::int32_t> generate_command::prompt_tokens(const model_directory& directory, const tokenizer& words,
                                                          const std::string& text) const {
    std::set<std::string> left_out;
    const auto of_text = words.encode(text, reading.specials, &left_out);
    if (const auto remark = left_out_remark("the prompt", left_out); !remark.empty()) print_note(remark);
    auto tokens = reading.first_tokens(words);
    const auto first = words.bos_id() ? words.bos_id() : directory.config().bos_token_id;
    if (tokens.empty() && (begin || of_text.empty()) && first) tokens.push_back(*first);
    tokens.insert(tokens.end(), of_text.begin(), of_text.end());
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

    /// Good until the next call; value_error if a score is not finite.
    std::span<const float> of(std::span<const float> scores) {
        const auto known = scores.first(std::min(size_, scores.size()));
        if (!all_finite(known)) throw subbit::value_error("generate: the logits of the next token are not finite");
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

/// The time of a generation.
struct generation_times {
    double prefill = 0, decode = 0;  // seconds
    std::size_t prompt = 0;          // tokens
    index made = 0;
};

std::string to_text(const generation_times& t) {
    return fmt::format("prefill {} tokens, {:.1f} tokens/s; decode {} tokens, {:.1f} tokens/s\n", t.prompt,
                       static_cast<double>(t.prompt) / t.prefill, t.made, static_cast<double>(t.made) / t.decode);
}

void generate_command::run() const {
    const model_directory directory(model);
    const auto words = directory.load_tokenizer();
    stop_texts stop(stops);
    const std::string text = prompt_text();
    const auto tokens = prompt_tokens(directory, words, text);
    if (const auto remark = positions_remark(directory.config(), "prompt and continuation", std::ssize(tokens));
        !remark.empty())
        print_note(remark);
    const auto ends = ignore_eos ? std::set<std::int32_t>() : directory.end_tokens(words);
    const auto backend = machine.make();
    const auto running = make_model(backend, directory, std::ssize(tokens) + max_tokens);
    known_tokens known(words);
    sampler choice(sampling, subbit::random_stream(seed));
    catch_interrupts();

    print_now(text);
    stream_decoder decoder(words);
    decoder.skip(tokens);
    generation_times times{.prompt = tokens.size()};
    const auto seconds_since = [](auto start) {
        return std::chrono::duration<double>(job_clock::clock::now() - start).count();
    };
    const auto start = job_clock::clock::now();
    auto scores = running->next_scores(tokens);
    times.prefill = seconds_since(start);
    const auto decoding = job_clock::clock::now();
    while (times.made < max_tokens && !interrupted() && !stop.found()) {
        const std::int32_t token = choice.pick(known.of(scores), static_cast<std::uint64_t>(times.made));
        if (ends.contains(token)) break;
        ++times.made;
        print_now(stop.add(decoder.add(token)));
        if (times.made < max_tokens && !stop.found()) scores = running->next_scores(std::span(&token, 1));
    }
    print_now(stop.add(decoder.finish()) + stop.finish() + "\n");
    times.decode = seconds_since(decoding);
    std::fputs(to_text(times).c_str(), stderr);
    const index positions = directory.config().max_position_embeddings;
    if (std::ssize(tokens) <= positions && std::ssize(tokens) + times.made > positions)
        print_note(positions_remark(directory.config(), "prompt and continuation", std::ssize(tokens) + times.made));
}

}  // namespace

void add_generate(CLI::App& app) {
    auto command = std::make_shared<generate_command>();
    auto* c = app.add_subcommand("generate", "Continue a text, with an original or a compressed model");
    c->add_option("DIR", command->model, "Model directory")->required();
    auto* prompt = c->add_option("--prompt", command->prompt, "Text to continue")->type_name("TEXT");
    auto* file = c->add_option("--prompt-file", command->prompt_file,
                               "File with the text to continue, byte for byte (-: standard input)")
                     ->type_name("FILE")
                     ->excludes(prompt);
    c->add_option("--stop", command->stops, "Text at which the continuation ends; it may be given several times")
        ->multi_option_policy(CLI::MultiOptionPolicy::TakeAll)
        ->allow_extra_args(false)
        ->type_name("TEXT");
    c->add_option("--max-tokens", command->max_tokens, "Greatest number of tokens to add")
        ->check(whole_number(1, 1 << 20))
        ->type_name("N")
        ->capture_default_str();
    add_temperature_option(*c, command->sampling.temperature);
    c->add_option("--top-k", command->sampling.top_k, "Choose among the K most likely tokens (0: all)")
        ->check(whole_number(0))
        ->type_name("K")
        ->capture_default_str();
    c->add_option("--top-p", command->sampling.top_p, "Choose among the most likely tokens of this total probability")
        ->check(number(0, 1))
        ->type_name("P")
        ->capture_default_str();
    add_seed_option(*c, command->seed);
    add_reading_options(*c, command->reading);
    c->add_flag("--begin", command->begin, "Put the model's first token before the prompt, if its tokenizer does not");
    c->add_flag("--ignore-eos", command->ignore_eos, "Continue past the tokens that end a text");
    command->rounding.add_to(*c);
    command->rounding.add_cache_to(*c);
    command->machine.add_to(*c, {"cpu", "cuda"});
    c->callback([command, prompt, file, c] {
        if (prompt->count() == 0 && file->count() == 0) throw CLI::RequiredError("--prompt or --prompt-file");
        for (const char* option : {"--top-k", "--top-p", "--seed"})
            if (c->count(option) > 0 && command->sampling.greedy())
                print_note(fmt::format("{} has no effect at --temperature 0", option));
        for (const char* option : {"--packed-products", "--cache"})
            if (c->count(option) > 0 && command->machine.backend == "cuda")
                print_note(fmt::format("{} has no effect with --backend cuda", option));
        command->run();
    });
}

}  // namespace llama
