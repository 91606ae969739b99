// Each message on the page docs/troubleshooting.md is one that the program says.
#include "demo_folder.hpp"
#include "program_checks.hpp"

#include "../support/sanitized.hpp"

#include "compress/output_folder.hpp"
#include "compress/run_folder.hpp"

#include <doctest/doctest.h>
#include <sys/resource.h>
#include <limits>
#include <sstream>

using namespace llama::testing;
namespace fs = std::filesystem;

namespace {

/// The messages of the page, in which "..." stands for anything.
std::vector<std::string> messages_of_page() {
    const fs::path page = fs::path(__FILE__).parent_path() / "../../docs/troubleshooting.md";
    std::istringstream lines(contents_of(page));
    std::vector<std::string> messages;
    for (std::string line; std::getline(lines, line);)
        if (line.starts_with("    llama_compress: ")) messages.push_back(line.substr(4));
    return messages;
}

/// A line is a message with something for every "...".
bool is_message(std::string_view line, std::string_view message) {
    const auto gap = message.find("...");
    if (!line.starts_with(message.substr(0, gap))) return false;
    if (gap == std::string_view::npos) return line == message;
    line.remove_prefix(gap);
    message.remove_prefix(gap + 3);
    for (std::size_t skipped = 0; skipped <= line.size(); ++skipped)
        if (is_message(line.substr(skipped), message)) return true;
    return false;
}

/// The program with a limit on one of its resources.
outcome run_limited(const demo_folder& demo, const std::vector<std::string>& words, __rlimit_resource resource,
                    rlim_t most) {
    rlimit before{};
    ::getrlimit(resource, &before);
    const rlimit tight{most, before.rlim_max};
    ::setrlimit(resource, &tight);
    const running_program running(demo.folder.path(), words);
    ::setrlimit(resource, &before);
    return running.wait();
}

struct provocation {
    const char* part;  // of the message
    std::function<outcome(demo_folder&)> run;
};

outcome evaluated(demo_folder& demo) {
    return demo.run(demo.perplexity_words());
}

outcome with_tensor(demo_folder& demo, const std::string& name, float value) {
    demo.tensors([&](tensor_map& t) { t.at(name).set(1000, value); });
    return demo.run(demo.compress_words("out"));
}

outcome compressed_with(demo_folder& demo, const std::vector<std::string>& more) {
    return demo.run(demo.compress_words("out", more));
}

std::vector<provocation> provocations_of_folders() {
    const std::string weight = "model.layers.1.mlp.up_proj.weight";
    return {{"git-lfs",
             [](auto& d) {
                 d.folder.write("model/model.safetensors", "version https://git-lfs.github.com/spec/v1\n");
                 return evaluated(d);
             }},
            {"claims a header",
             [](auto& d) {
                 d.folder.write("model/model.safetensors", "PK and what else an archive begins with");
                 return evaluated(d);
             }},
            {"neither model.safetensors nor",
             [](auto& d) {
                 fs::rename(d.model / "model.safetensors", d.model / "pytorch_model.bin");
                 return evaluated(d);
             }},
            {"quantization_config",
             [](auto& d) {
                 return evaluated(d.config({{"quantization_config", {{"quant_method", "gptq"}, {"bits", 4}}}}));
             }},
            {"model_type",
             [](auto& d) {
                 return evaluated(d.config({{"model_type", "mamba"}}));
             }},
            {"no place in a model",
             [](auto& d) {
                 return evaluated(d.tensors([](tensor_map& t) {
                     t["model.layers.0.self_attn.q_proj.bias"] = stored_tensor::filled({192}, 1);
                 }));
             }},
            {"lm_head.weight",
             [](auto& d) {
                 return evaluated(d.tensors([](tensor_map& t) {
                     t["lm_head.weight"] = stored_tensor::filled({512, 192}, 1);
                 }));
             }},
            {"entries that are not finite",
             [=](auto& d) { return with_tensor(d, weight, std::numeric_limits<float>::infinity()); }},
            {"cannot be held", [=](auto& d) { return with_tensor(d, weight, 1e6F); }},
            {"pre_tokenizer.type",
             [](auto& d) {
                 return evaluated(d.tokenizer([](auto& t) { t["pre_tokenizer"] = {{"type", "BertPreTokenizer"}}; }));
             }},
            {"does not cover",
             [](auto& d) {
                 return evaluated(d.tokenizer([](auto& t) {
                     t["pre_tokenizer"] = {{"type", "Metaspace"}, {"replacement", "▁"}};
                 }));
             }},
            {"logits of window", [=](auto& d) {
                 with_tensor(d, weight, 3e38F);
                 return evaluated(d);
             }}};
}

std::vector<provocation> provocations_of_runs() {
    return {
        {"no finished run",
         [](auto& d) {
             fs::copy(d.model, d.folder / "out");
             return compressed_with(d, {});
         }},
        {"the model of another run",
         [](auto& d) {
             compressed_with(d, {});
             return compressed_with(d, {"--bits", "0.8"});
         }},
        {"/run belongs to another run",
         [](auto& d) {
             compressed_with(d, {"--keep-run"});
             return compressed_with(d, {"--bits", "0.8"});
         }},
        {"another run is writing",
         [](auto& d) {
             const llama::folder_lock lock(d.folder / "out");
             return compressed_with(d, {});
         }},
        {"cannot write", [](auto& d) { return run_limited(d, d.compress_words("out"), RLIMIT_FSIZE, 3000); }},
        {"expected at least",
         [](auto& d) {
             return compressed_with(d, {"--windows", "100000"});
         }},
        {"not UTF-8",
         [](auto& d) {
             d.folder.write("text.txt", "Tom has a \xff cat");
             return evaluated(d);
         }},
        {"windows of",
         [](auto& d) {
             return compressed_with(d, {"--window-tokens", "200", "--dry-run"});
         }},
        {"on the held-back windows",
         [](auto& d) {
             return compressed_with(d, {"--held-back", "0.4", "--scale-rate", "0.3", "--distill-epochs", "0"});
         }},
        {"tune block",
         [](auto& d) {
             return compressed_with(d, {"--scale-rate", "3e3", "--distill-epochs", "0"});
         }},
        {"distill:",
         [](auto& d) {
             return compressed_with(d, {"--distill-scale-rate", "1e30"});
         }},
        {"is not an option",
         [](auto& d) {
             return compressed_with(d, {"--distil-epochs", "1"});
         }},
        {"has no effect",
         [](auto& d) {
             return compressed_with(d, {"--reg", "1", "--dry-run"});
         }},
        {"at the highest ranks",
         [](auto& d) {
             return compressed_with(d, {"--bits", "40", "--dry-run"});
         }},
        {"--threads",
         [](auto& d) {
             return compressed_with(d, {"--threads", "999", "--dry-run"});
         }},
        {"the disk has room",
         [](auto& d) {
             llama::compress_job job;
             job.out = d.folder / "out";
             llama::compress_estimate expected;
             expected.disk_bytes = std::size_t{1} << 60;
             try {
                 llama::require_disk_space(job, expected);
             } catch (const subbit::io_error& e) {
                 return outcome{1, {}, "llama_compress: " + std::string(e.what())};
             }
             return outcome{};
         }},
        {"was shortened",
         [](auto& d) {
             const running_program running(d.folder.path(), d.compress_words("out", {"--distill-epochs", "2000"}));
             running.wait_for(d.folder / "out" / "run" / "moments.safetensors");
             fs::resize_file(d.model / "model.safetensors", 4096);
             return running.wait();
         }},
        {"not enough memory",
         [](auto& d) {
             return run_limited(
                 d, {"generate", d.model.string(), "--prompt", "Tom", "--max-tokens", "1048576", "--threads", "1"},
                 RLIMIT_DATA, rlim_t{1} << 30);
         }},
    };
}

}  // namespace

TEST_CASE("each message of the page on troubles is one that the program says") {
    auto known = provocations_of_folders();
    const auto more = provocations_of_runs();
    known.insert(known.end(), more.begin(), more.end());
    const auto messages = messages_of_page();
    CHECK(messages.size() >= 25);
    for (const auto& message : messages) {
        CAPTURE(message);
        // The address sanitizer takes terabytes of addresses, so nothing can be limited under it.
        if (subbit::testing::is_sanitized && message.ends_with("not enough memory")) continue;
        const auto found = std::find_if(known.begin(), known.end(), [&](const provocation& p) {
            return message.find(p.part) != std::string::npos;
        });
        REQUIRE(found != known.end());
        demo_folder demo;
        const auto result = found->run(demo);
        CAPTURE(result.err);
        std::istringstream lines(result.err);
        bool said = false;
        for (std::string line; std::getline(lines, line);)
            said = said || is_message(line, message);
        CHECK(said);
    }
}
