// libFuzzer: the bytes are a whole small folder (small_folder.hpp). Whatever its files hold, perplexity of 16 tokens is
// a number, or a subbit::error is thrown.
#include "small_folder.hpp"

#include "model/evaluation.hpp"

#include <subbit/backend/reference.hpp>

#include <unistd.h>
#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <filesystem>
#include <fstream>

extern "C" std::size_t LLVMFuzzerMutate(std::uint8_t* data, std::size_t size, std::size_t most);

namespace {

namespace fs = std::filesystem;

/// A folder in memory where there is one.
const fs::path& folder() {
    static const fs::path path = [] {
        const fs::path memory = "/dev/shm";
        const fs::path made = (fs::is_directory(memory) ? memory : fs::temp_directory_path()) /
                              ("subbit-folder-fuzz-" + std::to_string(::getpid()));
        fs::create_directories(made);
        std::atexit([] {
            std::error_code ignored;
            fs::remove_all(folder(), ignored);
        });
        return made;
    }();
    return path;
}

void evaluate() {
    const llama::model_directory model(folder());
    const auto words = model.load_tokenizer();
    const llama::text_reading reading;
    auto tokens = words.encode("the cat sat on the mat and the rat saw the cat", reading.specials);
    tokens.resize(std::min<std::size_t>(tokens.size(), 16));
    const auto windows = llama::split_windows(tokens, 8, 0, reading.first_tokens(words));
    subbit::progress quiet;
    const auto result = llama::perplexity<float>(subbit::reference<float>(), model, windows, quiet);
    if (std::isnan(result.perplexity)) std::abort();
}

}  // namespace

extern "C" std::size_t LLVMFuzzerCustomMutator(std::uint8_t* data, std::size_t size, std::size_t most,
                                               unsigned int seed) {
    using namespace llama::fuzzing;
    auto changed = unpacked({reinterpret_cast<const char*>(data), size});
    folder_change(seed, [](std::string& file) {
        const std::size_t old = file.size();
        file.resize(old + 64);
        file.resize(LLVMFuzzerMutate(reinterpret_cast<std::uint8_t*>(file.data()), old, file.size()));
    }).apply(changed);
    const std::string all = packed(changed);
    if (all.size() > most) return size;
    std::memcpy(data, all.data(), all.size());
    return all.size();
}

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    const auto bytes = llama::fuzzing::unpacked({reinterpret_cast<const char*>(data), size});
    for (std::size_t k = 0; k < 3; ++k)
        std::ofstream(folder() / llama::fuzzing::file_names[k], std::ios::binary | std::ios::trunc) << bytes.files[k];
    try {
        evaluate();
    } catch (const subbit::error&) {
    }
    return 0;
}
