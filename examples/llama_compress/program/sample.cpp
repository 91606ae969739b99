#include "program/commands.hpp"
#include "program/console.hpp"
#include "program/streams.hpp"
#include "program/words.hpp"
#include "sample/batch_sampler.hpp"

#include <subbit/io/atomic_file.hpp>

#include <fmt/format.h>
#include <algorithm>
#include <cstdio>
#include <memory>

namespace llama {

namespace {

struct sample_command {
    std::filesystem::path model, out, prompts;
    index tokens = 65536, length = 512, prompt_tokens = 8;
    sampling_options sampling{.temperature = 1};
    std::uint64_t seed = 0;
    text_reading reading;
    machine_options machine;
    std::string products = "bf16";

    void run() const;
    window_list beginnings(const model_directory& directory, const tokenizer& words) const;
};

/// The first tokens of every text: of evenly spread places of the prompts, or of none.
window_list sample_command::beginnings(const model_directory& directory, const tokenizer& words) const {
    const index count = (tokens + length - 1) / length;
    const auto first = reading.first_tokens(words);
    const index given = std::min(prompt_tokens, length - 1 - std::ssize(first));
    if (given < 1)
        throw subbit::value_error(fmt::format("--length is {}, expected at least {}", length, first.size() + 2));
    std::vector<std::int32_t> text;
    if (!prompts.empty()) text = words.encode_file(prompts, reading.specials);
    const auto bos = words.bos_id() ? words.bos_id() : directory.config().bos_token_id;
    if (prompts.empty() && first.empty() && !bos)
        throw subbit::value_error("the model names no first token, expected --prompts");
    if (!prompts.empty() && std::ssize(text) < given)
        throw subbit::value_error(
            fmt::format("{}: {} tokens, expected at least {}", prompts.string(), text.size(), given));
    window_list texts;
    for (index i = 0; i < count; ++i) {
        auto& beginning = texts.emplace_back(first);
        if (prompts.empty()) {
            if (beginning.empty()) beginning.push_back(*bos);
            continue;
        }
        const auto at = text.begin() + (std::ssize(text) - given) * i / count;
        beginning.insert(beginning.end(), at, at + given);
    }
    return texts;
}

void sample_command::run() const {
    const model_directory directory(model);
    const auto words = directory.load_tokenizer();
    auto texts = beginnings(directory, words);
    if (const auto remark = positions_remark(directory.config(), "texts", length); !remark.empty()) print_note(remark);
    catch_interrupts();
    const auto start = job_clock::clock::now();
    const auto backend = machine.make(precision_of(products));
    {
        console_progress progress({{"sample", 1, -1}});
        texts = batch_sampler<subbit::cpu>(backend, directory, length, ids_not_to_sample(directory, words))
                    .run(std::move(texts), sampling, seed, progress);
    }
    // What only begins a text is no part of it.
    auto first = reading.first_tokens(words).size();
    if (prompts.empty()) first = std::max<std::size_t>(first, 1);
    std::string all;
    for (const auto& text : texts)
        all += words.decode(std::span(text).subspan(first)) + "\n";
    subbit::write_file_atomically(out, all);
    const double seconds = std::chrono::duration<double>(job_clock::clock::now() - start).count();
    const auto sampled = std::ssize(texts) * length;
    fmt::print("wrote   {}: {} texts of {} tokens in {}, {:.0f} tokens/s\n", out.string(), texts.size(), length,
               duration_text(seconds), static_cast<double>(sampled) / seconds);
}

}  // namespace

void add_sample(CLI::App& app) {
    auto command = std::make_shared<sample_command>();
    auto* c = app.add_subcommand("sample", "Let a model write a text, many pieces of it at once");
    c->add_option("DIR", command->model, "Model directory")->required();
    c->add_option("--out", command->out, "File of the text")->required()->type_name("FILE");
    c->add_option(
         "--prompts", command->prompts,
         "Text of which every piece begins with a few tokens (default: each begins with the model's first token)")
        ->type_name("FILE");
    c->add_option("--tokens", command->tokens, "Tokens of all pieces together")
        ->check(whole_number(1))
        ->type_name("N")
        ->capture_default_str();
    c->add_option("--length", command->length, "Tokens of a piece")
        ->check(whole_number(2, 1 << 20))
        ->type_name("N")
        ->capture_default_str();
    c->add_option("--prompt-tokens", command->prompt_tokens, "Tokens of a piece that are the prompts'")
        ->check(whole_number(1, 1 << 20))
        ->type_name("N")
        ->capture_default_str();
    add_temperature_option(*c, command->sampling.temperature);
    add_seed_option(*c, command->seed);
    add_reading_options(*c, command->reading);
    add_products_option(*c, command->products);
    command->machine.add_to(*c);
    c->callback([command] { command->run(); });
}

}  // namespace llama
