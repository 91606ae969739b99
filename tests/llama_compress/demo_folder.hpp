// A folder with the demo's model, changed as a test wants it, and 3000 bytes of the demo's language.
#pragma once

#include "program.hpp"
#include "program/demo_model.hpp"

#include "../support/temporary_directory.hpp"

#include <subbit/core/half.hpp>
#include <subbit/io/json.hpp>
#include <subbit/io/safetensors.hpp>

#include <cstring>
#include <functional>
#include <map>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

namespace llama::testing {

/// A tensor as a file holds it.
struct stored_tensor {
    subbit::dtype type = subbit::dtype::bf16;
    std::vector<subbit::index> shape;
    std::vector<std::byte> bytes;

    /// The tensor of type BF16 with `value` everywhere.
    static stored_tensor filled(std::vector<subbit::index> shape, float value) {
        std::size_t size = 1;
        for (const auto n : shape)
            size *= static_cast<std::size_t>(n);
        stored_tensor t{subbit::dtype::bf16, std::move(shape), std::vector<std::byte>(2 * size)};
        for (std::size_t i = 0; i < size; ++i)
            t.set(i, value);
        return t;
    }
    /// Entry i of a tensor of type BF16.
    void set(std::size_t i, float value) {
        const std::uint16_t bits = subbit::to_bf16(value);
        std::memcpy(bytes.data() + 2 * i, &bits, 2);
    }
};
using tensor_map = std::map<std::string, stored_tensor>;

class demo_folder {
  public:
    demo_folder() {
        std::filesystem::create_directory(model);
        for (const char* name : {"config.json", "tokenizer.json", "model.safetensors"})
            std::filesystem::copy_file(demo_model_directory() / name, model / name);
    }

    subbit::testing::temporary_directory folder;
    std::filesystem::path model = folder / "model",
                          text = folder.write("text.txt",
                                              contents_of(demo_model_directory() / "test.txt").substr(0, 3000));

    demo_folder& tensors(const std::function<void(tensor_map&)>& change) {
        tensor_map all;
        {
            const subbit::safetensors_reader demo(demo_model_directory());
            for (const auto& name : demo.names()) {
                const auto& t = demo.info(name);
                all[name] = {t.type, t.shape, {t.bytes.begin(), t.bytes.end()}};
            }
        }
        change(all);
        subbit::safetensors_writer file;
        for (const auto& entry : all)
            file.add_lazily(entry.first, entry.second.type, entry.second.shape,
                            [&entry] { return entry.second.bytes; });
        file.write(model / "model.safetensors");
        return *this;
    }
    /// Replaces and adds keys of config.json.
    demo_folder& config(const nlohmann::json& keys) {
        return change_json("config.json", [&](auto& c) { c.update(keys); });
    }
    demo_folder& tokenizer(const std::function<void(nlohmann::json&)>& change) {
        return change_json("tokenizer.json", change);
    }
    demo_folder& change_json(const std::string& file, const std::function<void(nlohmann::json&)>& change) {
        auto document = subbit::read_json(model / file);
        change(document);
        subbit::write_file_atomically(model / file, document.dump());
        return *this;
    }

    outcome run(std::vector<std::string> words) const { return run_program(folder.path(), words); }
    std::vector<std::string> perplexity_words(const std::vector<std::string>& more = {}) const {
        std::vector<std::string> words = {"perplexity", model.string(), "--text",    text.string(),
                                          "--context",  "64",           "--threads", "1"};
        words.insert(words.end(), more.begin(), more.end());
        return words;
    }
    /// A run of a second.
    std::vector<std::string> compress_words(const std::string& out, const std::vector<std::string>& more = {}) const {
        std::vector<std::string> words = {"compress",
                                          model.string(),
                                          "--text",
                                          (demo_model_directory() / "calibration.txt").string(),
                                          "--out",
                                          (folder / out).string(),
                                          "--windows",
                                          "2",
                                          "--window-tokens",
                                          "64",
                                          "--iterations",
                                          "3",
                                          "--epochs",
                                          "1",
                                          "--distill-epochs",
                                          "1",
                                          "--threads",
                                          "1"};
        words.insert(words.end(), more.begin(), more.end());
        return words;
    }
};

}  // namespace llama::testing
