// What people type and how they run the program: options, streams, folders that are in use, prompts and their ends.
#include "demo_folder.hpp"
#include "program_checks.hpp"

#include "compress/options.hpp"
#include "compress/output_folder.hpp"
#include "generate/stop_texts.hpp"
#include "model/nearest_word.hpp"
#include "tokenizer/utf8.hpp"

#include <doctest/doctest.h>
#include <sys/resource.h>

using namespace llama::testing;
using nlohmann::json;
namespace fs = std::filesystem;

namespace {

std::vector<std::string> generate_words(const demo_folder& demo, const std::vector<std::string>& more) {
    std::vector<std::string> words = {"generate", demo.model.string(), "--threads", "1"};
    words.insert(words.end(), more.begin(), more.end());
    return words;
}

/// Runs a command line of the shell, in which $P is the program and $M the model.
outcome run_in_shell(const demo_folder& demo, const std::string& line) {
    const std::string script = "P='" + program().string() + "' M='" + demo.model.string() + "' T='" +
                               demo.text.string() + "' F='" + demo.folder.path().string() + "'; cd \"$F\"; ( " + line +
                               " ) >\"$F/stdout\" 2>\"$F/stderr\"";
    const int status = std::system(script.c_str());
    return {WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status), contents_of(demo.folder / "stdout"),
            contents_of(demo.folder / "stderr")};
}

/// All of a text is UTF-8.
bool all_utf8(const std::string& text) {
    return llama::valid_utf8(text) == text;
}

}  // namespace

TEST_CASE("a folder with another model in it is left alone") {
    demo_folder demo;
    fs::copy(demo.model, demo.folder / "out");
    const auto before = contents_of(demo.folder / "out" / "model.safetensors");
    for (const std::vector<std::string>& more : {std::vector<std::string>{}, {"--replace"}}) {
        check_failed(demo.run(demo.compress_words("out", more)), 1, {"out has a model", "expected a new folder"});
        CHECK(contents_of(demo.folder / "out" / "model.safetensors") == before);
    }
}

TEST_CASE("a finished run is made again by the same command, and replaced by another one only with --replace") {
    demo_folder demo;
    const auto file = demo.folder / "out" / "model.safetensors";
    REQUIRE(demo.run(demo.compress_words("out")).status == 0);
    const auto first = contents_of(file);
    check_failed(demo.run(demo.compress_words("out", {"--bits", "0.8"})), 1,
                 {"bits: 1.0 there, 0.8 asked for", "--replace"});
    CHECK(contents_of(file) == first);
    REQUIRE(demo.run(demo.compress_words("out")).status == 0);
    CHECK(contents_of(file) == first);
    REQUIRE(demo.run(demo.compress_words("out", {"--bits", "0.8", "--replace"})).status == 0);
    CHECK(contents_of(file) != first);
}

TEST_CASE("the seconds of a report are those of all processes of a run") {
    demo_folder demo;
    const auto words = demo.compress_words("out", {"--distill-epochs", "150", "--keep-run"});
    const running_program running(demo.folder.path(), words);
    running.wait_for(demo.folder / "out" / "run" / "block-0002.json");
    running.signal(SIGINT);
    REQUIRE(running.wait().status == 130);
    const auto before = subbit::read_json(demo.folder / "out" / "run" / "seconds.json");
    REQUIRE(demo.run(demo.compress_words("out", {"--distill-epochs", "150"})).status == 0);
    const auto seconds = subbit::read_json(demo.folder / "out" / "report.json").at("seconds");
    CHECK(before.at("phases").at("calibration").get<double>() > 0);
    CHECK(seconds.at("calibration") == before.at("phases").at("calibration"));
    CHECK(seconds.at("total").get<double>() > before.at("total").get<double>());
}

TEST_CASE("the estimate counts the text") {
    demo_folder demo;
    const auto memory = [&](const std::string& text) {
        auto words = demo.compress_words("out", {"--dry-run", "--json"});
        words[3] = demo.folder.write("long.txt", text).string();
        const auto result = demo.run(words);
        INFO(result.err);
        REQUIRE(result.status == 0);
        return json::parse(result.out).at("memory_bytes").get<double>();
    };
    std::string text(20'000'000, '7');  // a token for each byte
    for (std::size_t i = 1; i < text.size(); i += 2)
        text[i] = '\n';
    CHECK(memory(text) >= 13 * static_cast<double>(text.size()));
}

TEST_CASE("more threads than cores: no more than the cores, and a note") {
    demo_folder demo;
    auto words = demo.perplexity_words();
    words.back() = "1000";
    const auto result = demo.run(words);
    check_failed(result, 0, {"note: --threads is 1000, but this machine has"});
    CHECK(result.out.find("perplexity 2.94") != std::string::npos);
}

TEST_CASE("more bits than the layers can have: a note says what comes out") {
    demo_folder demo;
    check_failed(demo.run(demo.compress_words("out", {"--bits", "40", "--dry-run"})), 0,
                 {"note: --bits is 40", "24.942 bits per weight"});
}

TEST_CASE("seeds are whole numbers that fit 64 bits") {
    demo_folder demo;
    for (const char* seed : {"-1", "18446744073709551616", "1.5", "x"}) {
        const std::string expected = std::string(seed) + " is not a whole number from 0 to 18446744073709551615";
        check_failed(demo.run(demo.compress_words("out", {"--seed", seed})), 2, {"--seed", expected});
        check_failed(demo.run(generate_words(demo, {"--prompt", "x", "--seed", seed})), 2, {"--seed", expected});
    }
    CHECK(demo.run(demo.compress_words("out", {"--seed", "18446744073709551615", "--dry-run"})).status == 0);
}

TEST_CASE("a lowest rank goes beyond the bits, as its help says") {
    demo_folder demo;
    const auto result = demo.run(demo.compress_words("out", {"--bits", "0.5", "--minimum-rank", "64", "--dry-run"}));
    check_failed(result, 0, {"note: --minimum-rank 64 takes 0.708 bits per weight, more than the 0.5 of --bits"});
    CHECK(result.out.find("q_proj 64, k_proj 64") != std::string::npos);
    check_failed(demo.run(demo.compress_words("out", {"--bits", "0.05"})), 1, {"0.05", "bits"});
}

TEST_CASE("ranges that a person can read") {
    demo_folder demo;
    const auto refuses = [&](const char* option, const char* value, const std::string& expected) {
        const auto result = demo.run(generate_words(demo, {"--prompt", "Tom", option, value}));
        check_failed(result, 2, {option, value + (" is not " + expected)});
        CHECK(result.err.size() < 150);
    };
    for (const char* value : {"nan", "-1", "inf", "warm"})
        refuses("--temperature", value, "a finite number from 0 on");
    for (const char* value : {"nan", "2", "-0.1"})
        refuses("--top-p", value, "a number from 0 to 1");
    for (const char* value : {"-1", "0.5"})
        refuses("--top-k", value, "a whole number from 0 on");
    refuses("--max-tokens", "0", "a whole number from 1 to 1048576");
    refuses("--head", "int4", "one of f32, bf16, int8");
    refuses("--cache", "f16", "one of f32, bf16");
    refuses("--threads", "-2", "a whole number from 0 to 2147483647");
    check_failed(demo.run(demo.perplexity_words({"--max-windows", "-1"})), 2, {"-1 is not a whole number from 0 on"});
    const auto text = [&](const char* temperature) {
        return demo.run(generate_words(demo, {"--prompt", "Tom", "--temperature", temperature, "--max-tokens", "12"}))
            .out;
    };
    CHECK(text("1e-40") == text("0"));
    CHECK(text("0").size() > 20);
}

TEST_CASE("unknown words are answered with the nearest known one") {
    demo_folder demo;
    check_fails({"perplexty", "x"}, 2, {"perplexty is not a command; the nearest is perplexity"});
    check_fails({"--verison"}, 2, {"--verison is not an option of llama_compress; the nearest is --version"});
    check_failed(demo.run({"perplexity", demo.model.string(), "--tet", "x"}), 2,
                 {"--tet is not an option of perplexity; the nearest is --text"});
    check_failed(demo.run(demo.compress_words("out", {"--windwos=3"})), 2, {"--windwos", "the nearest is --windows"});
    check_failed(demo.run(demo.compress_words("out", {"--recipe", "papr"})), 2, {"papr", "the nearest is paper"});
    check_failed(demo.run(demo.compress_words("out", {"--solver", "pper"})), 1, {"pper", "the nearest is paper"});
    check_failed(demo.run(demo.compress_words("out", {"--quux"})), 2, {"--quux is not an option of compress (see"});
    // A value that looks like an option is a value.
    CHECK(demo.run(generate_words(demo, {"--prompt", "--tet", "--max-tokens", "1"})).status == 0);

    using llama::letters_apart, llama::nearest_word;
    CHECK(letters_apart("kitten", "sitting") == 3);
    CHECK(letters_apart("windwos", "windows") == 1);
    CHECK(letters_apart("", "abc") == 3);
    CHECK(nearest_word("epoch", {"epochs", "batch"}) == "epochs");
    CHECK(nearest_word("zzz", {"epochs", "batch"}).empty());
}

TEST_CASE("the version") {
    const subbit::testing::temporary_directory folder;
    const auto result = run_program(folder.path(), {"--version"});
    CHECK(result.status == 0);
    CHECK(result.out.starts_with("llama_compress 0."));
    const auto info = json::parse(run_program(folder.path(), {"info", "--json"}).out);
    CHECK(result.out == "llama_compress " + info.at("version").get<std::string>() + "\n");
}

TEST_CASE("options that others make useless are said, and the run goes on") {
    demo_folder demo;
    const auto notes = [&](const std::vector<std::string>& more) {
        auto words = demo.compress_words("out", more);
        words.emplace_back("--dry-run");
        const auto result = demo.run(words);
        CHECK(result.status == 0);
        return result.err;
    };
    const auto says = [&](const std::vector<std::string>& more, const std::string& part) {
        const auto text = notes(more);
        CAPTURE(text);
        CHECK(text.find(part) != std::string::npos);
    };
    CHECK(notes({}).empty());
    says({"--schedule", "cubic"}, "--schedule has no effect here: only --solver paper uses it");
    says({"--reg", "0.1"}, "--reg has no effect here: only --solver paper");
    CHECK(notes({"--solver", "paper", "--schedule", "cubic", "--reg", "0.1"}).empty());
    says({"--weight-epochs", "2"}, "--weight-epochs has no effect here: only --order layer");
    says({"--solver", "dual_svid", "--scales", "3"}, "--iterations has no effect here");
    says({"--method", "rabit", "--recipe", "paper"}, "--recipe has no effect here: only --method nanoquant");
    says({"--rounds", "2"}, "--rounds has no effect here: only --method rabit");
    says({"--distill-latent-margin", "0.2"}, "only --distill-latent-rate above 0 uses it");
    says({"--distill-window-tokens", "9"}, "only --distill-windows above 0");
    says({"--test-context", "9"}, "only --test-text uses it");
    const auto greedy = demo.run(generate_words(demo, {"--prompt", "Tom", "--top-k", "3", "--max-tokens", "1"}));
    CHECK(greedy.err.starts_with("llama_compress: note: --top-k has no effect at --temperature 0\n"));
    for (const auto& [option, value] : {std::pair{"--cache", "bf16"}, {"--packed-products", "int8"}}) {
        const auto on_gpu = demo.run(
            generate_words(demo, {"--prompt", "Tom", "--backend", "cuda", option, value, "--max-tokens", "1"}));
        CHECK(on_gpu.err.starts_with("llama_compress: note: " + std::string(option) +
                                     " has no effect with --backend cuda\n"));
    }
}

TEST_CASE("a preset is that of its method") {
    demo_folder demo;
    const auto plan = [&](const char* method) {
        auto words = demo.compress_words("out", {"--preset", "quick", "--method", method, "--distill-windows", "3",
                                                 "--distill-window-tokens", "64", "--dry-run", "--json"});
        const auto result = demo.run(words);
        REQUIRE(result.status == 0);
        CHECK(result.err.find("--preset has no effect") == std::string::npos);
        return json::parse(result.out);
    };
    CHECK(plan("rabit").at("paths") == 2);
    CHECK(plan("rabit").at("distillation_windows") == 3);
    CHECK(plan("nanoquant").at("paths") == 0);
    using llama::compress_options;
    CHECK(compress_options::preset("hour", true)->method == "rabit");
    CHECK(compress_options::preset("hour", false)->method == "nanoquant");
    CHECK(!compress_options::preset("day", true));
}

TEST_CASE("windows, prompts and continuations beyond the model's positions: a note") {
    demo_folder demo;
    auto words = demo.perplexity_words();
    words[5] = "200";
    check_failed(demo.run(words), 0, {"note: windows of 200 tokens go beyond the model's 128 positions"});
    const auto compress = demo.run(demo.compress_words("out", {"--window-tokens", "256", "--dry-run"}));
    check_failed(compress, 0, {"note: windows of 256 tokens go beyond the model's 128 positions"});
    const auto continued = demo.run(generate_words(demo, {"--prompt", "Tom", "--max-tokens", "140", "--ignore-eos"}));
    CHECK(continued.err.find("note: prompt and continuation of 141 tokens go beyond") != std::string::npos);
    const auto whole = demo.run(generate_words(demo, {"--prompt-file", demo.text.string(), "--max-tokens", "1"}));
    CHECK(whole.err.find("note: prompt and continuation of 798 tokens go") != std::string::npos);
}

TEST_CASE("output that cannot be written is an error in every command") {
    demo_folder demo;
    const auto fails = [&](const std::string& command) {
        for (const char* to : {">/dev/full", ">&-"}) {
            const auto result = run_in_shell(demo, "\"$P\" " + command + " " + to);
            CAPTURE(command);
            CAPTURE(to);
            CAPTURE(result.err);
            CHECK(result.status == 1);
            CHECK(result.err.find("llama_compress: cannot write") != std::string::npos);
        }
    };
    fails("--help");
    fails("--version");
    fails("info");
    fails("info --json");
    fails("inspect \"$M\"");
    fails("inspect \"$M\" --json");
    fails("perplexity \"$M\" --text \"$T\" --context 64 --max-windows 1");
    fails("perplexity \"$M\" --text \"$T\" --context 64 --max-windows 1 --json");
    fails("generate \"$M\" --prompt Tom --max-tokens 2");
    fails("compress \"$M\" --text \"$T\" --out \"$F/out\" --windows 2 --window-tokens 32 --dry-run");
    fails("compress \"$M\" --text \"$T\" --out \"$F/out\" --windows 2 --window-tokens 32");
    CHECK(!fs::exists(demo.folder / "out"));  // nothing was begun
    fails("demo --out \"$F/demo\"");
    // No file took the place of a stream that was closed.
    const auto closed = run_in_shell(demo, "\"$P\" export \"$M\" --out \"$F/dense\" >&- 2>&-; test -d \"$F/dense\"");
    CHECK(closed.status == 0);
    CHECK(subbit::safetensors_reader(demo.folder / "dense").contains("model.norm.weight"));
}

TEST_CASE("no room on the disk, known before the work") {
    const demo_folder demo;
    llama::compress_job job;
    job.out = demo.folder / "new" / "out";
    llama::compress_estimate expected;
    expected.disk_bytes = 1000;
    llama::require_disk_space(job, expected);
    expected.disk_bytes = std::size_t{1} << 60;
    std::string message;
    try {
        llama::require_disk_space(job, expected);
    } catch (const subbit::io_error& e) {
        message = e.what();
    }
    CHECK(message.find("the disk has room for") != std::string::npos);
    CHECK(message.find("expected 1152921504606.8 MB") != std::string::npos);
}

TEST_CASE("generate ends at the tokens of generation_config.json, one or several, and at given texts") {
    demo_folder demo;
    const auto text = [&](const std::vector<std::string>& more) {
        auto words = generate_words(demo, {"--prompt", "Tom has a", "--max-tokens", "20"});
        words.insert(words.end(), more.begin(), more.end());
        const auto result = demo.run(words);
        INFO(result.err);
        REQUIRE(result.status == 0);
        return result.out;
    };
    const std::string all = text({});
    const auto ids = llama::tokenizer(demo.model / "tokenizer.json").encode(all);
    REQUIRE(ids.size() > 10);
    const std::size_t at = 8;  // the first of its kind: tokens before it differ
    const auto tokens = llama::tokenizer(demo.model / "tokenizer.json");
    const std::string until = tokens.decode(std::span(ids).first(at)) + "\n";
    for (const json& eos : {json(ids[at]), json({ids[at], 500})}) {
        subbit::write_file_atomically(demo.model / "generation_config.json", json{{"eos_token_id", eos}}.dump());
        if (std::find(ids.begin() + 3, ids.begin() + at, ids[at]) == ids.begin() + at) CHECK(text({}) == until);
        CHECK(text({}).size() < all.size());
        CHECK(text({"--ignore-eos"}) == all);
    }
    subbit::write_file_atomically(demo.model / "generation_config.json", R"({"eos_token_id": 9999})");
    check_failed(demo.run(generate_words(demo, {"--prompt", "Tom"})), 1,
                 {"generation_config.json: eos_token_id is 9999"});
    fs::remove(demo.model / "generation_config.json");

    const std::string stop = all.substr(12, 3);
    const auto first = all.find(stop, 9);
    CHECK(text({"--stop", stop}) == all.substr(0, first) + "\n");
    CHECK(text({"--stop", "nowhere", "--stop", stop}) == all.substr(0, first) + "\n");
    CHECK(text({"--stop", "nowhere"}) == all);
    check_failed(demo.run(generate_words(demo, {"--prompt", "Tom", "--stop", ""})), 1, {"stop"});
}

TEST_CASE("texts to stop at, in whatever pieces the text comes") {
    const auto passed = [](const std::vector<std::string>& pieces, std::vector<std::string> stops) {
        llama::stop_texts stop(std::move(stops));
        std::string text;
        for (const auto& piece : pieces)
            text += stop.add(piece);
        return text + stop.finish();
    };
    CHECK(passed({"ab", "c", "d"}, {"cd"}) == "ab");
    CHECK(passed({"abcd"}, {"cd"}) == "ab");
    CHECK(passed({"aab"}, {"ab"}) == "a");
    CHECK(passed({"a", "a", "b"}, {"ab"}) == "a");
    CHECK(passed({"a", "a", "a"}, {"ab"}) == "aaa");
    CHECK(passed({"abc"}, {"abc", "b"}) == passed({"a", "b", "c"}, {"abc", "b"}));
    CHECK(passed({"abc", "def"}, {}) == "abcdef");
    CHECK(passed({"\xc3\xa9", "x"}, {"\xc3\xa9x"}).empty());
}

TEST_CASE("prompts from a file and from standard input") {
    demo_folder demo;
    demo.folder.write("prompt.txt", "Tom has a");
    const auto direct = run_in_shell(demo, "\"$P\" generate \"$M\" --prompt 'Tom has a' --max-tokens 9");
    REQUIRE(direct.status == 0);
    CHECK(run_in_shell(demo, "\"$P\" generate \"$M\" --prompt-file prompt.txt --max-tokens 9").out == direct.out);
    CHECK(run_in_shell(demo, "\"$P\" generate \"$M\" --prompt-file - --max-tokens 9 <prompt.txt").out == direct.out);
    const auto fails = [&](const std::string& rest, int status, const std::string& part) {
        const auto result = run_in_shell(demo, "\"$P\" generate \"$M\" " + rest);
        CAPTURE(result.err);
        CHECK(result.status == status);
        CHECK(result.err.find(part) != std::string::npos);
    };
    fails("", 2, "--prompt or --prompt-file is required");
    fails("--prompt a --prompt-file b", 2, "excludes");
    fails("--prompt-file nowhere.txt", 1, "cannot read nowhere.txt");
    fails("--prompt-file .", 1, "cannot read .");
    fails("--prompt-file - <&-", 1, "cannot read standard input");
    fails("--prompt $(printf 'a\\377')", 1, "not UTF-8");
}

TEST_CASE("a continuation that ends within a character is UTF-8 all the same") {
    demo_folder demo;
    for (const char* count : {"1", "2", "3", "7", "40"}) {
        const auto result = demo.run(generate_words(
            demo, {"--prompt", "Tom é", "--temperature", "9", "--seed", "3", "--ignore-eos", "--max-tokens", count}));
        CHECK(result.status == 0);
        CHECK(all_utf8(result.out));
    }
}

TEST_CASE("rates at which numbers stop being finite: the phase begins again, or a message says where it was") {
    demo_folder demo;
    const auto undone = demo.run(demo.compress_words("out", {"--scale-rate", "3e3", "--distill-epochs", "0"}));
    CAPTURE(undone.err);
    CHECK(undone.err.find("note: tune block: the loss of step 2 is not finite; it begins again at a tenth") !=
          std::string::npos);
    CHECK(undone.status == 0);
    const subbit::safetensors_reader file(demo.folder / "out");
    for (const auto& name : file.names())
        if (subbit::is_floating(file.info(name).type)) {
            CAPTURE(name);
            std::vector<float> values(file.info(name).bytes.size() /
                                      static_cast<std::size_t>(subbit::size_of(file.info(name).type)));
            file.read_into(name, std::span<float>(values));
            CHECK(std::all_of(values.begin(), values.end(), [](float x) { return std::isfinite(x); }));
        }

    const auto ended = demo.run(demo.compress_words(
        "layer", {"--recipe", "paper", "--relative-rates", "1", "--weight-epochs", "0", "--scale-rate", "1e30"}));
    CAPTURE(ended.err);
    CHECK(ended.status == 1);
    CHECK(ended.err.find(
              "llama_compress: block 0: self_attn.q_proj: tune layer: the loss of step 2 is not finite, even at "
              "a thousandth of the rates\n") != std::string::npos);
    CHECK(!fs::exists(demo.folder / "layer" / "model.safetensors"));
}

TEST_CASE("a distillation whose numbers stop being finite goes on at smaller rates, or says so") {
    demo_folder demo;
    const auto ended = demo.run(demo.compress_words("out", {"--distill-scale-rate", "1e30"}));
    CAPTURE(ended.err);
    CHECK(ended.status == 1);
    CHECK(ended.err.find("note: distill: the loss of step 2 is not finite; it goes on from its last good state") !=
          std::string::npos);
    CHECK(ended.err.find("even at a thousandth of the rates") != std::string::npos);
    CHECK(!fs::exists(demo.folder / "out" / "model.safetensors"));
}

TEST_CASE("a file that is cut off while it is mapped ends the program with one line") {
    demo_folder demo;
    const auto words = demo.compress_words("out", {"--distill-epochs", "2000", "--test-text", demo.text.string()});
    const running_program running(demo.folder.path(), words);
    running.wait_for(demo.folder / "out" / "run" / "moments.safetensors");
    fs::resize_file(demo.model / "model.safetensors", 4096);
    const auto result = running.wait();
    CAPTURE(result.err);
    CHECK(result.status == 1);
    CHECK(result.err.find("model.safetensors was shortened") != std::string::npos);
}
