// The commands of llama_compress: each function adds one to the command line, with its options and its action.
#pragma once

#include "compress/options.hpp"

#include <CLI/CLI.hpp>

namespace llama {

/// `defaults`: the values of all options that the command line does not set, which depend on the recipe.
void add_compress(CLI::App& app, const compress_options& defaults);
void add_perplexity(CLI::App& app);
void add_generate(CLI::App& app);
void add_sample(CLI::App& app);
void add_inspect(CLI::App& app);
void add_export(CLI::App& app);
void add_info(CLI::App& app);
void add_demo(CLI::App& app);

/// The version as three numbers, "0.1.0".
std::string version_text();

}  // namespace llama
