#include "generate/evaluate_cuda.hpp"
#include "model/evaluation.hpp"
#include "program/commands.hpp"
#include "program/console.hpp"
#include "program/ranks.hpp"
#include "program/streams.hpp"
#include "program/words.hpp"

#include <fmt/format.h>
#include <memory>

namespace llama {

namespace {

struct perplexity_command {
    std::filesystem::path model, text;
    index context = 2048, max_windows = 0;
    machine_options machine;
    std::string products = "f32";
    rounding_options rounding;
    text_reading reading;
    bool json = false;

    void run() const;
};

void perplexity_command::run() const {
    const auto start = job_clock::clock::now();
    const model_directory directory(model);
    const auto words = directory.load_tokenizer();
    std::set<std::string> left_out;
    const auto windows = read_windows(words, text, context, max_windows, reading, &left_out);
    for (const auto& remark :
         {positions_remark(directory.config(), "windows", context), left_out_remark(text.string(), left_out)})
        if (!remark.empty() && job_ranks().leads()) print_note(remark);
    catch_interrupts();
    const auto result = [&] {
        console_progress progress({{"perplexity", 1, -1}});
        if (machine.backend == "cuda")
            return perplexity_on_cuda(directory, windows, progress, precision_of(products) == subbit::precision::bf16,
                                      rounding.make(), job_ranks());
        return llama::perplexity<float>(machine.make(precision_of(products)), directory, windows, progress,
                                        rounding.make(), job_ranks());
    }();
    if (!job_ranks().leads()) return;
    const auto bos = reading.bos_of(words);
    const double seconds = std::chrono::duration<double>(job_clock::clock::now() - start).count();
    if (json)
        fmt::print("{}\n", nlohmann::json{{"perplexity", result.perplexity},
                                          {"mean_loss", result.mean_loss},
                                          {"tokens", result.tokens},
                                          {"windows", result.windows},
                                          {"context", context},
                                          {"bos", bos},
                                          {"seconds", seconds}}
                               .dump(2));
    else
        fmt::print("perplexity {:.4f} ({} windows of {} tokens, {}, {} scored, {:.4f} nats per token, {})\n",
                   result.perplexity, result.windows, context, bos.is_null() ? "no BOS" : "BOS " + bos.dump(),
                   result.tokens, result.mean_loss, duration_text(seconds));
}

}  // namespace

void add_perplexity(CLI::App& app) {
    auto command = std::make_shared<perplexity_command>();
    auto* c = app.add_subcommand("perplexity", "Perplexity of an original or compressed model on a text");
    c->add_option("DIR", command->model, "Model directory")->required();
    c->add_option("--text", command->text, "Text (UTF-8)")->required()->type_name("FILE");
    c->add_option("--context", command->context, "Tokens per window; windows do not overlap")
        ->check(whole_number(2, 1 << 20))
        ->type_name("N")
        ->capture_default_str();
    c->add_option("--max-windows", command->max_windows, "Only the first N windows (0: all)")
        ->check(whole_number(0))
        ->type_name("N")
        ->capture_default_str();
    add_reading_options(*c, command->reading);
    add_products_option(*c, command->products);
    command->rounding.add_to(*c);
    command->machine.add_to(*c, {"cpu", "cuda"});
    c->add_flag("--json", command->json, "Print JSON: perplexity, mean_loss, tokens, windows, context, bos, seconds");
    c->callback([command] { command->run(); });
}

}  // namespace llama
